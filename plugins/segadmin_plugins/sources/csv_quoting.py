r"""How the cells of a CSV file are quoted, if not as in RFC 4180.

Some programs quote with apostrophes, some not at all, and MySQL writes ``\"`` for a quote in a cell where others write
``""``. The style of a file is detected once, from its first block.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import polars as pl

from segadmin.errors import ConfigurationError

#: ``-o quote=none``: cells are not quoted. ``-o escape=none``: quotes inside cells are not escaped.
NONE = "none"
QUOTE = '"'
BACKSLASH = "\\"
#: Replaces ``"`` while a file is read in which it is not a quote character.
_STAND_IN = "\x01"
_SAMPLED_LINES = 1_000
#: Fewest cells of a line in apostrophes that count as quoting.
_LEAST_CELLS = 2


@dataclass(frozen=True)
class Quotes:
    """The quote character. Readers support only ``"``, so the two characters are swapped before and after reading."""

    sign: str = QUOTE

    @classmethod
    def of(cls, start: bytes, named: str, separators: str) -> Quotes:
        """Return the quote character of a file: ``named``, else detected from its first block.

        Raises:
            ConfigurationError: what is named is not one ASCII character, nor ``none``.
        """
        if named == NONE:
            return cls(_STAND_IN)
        if named:
            _check("quote", named)
            return cls(named)
        lines = [line.decode("utf-8", "replace") for line in start[: 1 << 16].split(b"\n")[1:_SAMPLED_LINES]]
        return cls("'" if _in_apostrophes(lines, separators) else QUOTE)

    @property
    def is_usual(self) -> bool:
        """Whether readers support the character."""
        return self.sign == QUOTE

    def swap(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield blocks with ``"`` as the quote character."""
        table = bytes.maketrans(f'{self.sign}"'.encode(), f'"{self.sign}'.encode())
        return (block.translate(table) for block in blocks)

    def swap_back(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return cells read from swapped blocks as they are in the file."""
        cells = pl.selectors.string()
        return rows.with_columns(cells.str.replace_many([self.sign, QUOTE], [QUOTE, self.sign]))

    def swap_text(self, text: str) -> str:
        """Return text of a swapped block as it is in the file."""
        return text.translate(str.maketrans(f'{self.sign}"', f'"{self.sign}'))


def escape_of(start: bytes, named: str, separator: str, columns: int) -> str:
    r"""Return the escape character of quotes in cells: ``\`` if lines have the right width only with it, else empty.

    Args:
        start: the first block.
        named: the option of the user, or empty.
        separator: the separator of cells.
        columns: number of cells of a row.

    Raises:
        ConfigurationError: what is named is not one ASCII character, nor ``none``.
    """
    if named:
        if named != NONE:
            _check("escape", named)
        return "" if named == NONE else named
    if b'\\"' not in start:
        return ""
    suspects = islice((line for line in start.split(b"\n") if b'\\"' in line), _SAMPLED_LINES)
    for line in suspects:
        text = line.decode("utf-8", "replace").rstrip("\r")
        if strict_width(text, separator, "") != columns and strict_width(text, separator, BACKSLASH) == columns:
            return BACKSLASH
    return ""


def strict_width(line: str, separator: str, escape: str) -> int:
    """Return the number of cells of a line; 0 if its quotes violate the dialect."""
    try:
        return len(next(csv.reader([line], delimiter=separator, escapechar=escape or None, strict=True), []))
    except csv.Error:
        return 0


def _check(option: str, named: str) -> None:
    if len(named) != 1 or not named.isascii():
        raise ConfigurationError(f"The {option} sign must be one character, or {NONE}; it is {named!r}.")


def _in_apostrophes(lines: Sequence[str], separators: str) -> bool:
    """Whether most lines have several cells in apostrophes."""
    filled = [line for line in lines if line.strip()]
    for separator in separators:
        cell = re.compile(rf"(?:^|{re.escape(separator)})\s*'(?:[^']|'')*'\s*(?={re.escape(separator)}|$)")
        if 2 * sum(len(cell.findall(line)) >= _LEAST_CELLS for line in filled) > len(filled):
            return True
    return False
