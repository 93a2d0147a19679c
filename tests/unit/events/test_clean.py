"""Every rule by its name: what it leaves out, what it mends, and how it is counted."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from segadmin.errors import ConfigurationError, DataError
from segadmin.events.clean import clean
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.mapping import Mapping
from segadmin.settings import Settings
from segadmin.storage.lake import Lake

EVENT = {"user": "u1", "kind": "purchase", "item": "a", "at": "2026-01-01"}


def cleaned_row(mapping: Mapping | None = None, **cells: object) -> dict[str, object]:
    cleaned = clean(pl.DataFrame([EVENT | cells]), "events", mapping or Mapping())
    assert cleaned.bad.is_empty(), cleaned.bad
    return cleaned.good.to_dicts()[0] | {"changes": dict(cleaned.changes)}


def reason(mapping: Mapping | None = None, **cells: object) -> str:
    [bad] = clean(pl.DataFrame([EVENT | cells]), "events", mapping or Mapping()).bad.to_dicts()
    return str(bad["reason"])


@pytest.mark.parametrize(
    ("given", "kept", "rule"),
    [
        ("<p>很<b>好</b>&nbsp;&amp; 便宜</p>", "很 好 & 便宜", "html"),
        ("好<script>alert(1)</script>的", "好 的", "html"),
        ("价格 3 < 5, a<b", "价格 3 < 5, a<b", None),
        ("waist<hip but hip>thigh", "waist<hip but hip>thigh", None),
        ("a<b and c>d", "a<b and c>d", None),
        ("I <3 this, 5 > 4", "I <3 this, 5 > 4", None),
        ("a &lt; b and c &gt; d", "a < b and c > d", "html"),
        ("&lt;p&gt;Great &lt;b&gt;lamp&lt;/b&gt;&lt;/p&gt;", "Great lamp", "html"),
        ("&amp;lt;b&amp;gt;lamp&amp;lt;/b&amp;gt;", "lamp", "html"),
        ("&amp;amp;lt;", "&lt;", "html"),
        ("ok&lt;script&gt;alert(1)&lt;/script&gt;", "ok", "html"),
        ("<style>p > a {}</style>ok<!-- <b> no -->", "ok", "html"),
        ("<div class=\"a > b\" data-x='1' hidden>lamp</div>", "lamp", "html"),
        ("<img src=x onerror=alert(1)/>lamp", "lamp", "html"),
        ("<o:p>Word</o:p> <my-tag>own</my-tag> <unknown>", "Word own <unknown>", "html"),
        ("shop?a=1&copy=2 & more", "shop?a=1&copy=2 & more", None),
        ("好\x00的\u202e", "好的", "control_characters"),
        ("ＡＢＣ１２３，好！", "ABC123，好！", "full_width"),
        ("👍👨\u200d👩\u200d👧 很好", "👍👨\u200d👩\u200d👧 很好", None),
        ("第一行\n第二行", "第一行\n第二行", None),
    ],
)
def test_free_text_is_cleaned(given: str, kept: str, rule: str | None) -> None:
    row = cleaned_row(text=given, kind="review")
    assert row["text"] == kept
    assert row["changes"] == ({rule: 1} if rule else {})


def test_text_that_is_only_markup_is_none() -> None:
    assert cleaned_row(text="<br/>", kind="review")["text"] is None


@pytest.mark.parametrize(
    ("cells", "quantity", "price"),
    [
        ({"kind": "退货", "quantity": "2", "price": "9.5"}, 2.0, -9.5),
        ({"kind": "purchase", "quantity": "-2", "price": "9.5"}, 2.0, -9.5),
        ({"kind": "refund", "price": "-9.5"}, None, -9.5),
        ({"kind": "return"}, None, None),
    ],
)
def test_returns_have_a_negative_price(cells: dict[str, str], quantity: float, price: float) -> None:
    row = cleaned_row(**cells)
    assert (row["kind"], row.get("quantity"), row.get("price")) == ("purchase", quantity, price)
    assert row["changes"] == {"return": 1}


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ({"status": "已取消"}, "cancelled"),
        ({"status": "Canceled"}, "cancelled"),
        ({"price": "1e12"}, "impossible_value"),
        ({"rating": "-1"}, "impossible_value"),
        ({"duration": "9999999"}, "impossible_value"),
        ({"price": "12,5,7"}, "bad_number"),
    ],
)
def test_invalid_rows_are_rejected(cells: dict[str, str], why: str) -> None:
    assert reason(**cells) == why


@pytest.mark.parametrize(
    ("written", "number"), [("1,234.50", 1234.5), ("¥12.5", 12.5), ("￥1,000.00元", 1000.0), ("-3", -3.0), (" 7 ", 7.0)]
)
def test_numbers_as_shops_write_them(written: str, number: float) -> None:
    assert cleaned_row(price=written)["price"] == number


def test_units_and_the_shops_own_words() -> None:
    mapping = Mapping.model_validate(
        {"units": {"duration": "minutes", "price": "0.01", "rating": 10}, "kinds": {"已付款": "purchase"}}
    )
    row = cleaned_row(mapping, kind="已付款", duration="2", price="950", rating="8")
    assert (row["kind"], row["duration"], row["price"], row["rating"]) == ("purchase", 120.0, 9.5, 4.0)
    assert reason(mapping, rating="11") == "impossible_value"


def test_currencies_are_converted_or_rejected() -> None:
    mapping = Mapping(currency="CNY", rates={"USD": 7.0})
    assert cleaned_row(mapping, price="2", currency="usd")["price"] == 14.0
    assert cleaned_row(mapping, price="2")["price"] == 2.0
    assert reason(mapping, price="2", currency="GBP") == "unknown_currency"
    mixed = pl.DataFrame([EVENT | {"price": "1", "currency": sign} for sign in ("CNY", "USD")])
    with pytest.raises(DataError, match=r"Prices are in CNY, USD.*\[rates\]"):
        clean(mixed, "events", Mapping())


def test_bots_are_left_out_whole(settings: Settings, tmp_path: Path) -> None:
    people = [EVENT | {"user": f"u{n % 5}", "item": f"i{n}"} for n in range(50)]
    bot = [EVENT | {"user": "crawler", "item": f"i{n}", "kind": "view"} for n in range(31)]
    bot.append(bot[0] | {"at": "2026-01-02"})
    pl.DataFrame(people + bot).write_parquet(tmp_path / "e.parquet")
    mapping = Mapping.model_validate({"rules": {"bot_events_per_day": 30}})
    done, _ = import_file(settings, ImportRequest("events", str(tmp_path / "e.parquet"), mapping))
    assert (done.rows_kept, done.reasons) == (50, {"bot": 32})
    assert Lake.of(settings).scan("users").collect().height == 5


def test_a_mapping_file(tmp_path: Path) -> None:
    path = tmp_path / "mapping.toml"
    path.write_text(
        'timezone = "Asia/Shanghai"\nextras = ["basket"]\n[columns]\nuser = "会员"\n[kinds]\n"收藏" = "cart"\n'
        "[rules]\nbot_events_per_day = 0\n"
    )
    mapping = Mapping.read(path)
    assert (mapping.timezone, mapping.columns, mapping.kinds) == ("Asia/Shanghai", {"user": "会员"}, {"收藏": "cart"})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("colums = {}", r"mapping.toml: colums: .*Did you mean 'columns'\?"),
        ("[kinds]\nx = 'buyed'", "kinds.x: .*there is no kind 'buyed'"),
        ("timezone = 'Shanghai'", "There is no time zone 'Shanghai'"),
        ("[rates]\nUSD = -1", "rates.USD: .*greater than 0"),
        ("columns = [", "is not TOML"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_mapping_file_that_cannot_be_used(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "mapping.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match=words):
        Mapping.read(path)
