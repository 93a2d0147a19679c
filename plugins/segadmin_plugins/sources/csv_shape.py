"""The shape of the rows of a CSV file.

It distinguishes a text of several lines from a row that lies in another row's cell because of an unclosed quote.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: A column whose cells have more shapes than this is free text and is ignored.
_MOST_SHAPES = 8
_SAMPLED_ROWS = 200
_DIGITS = re.compile(r"\d+")
_LETTERS = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class RowShape:
    """The shapes of the cells of each column, such as ``a0`` or ``0-0-0``."""

    columns: Sequence[frozenset[str]]

    @classmethod
    def of(cls, rows: Iterable[Sequence[str]], columns: int) -> RowShape:
        """Return the shape of rows; those with another number of cells are left out."""
        shapes: list[set[str]] = [set() for _ in range(columns)]
        sampled = 0
        for row in rows:
            if len(row) != columns:
                continue
            for column, cell in zip(shapes, row, strict=True):
                column.add(_shape(cell))
            sampled += 1
            if sampled == _SAMPLED_ROWS:
                break
        return cls([frozenset(column) if len(column) <= _MOST_SHAPES else frozenset() for column in shapes])

    def fits(self, line: str, separator: str) -> bool:
        """Whether a line looks like a row: its cells have the shapes of their columns, one of which has digits."""
        cells = next(csv.reader(iter([line.rstrip("\r\n")]), delimiter=separator), [])
        if len(cells) != len(self.columns):
            return False
        cell_shapes = [(usual, _shape(cell)) for usual, cell in zip(self.columns, cells, strict=True) if usual]
        return any("0" in shape for _, shape in cell_shapes) and all(shape in usual for usual, shape in cell_shapes)


def _shape(cell: str) -> str:
    return _LETTERS.sub("a", _DIGITS.sub("0", cell))
