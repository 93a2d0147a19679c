"""Writes the pages that are made from the program: ``cli.md`` and ``settings.md`` (``make docs``)."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import typer
from pydantic_core import PydanticUndefined
from typer.cli import get_docs_for_click

from segadmin.settings import Settings
from segadmin_api.cli import app

DOCS = Path(__file__).parent
_NOTE = "<!-- Made from the program by `make docs`: change the program, not this page. -->\n\n"
_TYPES = {"bool": "true or false", "float": "number", "int": "whole number", "str": "text", "Path": "path"}


def cli_page() -> str:
    """Return every command with its arguments and options."""
    command: Any = typer.main.get_command(app)
    page = get_docs_for_click(obj=command, ctx=typer.Context(command), name="segadmin", title="The command line")
    return _NOTE + re.sub(r"\n{3,}", "\n\n", page).rstrip() + "\n"


def settings_page() -> str:
    """Return every setting with its variable, type, default and meaning."""
    lines = [
        "# Settings",
        "",
        "Each is an environment variable, read once when a process starts. `segadmin doctor` names variables that are",
        "no setting. Processes that work together need the same values, except for those that name local paths.",
        "",
        "| variable | type | default | meaning |",
        "|---|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        row = (f"`SEGADMIN_{name.upper()}`", _type(field.annotation), _default(field.default), field.description or "")
        lines.append("| " + " | ".join(row) + " |")
    return _NOTE + "\n".join(lines) + "\n"


PAGES = {"settings.md": settings_page, "cli.md": cli_page}


def _type(annotation: Any) -> str:
    options = getattr(annotation, "__args__", ())
    if options and all(isinstance(option, str) for option in options):
        return " or ".join(f"`{option}`" for option in options)
    text = str(annotation if options else getattr(annotation, "__name__", annotation))
    if "frozenset" in text or "tuple" in text:
        return "list, separated by commas"
    if "SecretStr" in text:
        return "secret"
    word = next((word for word in re.findall(r"\w+", text) if word in _TYPES), text)
    return _TYPES.get(word, word)


def _default(value: Any) -> str:
    if value is None or value is PydanticUndefined or value in ("", frozenset(), ()):
        return ""
    return f"`{value}`"


def main(folder: Path = DOCS) -> None:
    """Write the pages into ``folder``."""
    for name, page in PAGES.items():
        (folder / name).write_text(page())
        sys.stdout.write(f"docs/{name}\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
