"""Output of commands: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from segadmin.errors import ConfigurationError

#: ``--json``, the same for all commands.
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
#: ``--at``, of what is kept as history.
AtOption = Annotated[
    datetime | None,
    typer.Option(
        "--at",
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
        help="What was known at this time (UTC), instead of a number.",
    ),
]
#: ``--raw-cells``, of exports.
RawCells = Annotated[
    bool,
    typer.Option("--raw-cells", help="CSV: do not escape text that spreadsheets would run as a formula (= + - @)."),
]

#: The error for invalid arguments; Typer exports only its subclasses.
UsageError: Any = typer.BadParameter.__base__
#: Cells up to this length are not wrapped.
_UNWRAPPED = 14


def group(summary: str, cls: type[TyperGroup] | None = None) -> typer.Typer:
    """Return an empty group of subcommands, of the class ``cls`` if there is one."""
    return typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", help=summary, cls=cls)


def show_json(value: object) -> None:
    """Print ``value`` as JSON on stdout; times become ISO 8601."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "") -> None:
    """Print a table, or ``empty`` if there are no rows.

    Args:
        title: may be empty.
        columns: the headers; a leading ``>`` aligns the column to the right.
        rows: the cells; ``None`` is shown as an empty cell.
        empty: what is missing, and the command that creates it.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not cells and empty:
        typer.echo(empty)
        return
    # No frame, to leave all 80 columns for text.
    rendered = Table(
        title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for index, column in enumerate(columns):
        longest = max((len(row_cells[index]) for row_cells in cells), default=0)
        justify: Literal["right", "left"] = "right" if column.startswith(">") else "left"
        rendered.add_column(column.lstrip(">"), justify=justify, overflow="fold", min_width=min(longest, _UNWRAPPED))
    for row_cells in cells:
        rendered.add_row(*map(Text, row_cells))  # Rich would interpret [brackets] in a string as markup
    Console().print(rendered)


def write_page(out: Path, html: str) -> None:
    """Write a page to the file ``out``, and print its path; see :func:`save_page`."""
    save_page(out, html)
    typer.echo(f"Wrote {out}. Open it in a browser.")


def save_page(out: Path, html: str) -> None:
    """Write a page to the file ``out``.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    try:
        out.write_text(html, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{out} cannot be written: {error.strerror}. Name a folder that exists.") from None


def parse_options(pairs: Sequence[str], flag: str) -> dict[str, Any]:
    """Return ``key=value`` arguments as a dictionary.

    Raises:
        typer.BadParameter: an argument has no ``=``.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise typer.BadParameter(f"{pair!r} is not key=value", param_hint=flag)
        options[key] = value
    return options
