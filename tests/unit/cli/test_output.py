"""What commands print: data of anybody reaches a terminal without anything that it would obey."""

from __future__ import annotations

import ast
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from pydantic import TypeAdapter, ValidationError
from rich.live import Live
from rich.text import Text

import segadmin_api.cli
from segadmin.printable import printable, printable_json
from segadmin.timezones import LastMoment
from segadmin_api.cli import next_commands
from segadmin_api.cli.output import echo, last_moment_of, moment_of, show_json, table, terminal

#: Sets the title, hides text, goes to the line above, and does so in one byte; turns text around; is no character.
HOSTILE = "a\x1b]0;title\x07\x1b[8m\x1b[1A\r\x9b2K\x7f\u202ez\u2028\ud800[bold]店"
SHOWN = r"a\x1b]0;title\x07\x1b[8m\x1b[1A\r\x9b2K\x7f\u202ez\u2028\ud800[bold]店"


def test_control_characters_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable(HOSTILE) == SHOWN
    assert printable("a\tb\nc é 😀 \u200f") == "a\tb\nc é 😀 \u200f"
    echo(HOSTILE)
    echo(HOSTILE, err=True)
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (f"{SHOWN}\n", f"{SHOWN}\n")


def test_json_keeps_its_value(capsys: pytest.CaptureFixture[str]) -> None:
    show_json({HOSTILE: [HOSTILE]})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {HOSTILE: [HOSTILE]}
    assert printable(printed) == printed
    assert json.loads(printable_json('"\x7f"')) == "\x7f"


def test_tables_show_control_characters_and_no_markup(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    table(HOSTILE, [HOSTILE, ">n"], [[HOSTILE, 1], ["[red]b[/red]", 22]])
    printed = capsys.readouterr().out
    assert printed.count(SHOWN) == 3
    assert "[red]b[/red]" in printed
    assert printable(printed) == printed


def test_a_console_sends_its_own_codes_only() -> None:
    console = terminal()
    console.file, console._force_terminal = io.StringIO(), True
    with Live(Text(HOSTILE, "red"), console=console, auto_refresh=False) as live:
        console.print(HOSTILE, style="bold")
        live.update(HOSTILE, refresh=True)
    printed = console.file.getvalue()
    assert "\x1b[" in printed, "it is a terminal"
    for code in ("\x1b]0;", "\x1b[8m", "\x9b", "\x07", "\u202e"):
        assert code not in printed
    assert printed.count(r"a\x1b]0;title") == 2  # Rich itself drops some others
    assert printed.count(r"\x9b2K\x7f\u202ez") == 2


def test_commands_print_through_this_module_only() -> None:
    forbidden = {"echo", "secho", "confirm", "prompt", "style", "launch"}
    for path in sorted(Path(segadmin_api.cli.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or path.name == "output.py":
                continue
            called = node.func
            if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id == "typer":
                assert called.attr not in forbidden, f"{path.name}, line {node.lineno}: use segadmin_api.cli.output"
            if isinstance(called, ast.Name):
                assert called.id not in {"print", "Console"}, f"{path.name}, line {node.lineno}: use terminal()"


def test_a_table_that_is_too_wide_wraps_cells_and_loses_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    cells = [f"{column}{'x' * 9}{column}" for column in "abcdefgh"]
    table("a title that is wider than the table", list("12345678"), [cells])
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == "a title that is wider than the table"
    assert all(printed.count(column) >= 2 for column in "bcfgh")
    assert printed.count("x") == 72
    assert max(map(len, printed.splitlines())) <= 40


def test_dates_stay_whole_beside_a_long_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    short = ["1", "spend3", "12", "11", "2026-01-01", "2026-01-08"]
    table("", [">id", "labels", ">version", ">champion", "since", "until", "reason"], [[*short, "because " * 40]])
    printed = capsys.readouterr().out
    assert "2026-01-01  2026-01-08" in printed
    assert printed.count("because") == 40
    assert max(map(len, printed.splitlines())) <= 80
    table(
        "", ["snapshot", "labels", "model", "as of", "since", "users", "estimated", "alarms"], [[*short, "x" * 30, ""]]
    )
    assert "alarms" in capsys.readouterr().out.splitlines()[1].split()


def test_no_short_cell_is_cut_off_beside_columns_of_the_same_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    columns = [">version", "labels", "state", "made of", ">AUROC", ">best baseline", "trained"]
    cells = ["2", "spend3", "canary, 10.0%", "tabular · mixed", "0.8532", "0.8532 tabular", "1 min ago"]
    table("", columns, [cells])
    printed = capsys.readouterr().out
    assert all(word in printed for cell in cells for word in ([cell] if cell != "tabular · mixed" else cell.split()))
    assert max(map(len, printed.splitlines())) <= 80


def test_suggested_commands_have_the_home_that_was_given(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(next_commands, "_rewrite", None)
    echo("Next: segadmin jobs list")
    next_commands.remember_home(Path("/srv/a b\\1"), ["jobs", "data"])
    text = "segadmin reads it. Next: segadmin jobs list && segadmin data list; segadmin --home x data list"
    echo(text)
    terminal().print(text, soft_wrap=True)
    table("", ["what"], [["segadmin jobs"]])
    show_json({"next": "segadmin jobs list"})
    wanted = (
        "segadmin reads it. Next: segadmin --home '/srv/a b\\1' jobs list && segadmin --home '/srv/a b\\1' data list; "
        "segadmin --home x data list"
    )
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[1], lines[2]) == ("Next: segadmin jobs list", wanted, wanted)
    assert "segadmin --home '/srv/a b\\1' jobs" in "\n".join(lines[3:])
    assert '  "next": "segadmin jobs list"' in lines


def test_suggested_commands_have_the_server_that_was_given(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(next_commands, "_rewrite", None)
    commands = (["jobs", "db", "keys", "models", "demo", "web"], ["demo"], ["db", "models export", "web"])
    next_commands.remember_server("http://me:secret@shop:8400", *commands)
    echo("Next: segadmin jobs list; segadmin models show 1; segadmin models export 1; segadmin demo")
    echo("Make it on the server: segadmin keys create NAME; another: segadmin keys create OTHER")
    server = "segadmin --server 'http://me:***@shop:8400'"
    first, second = capsys.readouterr().out.splitlines()
    assert first == (
        f"Next: {server} jobs list; {server} models show 1; on the server: segadmin models export 1; segadmin demo"
    )
    assert second == f"Make it on the server: segadmin keys create NAME; another: {server} keys create OTHER"
    next_commands.remember_server(None, *commands)
    echo("Check that `segadmin web` runs there. Next: segadmin jobs list, or: segadmin db upgrade")
    assert capsys.readouterr().out == (
        "Check that `segadmin web` runs there. Next: segadmin jobs list, or: on the server: segadmin db upgrade\n"
    )


@pytest.mark.parametrize(
    ("given", "moment"),
    [
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T14:30", datetime(2026, 3, 1, 14, 30, tzinfo=UTC)),
        ("2026-03-01T14:30:05+08:00", datetime(2026, 3, 1, 6, 30, 5, tzinfo=UTC)),
    ],
)
def test_moments_are_in_utc_unless_they_say_otherwise(given: str, moment: datetime) -> None:
    assert moment_of(given) == moment


@pytest.mark.parametrize(
    ("given", "moment"),
    [
        ("2026-03-01", datetime(2026, 3, 1, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("20260301T14", datetime(2026, 3, 1, 14, 59, 59, 999_999, tzinfo=UTC)),
        ("2026-03-01 14:30", datetime(2026, 3, 1, 14, 30, 59, 999_999, tzinfo=UTC)),
        ("2026-03-01T14:30:05+08:00", datetime(2026, 3, 1, 6, 30, 5, 999_999, tzinfo=UTC)),
        ("2026-03-01T14:30:05.25Z", datetime(2026, 3, 1, 14, 30, 5, 250_000, tzinfo=UTC)),
        ("9999-12-31", datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_the_last_snapshot_at_a_day_or_minute_is_that_of_its_end(given: str, moment: datetime) -> None:
    assert last_moment_of(given) == moment
    assert TypeAdapter(LastMoment).validate_python(given) == moment


@pytest.mark.parametrize("given", ["yesterday", "2026-13-01", "2026-03-01T25:00", "9999-12-31T23:59-05:00", ""])
def test_what_is_no_moment_is_refused_with_an_example(given: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"is no time; write it as 2026-03-01 or 2026-03-01T14:30"):
        moment_of(given)
    with pytest.raises(typer.BadParameter, match=r"is no time; write it as 2026-03-01 or 2026-03-01T14:30"):
        last_moment_of(given)
    with pytest.raises(ValidationError):
        TypeAdapter(LastMoment).validate_python(given)
