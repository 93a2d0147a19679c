"""What the rows of a CSV file look like.

It tells text of several lines from a row that lies inside another row's cell because a quote was not closed.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: A column whose cells have more shapes than this is free text, which says nothing.
_MOST_SHAPES = 8
_SAMPLED_ROWS = 200
_DIGITS = re.compile(r"\d+")
_LETTERS = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class RowShape:
    """What the rows of a file look like: for each column the shapes of its cells, such as ``a0`` or ``0-0-0``."""

    columns: Sequence[frozenset[str]]

    @classmethod
    def of(cls, rows: Iterable[Sequence[str]], columns: int) -> RowShape:
        """Return the shape of some rows, of which those with another number of cells are left out."""
        shapes: list[set[str]] = [set() for _ in range(columns)]
        sampled = 0
        for row in rows:
            if len(row) != columns:
                continue
            for known, cell in zip(shapes, row, strict=True):
                known.add(_shape(cell))
            sampled += 1
            if sampled == _SAMPLED_ROWS:
                break
        return cls([frozenset(known) if len(known) <= _MOST_SHAPES else frozenset() for known in shapes])

    def fits(self, line: str, separator: str) -> bool:
        """Whether a line looks like a row: its cells have the shapes of their columns, one of which has digits."""
        cells = next(csv.reader(iter([line.rstrip("\r\n")]), delimiter=separator), [])
        if len(cells) != len(self.columns):
            return False
        told = [(known, _shape(cell)) for known, cell in zip(self.columns, cells, strict=True) if known]
        return any("0" in shape for _, shape in told) and all(shape in known for known, shape in told)


def _shape(cell: str) -> str:
    return _LETTERS.sub("a", _DIGITS.sub("0", cell))
