"""Output of commands: tables for people, JSON for programs.

Everything that commands print goes through this module, because most of it quotes data: a terminal shows control
characters and obeys none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from segadmin.errors import ConfigurationError
from segadmin.printable import printable, printable_json

if TYPE_CHECKING:
    from rich.console import Console

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


def echo(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print ``text`` on stdout, or on stderr."""
    typer.echo(printable(str(text)), err=err, nl=nl)


def echo_marked(mark: str, colour: str, text: str) -> None:
    """Print a coloured mark, and ``text`` behind it."""
    typer.echo(f"{typer.style(mark, fg=colour)} {printable(text)}")


def confirm(question: str) -> None:
    """Ask a question; any answer but yes ends the command."""
    typer.confirm(printable(question), abort=True)


def terminal(*, stderr: bool = False) -> Console:
    """Return a Rich console; what is printed on it as a string has no markup unless ``markup=True`` is passed."""
    return _console_class()(stderr=stderr, markup=False)


@cache
def _console_class() -> type[Console]:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class PrintableConsole(Console):
        """A console that shows the control characters of its content, and sends only its own."""

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
            """Return what ``renderable`` consists of."""
            for segment in super().render(renderable, options):
                yield segment if segment.control else segment._replace(text=printable(segment.text))

    return PrintableConsole


def show_json(value: object) -> None:
    """Print ``value`` as JSON on stdout; times become ISO 8601."""
    typer.echo(printable_json(json.dumps(value, ensure_ascii=False, indent=2, default=str)))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "") -> None:
    """Print a table, or ``empty`` if there are no rows.

    Args:
        title: may be empty.
        columns: the headers; a leading ``>`` aligns the column to the right.
        rows: the cells; ``None`` is shown as an empty cell.
        empty: what is missing, and the command that creates it.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    cells = [["" if cell is None else printable(str(cell)) for cell in row] for row in rows]
    if not cells and empty:
        echo(empty)
        return
    # No frame, to leave all 80 columns for text.
    rendered = Table(
        title=Text(printable(title)) if title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for index, column in enumerate(columns):
        longest = max((len(row_cells[index]) for row_cells in cells), default=0)
        justify: Literal["right", "left"] = "right" if column.startswith(">") else "left"
        header, width = Text(printable(column.lstrip(">"))), min(longest, _UNWRAPPED)
        rendered.add_column(header, justify=justify, overflow="fold", min_width=width)
    for row_cells in cells:
        rendered.add_row(*map(Text, row_cells))  # Rich would interpret [brackets] in a string as markup
    terminal().print(rendered)


def write_page(out: Path, html: str) -> None:
    """Write a page to the file ``out``, and print its path; see :func:`save_page`."""
    save_page(out, html)
    echo(f"Wrote {out}. Open it in a browser.")


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
