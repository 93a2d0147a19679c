"""What a preview points out, and what it prints can be run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from segadmin.events.import_request import ImportRequest
from segadmin.events.mapping import Mapping
from segadmin.events.preview import Preview, preview
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from segadmin_api.cli import app

EVENT = {"user": "u1", "kind": "purchase", "item": "a", "at": "2026-01-01"}


def look(settings: Settings, folder: Path, *rows: dict[str, Any], mapping: Mapping | None = None) -> Preview:
    pl.DataFrame([EVENT | row for row in rows], infer_schema_length=None).write_csv(folder / "e.csv")
    return preview(settings, ImportRequest("events", str(folder / "e.csv"), mapping or Mapping()), 1000)


def warned(settings: Settings, folder: Path, *rows: dict[str, Any], mapping: Mapping | None = None) -> str:
    return "\n".join(look(settings, folder, *rows, mapping=mapping).warnings)


def test_the_spend_is_shown_as_it_is_worked_out(settings: Settings, tmp_path: Path) -> None:
    shown = look(settings, tmp_path, {"unit_price": "6.95", "quantity": "12"}, {"unit_price": "2", "quantity": ""})
    assert shown.spend is not None
    assert (round(shown.spend.total, 2), shown.spend.rows) == (85.4, 2)
    assert shown.spend.examples == ["12 x 6.95 = 83.40", "1 x 2 = 2.00"]
    assert {field.field: field.column for field in shown.fields}["price"] == "unit_price x quantity"
    assert look(settings, tmp_path, {"price": "3"}).spend.examples == ["3.00"]  # type: ignore[union-attr]
    assert look(settings, tmp_path, {}).spend is None


@pytest.mark.parametrize("column", ["UnitPrice", "unit price", "单价", "Price_per_unit", "props.unitPrice"])
def test_a_price_that_looks_like_that_of_one_piece(settings: Settings, tmp_path: Path, column: str) -> None:
    mapping = Mapping(columns={"price": column})
    words = f"--map unit_price={shlex.quote(column)} instead of --map price="
    assert words in warned(settings, tmp_path, {column: "3"}, mapping=mapping)
    assert warned(settings, tmp_path, {column: "3"}, mapping=Mapping(columns={"unit_price": column})) == ""


@pytest.mark.parametrize("word", ["None", "unknown", "-", "匿名", "n/a", "(not set)", "Guest", "Null"])
def test_an_id_that_may_stand_for_a_missing_value(settings: Settings, tmp_path: Path, word: str) -> None:
    warnings = warned(settings, tmp_path, {"user": word}, {"user": "u2"})
    assert f"{word!r} is the user of 1 row. If it stands for a missing value: --null {shlex.quote(word)}" in warnings


def test_a_frequent_zero_may_stand_for_a_missing_value(settings: Settings, tmp_path: Path) -> None:
    assert "'0' is the user of 2 rows" in warned(settings, tmp_path, {"user": "0"}, {"user": "0"}, {"user": "7"})
    assert warned(settings, tmp_path, {"user": "0"}, {"user": "7"}, {"user": "7"}) == ""
    assert warned(settings, tmp_path, {"user": "u1"}, {"user": "u1"}, {"user": "u2"}) == ""


def test_numbers_that_an_import_will_refuse_or_read_with_a_comma(settings: Settings, tmp_path: Path) -> None:
    shown = look(settings, tmp_path, {"price": "1,250"})
    assert (shown.usable, shown.reasons) == (0, {"bad_number": 1})
    assert "can be 1250 or 1.250" in shown.warnings[0]
    warnings = warned(settings, tmp_path, {"price": "12,50"}, {"price": "1,250"})
    assert "price is read with a decimal comma, as in '12,50' (line 2)" in warnings


def test_several_currencies_in_one_column(settings: Settings, tmp_path: Path) -> None:
    warnings = warned(settings, tmp_path, {"price": "$5"}, {"price": "7.50 €"})
    assert "Prices are in several currencies: '$5' (line 2), '7.50 €' (line 3)." in warnings
    assert warned(settings, tmp_path, {"price": "￥5"}, {"price": "7元"}, {"price": "RMB 3"}, {"price": "3"}) == ""
    assert warned(settings, tmp_path, {"price": "$5", "currency": "EUR"}, {"price": "7.50 €", "currency": "EUR"}) == ""


def test_a_path_at_which_there_is_nothing(settings: Settings, tmp_path: Path) -> None:
    mapping = Mapping(columns={"price": "p.prise"})
    warnings = warned(settings, tmp_path, {"p": '{"price": 3}'}, mapping=mapping)
    assert warnings == "No row has a value at 'p.prise'. There are: p.price."


def run(*words: str) -> Result:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return done


def test_the_command_that_a_preview_prints_can_be_run(settings: Settings, tmp_path: Path) -> None:
    """Every option there is, with values that a shell would take apart."""
    folder = tmp_path / "my files"
    folder.mkdir()
    row = "u1;31.01.2026 08:30;1.250,00;x y;gone\nnobody;31.01.2026 08:30;2,50;z;gone\n"
    (folder / "é 数.txt").write_text(f"the user;at $1;price;basket's;status\n{row}", encoding="utf-8")
    (folder / "m.toml").write_text('[rules]\ncancelled = ["never"]\n')
    options: Sequence[str] = (
        *("--mapping", str(folder / "m.toml"), "--source", "csv", "-o", "separator=;", "--timezone", "Asia/Shanghai"),
        *("--map", "user=the user", "--map", "at=at $1", "--set", "kind=purchase", "--set", "item=a b"),
        *("--extra", "basket's", "--decimal", ",", "--thousands", ".", "--null", "nobody", "--null", "n b"),
        *("--times", "%d.%m.%Y %H:%M", "--times", "%d.%m.%Y"),
    )
    output = run("data", "preview", str(folder / "é 数.txt"), *options, "--limit", "3").output
    command = output.splitlines()[-1].partition("To import: ")[2]
    assert "1 of the first 2 rows can be used" in output
    program, *words = shlex.split(command)
    assert program == "segadmin"
    assert "1 of 2 rows kept" in run(*words).output
    [event] = Lake.of(settings).scan("events").collect().to_dicts()
    assert (event["item"], event["price"], json.loads(event["extras"])) == ("a b", 1250.0, {"basket's": "x y"})
    assert event["at"].isoformat() == "2026-01-31T00:30:00+00:00"


def test_the_printed_command_of_a_query_and_of_labels(settings: Settings, tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("CREATE TABLE o (who, bought, time)")
        database.execute("INSERT INTO o VALUES ('u1', 'a', '2026-01-01')")
    query = """SELECT who AS "user", bought AS item, time AS at FROM o WHERE who != '$x'"""
    where = f"sqlite:///{tmp_path}/shop.db"
    output = run("data", "preview", where, "--query", query, "--set", "kind=view").output
    assert "1 of 1 row kept" in run(*shlex.split(output.splitlines()[-1].partition("To import: ")[2])[1:]).output
    (tmp_path / "l.csv").write_text("member,segment\nu1,a\n")
    output = run("data", "preview", str(tmp_path / "l.csv"), "--table", "labels", "--map", "user=member").output
    assert "1 of 1 row kept" in run(*shlex.split(output.splitlines()[-1].partition("To import: ")[2])[1:]).output


def test_an_import_says_which_format_its_times_have(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("user,kind,item,at\nu1,view,a,12/31/2010 17:05\nu1,view,b,12/1/2010 8:26\n")
    assert "Note: Times such as" in (output := run("data", "import", "events", str(tmp_path / "e.csv")).output)
    assert "are read with --times '%m/%d/%Y %H:%M'" in output
    again = run("data", "import", "events", str(tmp_path / "e.csv"), "--again", "--times", "%m/%d/%Y %H:%M").output
    assert "2 of 2 rows kept" in again


def test_an_import_warns_of_a_price_of_one_piece_and_the_help_says_what_price_is(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "e.csv").write_text("user,kind,item,at,UnitPrice\nu1,view,a,2026-01-01,5\n")
    output = run("data", "import", "events", str(tmp_path / "e.csv"), "--map", "price=UnitPrice").output
    assert "'UnitPrice' looks like the price of one piece" in output
    help_text = " ".join(run("data", "import", "events", "--help").output.split())
    assert "price is the total of the line" in help_text
    assert "--map unit_price=COLUMN" in help_text


def test_an_option_that_cannot_be_used_is_one_line(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("user,kind,item,at\nu1,view,a,2026-01-01\n")
    for words, message in (
        (("--times", "%d"), "gives no day"),
        (("--decimal", ";"), "decimal: Input should be '.' or ','"),
    ):
        done = CliRunner().invoke(app, ("data", "preview", str(tmp_path / "e.csv"), *words))
        assert message in str(done.exception)
        assert type(done.exception).__name__ == "ConfigurationError"
