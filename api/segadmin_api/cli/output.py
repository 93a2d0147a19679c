"""Output of commands: tables for people, JSON for programs.

Everything that commands print goes through this module, because most of it quotes data: a terminal shows control
characters and obeys none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from segadmin.errors import ConfigurationError
from segadmin.printable import printable, printable_json
from segadmin_api.cli.next_commands import with_options

if TYPE_CHECKING:
    from rich.console import Console


def moment_of(text: str) -> datetime:
    """Return the moment that an option means, in UTC unless it says otherwise; a date is its first moment.

    Raises:
        typer.BadParameter: it is no date and no time.
    """
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _no_time(text) from None


def last_moment_of(text: str) -> datetime:
    """Return the end of the day, hour, minute or second that an option means, in UTC unless it says otherwise.

    Raises:
        typer.BadParameter: it is no date and no time.
    """
    from segadmin.timezones import last_moment

    try:
        return last_moment(text)
    except (ValueError, OverflowError):
        raise _no_time(text) from None


def _no_time(text: str) -> typer.BadParameter:
    return typer.BadParameter(f"{text!r} is no time; write it as 2026-03-01 or 2026-03-01T14:30 (UTC)")


#: ``--json``, the same for all commands.
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
#: ``--at``, of what is kept as history.
AtOption = Annotated[
    datetime | None,
    typer.Option(
        "--at",
        parser=last_moment_of,
        metavar="TIME",
        help="The last snapshot as of this time (UTC) or before, instead of a number: a day (2026-03-01) or a minute "
        "(2026-03-01T14:30) means its end. As of is up to when a snapshot has read events, not when it was published.",
    ),
]
#: ``--raw-cells``, of exports.
RawCells = Annotated[
    bool,
    typer.Option("--raw-cells", help="CSV: do not escape text that spreadsheets would run as a formula (= + - @)."),
]

#: The error for invalid arguments; Typer exports only its subclasses.
UsageError: Any = typer.BadParameter.__base__
#: Cells up to this length are not wrapped if there is room, and columns of longer ones get as narrow as that.
_UNWRAPPED, _NARROW = 14, 7


def group(summary: str, cls: type[TyperGroup] | None = None) -> typer.Typer:
    """Return an empty group of subcommands, of the class ``cls`` if there is one."""
    return typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", help=summary, cls=cls)


def echo(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print ``text`` on stdout, or on stderr."""
    typer.echo(printable(with_options(str(text))), err=err, nl=nl)


def echo_marked(mark: str, colour: str, text: str) -> None:
    """Print a coloured mark, and ``text`` behind it."""
    typer.echo(f"{typer.style(mark, fg=colour)} {printable(with_options(text))}")


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

        def print(self, *objects: Any, **options: Any) -> None:
            """Print ``objects``; suggested commands have the home or server that was given."""
            super().print(*(with_options(each) if isinstance(each, str) else each for each in objects), **options)

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
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    cells = [["" if cell is None else printable(with_options(str(cell))) for cell in row] for row in rows]
    if not cells and empty:
        echo(empty)
        return
    if title:
        echo(title)  # as a part of the table, Rich would wrap it to the table's width
    # No frame, to leave all 80 columns for text.
    rendered = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    console = terminal()
    longest_words = [max(map(cell_len, printable(column.lstrip(">")).split()), default=0) for column in columns]
    by_column = zip(*cells, strict=True) if cells else [()] * len(columns)
    lengths = [max([word, *map(cell_len, of_column)]) for word, of_column in zip(longest_words, by_column, strict=True)]
    for column, length, width in zip(columns, lengths, _least_widths(lengths, console.width), strict=True):
        justify: Literal["right", "left"] = "right" if column.startswith(">") else "left"
        header = Text(printable(column.lstrip(">")))
        # Of columns that may be wrapped, Rich makes some narrower than that, and then cuts off what is too wide again.
        no_wrap = width == length >= header.cell_len
        rendered.add_column(header, justify=justify, overflow="fold", min_width=width, no_wrap=no_wrap)
    for row_cells in cells:
        rendered.add_row(*map(Text, row_cells))  # Rich would interpret [brackets] in a string as markup
    console.print(rendered)


def _least_widths(lengths: Sequence[int], width: int) -> list[int]:
    """Return how narrow each column may get in a table of ``width``: short cells stay in one line if there is room.

    Rich would cut off what is beyond the width.
    """
    room = width - 2 * len(lengths)  # between columns, and at both edges
    for narrow in range(_UNWRAPPED, _NARROW - 1, -1):  # long cells are wrapped anyway
        least = [length if length <= _UNWRAPPED else narrow for length in lengths]
        if sum(least) <= room:
            return least
    for narrow in range(_UNWRAPPED, 1, -1):
        least = [min(length, narrow, _UNWRAPPED if length <= _UNWRAPPED else _NARROW) for length in lengths]
        if sum(least) <= room:
            return least
    return [1] * len(lengths)


def nothing(empty: str, **conditions: object) -> str:
    """Return ``empty``, or if there are conditions, by the names of their options, that nothing meets them."""
    given = " ".join(
        f"--{name.strip('_').replace('_', '-')} {value}" for name, value in conditions.items() if value is not None
    )
    return f"Nothing matches {given}. Leave that out to see all." if given else empty


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
