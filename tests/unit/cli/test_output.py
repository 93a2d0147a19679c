"""What commands print: data of anybody reaches a terminal without anything that it would obey."""

from __future__ import annotations

import ast
import io
import json
from pathlib import Path

import pytest
from rich.live import Live
from rich.text import Text

import segadmin_api.cli
from segadmin.printable import printable, printable_json
from segadmin_api.cli.output import echo, show_json, table, terminal

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
