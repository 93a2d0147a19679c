r"""How the cells of a CSV file are quoted, where that is not as RFC 4180 has it.

Some programs quote with apostrophes, some not at all, and MySQL writes ``\"`` for a quote in a cell where others write
``""``. What a file does is decided once, over its first block.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import polars as pl

from segadmin.errors import ConfigurationError

#: ``-o quote=none``: no sign quotes cells. ``-o escape=none``: no sign stands before a quote that belongs to a cell.
NONE = "none"
QUOTE = '"'
BACKSLASH = "\\"
#: What stands for ``"`` while a file is read in which it quotes nothing.
_STAND_IN = "\x01"
_SAMPLED_LINES = 1_000
#: So many cells of a line that are in apostrophes are no coincidence.
_LEAST_CELLS = 2


@dataclass(frozen=True)
class Quotes:
    """What quotes cells. Readers know ``"`` alone, so the two signs change places before and after."""

    sign: str = QUOTE

    @classmethod
    def of(cls, start: bytes, named: str, separators: str) -> Quotes:
        """Return what quotes the cells of a file: what is named, else what its first block shows.

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
        """Whether readers know the sign."""
        return self.sign == QUOTE

    def swap(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield blocks in which ``"`` quotes."""
        table = bytes.maketrans(f'{self.sign}"'.encode(), f'"{self.sign}'.encode())
        return (block.translate(table) for block in blocks)

    def swap_back(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return cells, which were read from such blocks, as they are in the file."""
        cells = pl.selectors.string()
        return rows.with_columns(cells.str.replace_many([self.sign, QUOTE], [QUOTE, self.sign]))

    def swap_text(self, text: str) -> str:
        """Return a text of such a block as it is in the file."""
        return text.translate(str.maketrans(f'{self.sign}"', f'"{self.sign}'))


def escape_of(start: bytes, named: str, separator: str, columns: int) -> str:
    r"""Return the sign before a quote that belongs to its cell: empty, or ``\`` where lines are right only so.

    Args:
        start: the first block.
        named: what the user says; empty for nothing.
        separator: what stands between cells.
        columns: how many cells a row has.

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
    """Return how many cells a line has, 0 if its quotes are not as the dialect has them."""
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
