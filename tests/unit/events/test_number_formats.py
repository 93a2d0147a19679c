"""Numbers as shops write them: a column is read in one way, which it shows or which an option names."""

from __future__ import annotations

import contextlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from segadmin.errors import ConfigurationError, DataError
from segadmin.events import ingest
from segadmin.events.clean import clean
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.mapping import Mapping
from segadmin.events.number_columns import NumberColumns
from segadmin.settings import Settings
from segadmin.storage.lake import Lake

EVENT = {"user": "u1", "kind": "purchase", "item": "a", "at": "2026-01-01"}


def prices(
    *written: str | None, mapping: Mapping | None = None, numbers: NumberColumns | None = None
) -> list[float | None]:
    """Return the prices of events, of which each must be usable."""
    chunk = pl.DataFrame([EVENT | {"price": cell} for cell in written], infer_schema_length=None)
    cleaned = clean(chunk, "events", mapping or Mapping(), numbers=numbers)
    assert cleaned.bad.is_empty(), cleaned.bad
    return cleaned.good["price"].to_list()


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("-$5.00", -5.0),
        ("$-5.00", -5.0),
        ("($5.00)", -5.0),
        ("$(5.00)", -5.0),
        ("5.00-", -5.0),
        ("−5.00", -5.0),
        ("12.50 €", 12.5),
        ("￥１２．５０", 12.5),
        ("－１２．５", -12.5),
        ("１２", 12.0),
        ("$1,234.50", 1234.5),
        ("￥1,234.50元", 1234.5),
        ("1'234.50", 1234.5),
        ("1’234.50 CHF", 1234.5),
        ("1\u00a0234.50", 1234.5),
        ("1\u202f234\u202f567", 1234567.0),
        ("₹12,34,567.50", 1234567.5),
        ("1,234,567", 1234567.0),
        ("USD 3", 3.0),
        ("US$3.20", 3.2),
        ("99.90 kr", 99.9),
        ("100 ₽", 100.0),
        ("12円", 12.0),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.250", 1.25),
        ("1.250,00", 1250.0),
        ("1.234.567", 1234567.0),
        ("1 234,50 zł", 1234.5),
        ("0,250", 0.25),
        ("3,49", 3.49),
        ("1234,567", 1234.567),
    ],
)
def test_a_number_that_can_be_read_in_one_way(written: str, number: float) -> None:
    assert prices(written) == [number]


@pytest.mark.parametrize("written", ["-(5)", "--5", "5 pieces", "1,23,4", "12.34.56", "10%", "5,-", "$", "1 2 3", "(5"])
def test_malformed_numbers_are_quarantined(written: str) -> None:
    [bad] = clean(pl.DataFrame([EVENT | {"price": written}]), "events", Mapping()).bad.to_dicts()
    assert (bad["reason"], bad["column"], bad["value"]) == ("bad_number", "price", written)


def test_one_cell_decides_for_the_column() -> None:
    assert prices("3,499", "12,50", "1.250,00", "1.250", "7", None) == [3.499, 12.5, 1250.0, 1250.0, 7.0, None]
    assert prices("3,499", "12.50", "1.250", "7") == [3499.0, 12.5, 1.25, 7.0]


def test_columns_are_decided_each_by_itself() -> None:
    chunk = pl.DataFrame([EVENT | {"price": "12,50", "quantity": "2.5"}, EVENT | {"price": "3,499", "quantity": "3"}])
    good = clean(chunk, "events", Mapping()).good
    assert (good["price"].to_list(), good["quantity"].to_list()) == ([12.5, 3.499], [2.5, 3.0])


def test_ambiguous_numbers_are_refused_unless_the_format_is_given() -> None:
    words = r"In price, '¥1,250' \(line 2\) can be ¥1250 or ¥1.250.*--decimal \. for ¥1250, or --decimal , for ¥1.250"
    with pytest.raises(DataError, match=words):
        prices("7", "¥1,250")
    assert prices("7", "¥1,250", mapping=Mapping(decimal=".")) == [7.0, 1250.0]
    assert prices("7", "¥1,250", mapping=Mapping(decimal=",")) == [7.0, 1.25]
    assert prices("7", "¥1,250", mapping=Mapping(thousands=",")) == [7.0, 1250.0]
    assert prices("1 250", "1,250", mapping=Mapping(thousands=" ")) == [1250.0, 1.25]


def test_two_ways_in_one_column_are_refused_or_the_other_cells_left_out() -> None:
    words = r"'1.5' \(line 1\) has a decimal point, '1,5' \(line 2\) a decimal comma.*--decimal \. or --decimal ,"
    with pytest.raises(DataError, match=words):
        prices("1.5", "1,5")
    chunk = pl.DataFrame([EVENT | {"price": cell} for cell in ("1.5", "1,5")])
    cleaned = clean(chunk, "events", Mapping(decimal=","))
    assert (cleaned.good["price"].to_list(), cleaned.bad["value"].to_list()) == ([1.5], ["1.5"])


def test_only_the_sign_between_thousands_that_was_named() -> None:
    mapping = Mapping(decimal=",", thousands=" ")
    assert prices("1 234,50", mapping=mapping) == [1234.5]
    bad = clean(pl.DataFrame([EVENT | {"price": "1.234,50"}]), "events", mapping).bad
    assert bad["reason"].to_list() == ["bad_number"]


def test_a_mapping_whose_signs_are_the_same_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text('decimal = ","\nthousands = ","\n')
    with pytest.raises(ConfigurationError, match="decimal and thousands are both ','"):
        Mapping.read(tmp_path / "m.toml")


def test_ambiguous_numbers_of_a_queue_are_quarantined() -> None:
    chunk = pl.DataFrame([EVENT | {"price": cell} for cell in ("1,250", "12,50", "1,234.5", "7")])
    cleaned = clean(chunk, "events", Mapping(), numbers=NumberColumns(Mapping(), typed=True, whole=False))
    assert cleaned.good["price"].to_list() == [1234.5, 7.0]
    assert cleaned.bad["value"].to_list() == ["1,250", "12,50"]


def test_numbers_of_a_typed_source_have_a_point() -> None:
    """JSON's own 1.125 and SQL's come as text, beside strings with a comma."""
    comma = Mapping(decimal=",")
    assert prices("12.5", "12,5", mapping=comma, numbers=NumberColumns(comma, typed=True)) == [12.5, 12.5]
    cleaned = clean(
        pl.DataFrame([EVENT | {"price": "1.125"}]), "events", comma, numbers=NumberColumns(comma, typed=True)
    )
    assert cleaned.bad["reason"].to_list() == ["bad_number"]  # 1125 or 1.125
    points = Mapping(decimal=",", thousands=".")
    assert prices("1.125", mapping=points, numbers=NumberColumns(points, typed=True)) == [1125.0]
    with pytest.raises(DataError, match="written in two ways"):
        prices("1.125", "12,50", numbers=NumberColumns(Mapping(), typed=True))


_AMOUNTS = st.lists(
    st.decimals(Decimal("-999999.99"), Decimal("999999.99"), places=2)
    | st.decimals(Decimal(-999), Decimal(999), places=3),
    min_size=1,
    max_size=8,
)


@st.composite
def _columns(draw: st.DrawFn) -> tuple[str, str, list[Decimal], list[str]]:
    """Draw a column of amounts in one convention: decimal sign, sign between thousands, amounts, cells."""
    decimal, thousands = draw(
        st.sampled_from([(".", ","), (".", ""), (".", "'"), (".", " "), (",", "."), (",", ""), (",", "\u00a0")])
    )
    before, behind = draw(st.sampled_from([("", ""), ("$", ""), ("€ ", ""), ("", " €"), ("", "元"), ("RUB ", "")]))
    negative = draw(st.sampled_from(["-{}", "({})", "{}-"]))
    wide = draw(st.booleans())
    amounts = draw(_AMOUNTS)
    cells = []
    for amount in amounts:
        digits = f"{abs(amount):,f}".replace(",", "T").replace(".", decimal).replace("T", thousands)
        cell = f"{before}{digits}{behind}"
        cell = negative.format(cell) if amount < 0 else cell
        cells.append(
            "".join(chr(ord(s) + 0xFEE0) if s.isdigit() and s.isascii() else s for s in cell) if wide else cell
        )
    return decimal, thousands, amounts, cells


@hypothesis_settings(max_examples=120, deadline=None)
@given(_columns())
def test_any_column_is_read_back_or_refused(column: tuple[str, str, list[Decimal], list[str]]) -> None:
    decimal, thousands, amounts, cells = column
    expected = [float(amount) for amount in amounts]
    mapping = Mapping.of({"decimal": decimal, "thousands": thousands.replace("\u00a0", " ")})
    assert prices(*cells, mapping=mapping) == expected
    assert prices(*cells, mapping=Mapping.of({"decimal": decimal})) == expected
    with contextlib.suppress(DataError):
        parsed = prices(*cells)
        proof = any("," in cell for cell in cells)
        # Nothing but 1.250 everywhere is what every program writes for one and a quarter.
        assert parsed == expected or (decimal == "," and not proof and thousands == ".")


def _file(path: Path, cells: list[str]) -> Path:
    lines = [f"u{n},purchase,i{n},2026-01-01,{cell}" for n, cell in enumerate(cells)]
    path.write_text("user;kind;item;at;price\n" + "\n".join(line.replace(",", ";", 4) for line in lines) + "\n")
    return path


def _stored(settings: Settings) -> dict[str, float]:
    events = Lake.of(settings).scan("events").select("item", "price").collect()
    return {item: price for item, price in events.iter_rows() if price is not None}


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["7"] * 4 + ["1.250"] * 2 + ["12,50"], [7.0] * 4 + [1250.0] * 2 + [12.5]),
        (["1,250"] * 3 + ["7"] * 3 + ["12.50"], [1250.0] * 3 + [7.0] * 3 + [12.5]),
        (["1,250"] * 3 + ["7"] * 3 + ["12,50"], [1.25] * 3 + [7.0] * 3 + [12.5]),
        (["12.50"] + ["7"] * 5 + ["1,250"] * 2, [12.5] + [7.0] * 5 + [1250.0] * 2),
    ],
)
def test_the_whole_file_decides_whatever_its_chunks(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: list[str], expected: list[float]
) -> None:
    monkeypatch.setattr(ingest, "CHUNK_ROWS", 4)  # of CSV half as many
    path = _file(tmp_path / "e.csv", cells)
    done, _ = import_file(settings, ImportRequest("events", str(path)))
    assert (done.rows_kept, done.rows_quarantined) == (len(cells), 0)
    assert _stored(settings) == {f"i{n}": price for n, price in enumerate(expected)}


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["12.50"] + ["7"] * 5 + ["12,50"], r"'12.50' \(line 2\) has a decimal point, '12,50' \(line 8\)"),
        (["7"] * 5 + ["1,250"], r"In price, '1,250' \(line 7\) can be 1250 or 1.250"),
    ],
)
def test_a_file_that_shows_no_one_way_is_refused_whole(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: list[str], words: str
) -> None:
    monkeypatch.setattr(ingest, "CHUNK_ROWS", 4)
    path = _file(tmp_path / "e.csv", cells)
    with pytest.raises(DataError, match=words):
        import_file(settings, ImportRequest("events", str(path)))
    assert _stored(settings) == {}
    done, _ = import_file(settings, ImportRequest("events", str(path), Mapping(decimal=".")))
    assert done.rows_kept + done.rows_quarantined == len(cells)


def test_an_interrupted_import_decides_the_same(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "CHUNK_ROWS", 4)
    path = _file(tmp_path / "e.csv", ["3,499", "12,50", "1.250", "1,000", "7", "8", "1.250,00"])

    def stop(read: int) -> None:
        if read >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_file(settings, ImportRequest("events", str(path)), stop)
    done, _ = import_file(settings, ImportRequest("events", str(path)))
    assert done.rows_kept == 7
    assert list(_stored(settings).values())  # not empty
    assert _stored(settings) == dict(
        zip([f"i{n}" for n in range(7)], [3.499, 12.5, 1250.0, 1.0, 7.0, 8.0, 1250.0], strict=True)
    )


@pytest.mark.parametrize("interrupted", [False, True])
def test_prices_in_several_currencies_are_refused_whatever_the_chunks(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, interrupted: bool
) -> None:
    monkeypatch.setattr(ingest, "CHUNK_ROWS", 4)
    path = _file(tmp_path / "e.csv", ["$5", "USD 6.20", "7", "8", "9.50 €"])

    def stop(read: int) -> None:
        if interrupted and read >= 2:
            raise KeyboardInterrupt

    if interrupted:
        with pytest.raises(KeyboardInterrupt):
            import_file(settings, ImportRequest("events", str(path)), stop)
    words = r"several currencies: '\$5' \(line 2\), '9.50 €' \(line 6\).*--map currency=COLUMN.*--set currency=NAME"
    with pytest.raises(DataError, match=words):
        import_file(settings, ImportRequest("events", str(path)))
    assert _stored(settings) == {}
    mapping = Mapping(constants={"currency": "USD"})
    assert import_file(settings, ImportRequest("events", str(path), mapping))[0].rows_kept == 5


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_numbers_that_are_numbers_stay_as_they_are(settings: Settings, tmp_path: Path, form: str) -> None:
    rows: list[dict[str, Any]] = [EVENT | {"item": f"i{n}", "price": price} for n, price in enumerate([1.125, 1250.5])]
    path = tmp_path / f"e.{form}"
    if form == "parquet":
        pl.DataFrame(rows).write_parquet(path)
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    import_file(settings, ImportRequest("events", str(path)))
    assert _stored(settings) == {"i0": 1.125, "i1": 1250.5}


@pytest.mark.parametrize(
    ("cells", "price", "quantity"),
    [
        ({"unit_price": "6.95", "quantity": "12"}, 83.4, 12.0),
        ({"unit_price": "2.5"}, 2.5, None),
        ({"unit_price": "2.5", "quantity": "0"}, 0.0, 0.0),
        ({"unit_price": "2.5", "quantity": "3", "price": "7"}, 7.0, 3.0),
        ({"unit_price": "free", "quantity": "3", "price": "7"}, 7.0, 3.0),
        ({"unit_price": "2.5", "quantity": "-2"}, -5.0, 2.0),
        ({"unit_price": "2.5", "quantity": "2", "kind": "return"}, -5.0, 2.0),
        ({"unit_price": "-11.5", "quantity": "1"}, -11.5, 1.0),
    ],
)
def test_the_price_of_one_piece(cells: dict[str, str], price: float, quantity: float | None) -> None:
    cleaned = clean(pl.DataFrame([EVENT | cells]), "events", Mapping())
    [event] = cleaned.good.to_dicts()
    assert event["price"] == pytest.approx(price)
    assert event["quantity"] == quantity


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"unit_price": "free"}, "bad_number"),
        ({"unit_price": "1e8", "quantity": "1000"}, "impossible_value"),
        ({"unit_price": "2", "quantity": "many"}, "bad_number"),
    ],
)
def test_a_price_of_one_piece_that_cannot_be_used(cells: dict[str, str], reason: str) -> None:
    assert clean(pl.DataFrame([EVENT | cells]), "events", Mapping()).bad["reason"].to_list() == [reason]


def test_cents_and_rates_hold_for_the_price_of_one_piece(settings: Settings, tmp_path: Path) -> None:
    mapping = Mapping.of({"units": {"price": "0.01"}, "currency": "CNY", "rates": {"USD": 7.0}})
    (tmp_path / "e.csv").write_text(
        "user,kind,item,at,unit_price,quantity,currency\nu1,purchase,i0,2026-01-01,250,3,USD\n"
    )
    import_file(settings, ImportRequest("events", str(tmp_path / "e.csv"), mapping))
    assert _stored(settings) == {"i0": pytest.approx(52.5)}
