"""The columns of numbers of one import: each is read in one way from the first row to the last.

A file comes in chunks, and a later chunk may show that the earlier ones have to be read otherwise. So each chunk's
evidence is kept beside it, and :meth:`NumberColumns.is_stale` says which chunks are to be read again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl

from segadmin.events.mapping import Mapping as FieldMapping
from segadmin.events.number_formats import (
    Convention,
    DecimalSign,
    Evidence,
    Example,
    Shown,
    choose,
    currencies_in,
    examine,
    parse,
    refuse_mixed,
    refuse_open,
)

#: What makes a column one that is not read as plain numbers.
_COMMAS: tuple[Shown, ...] = ("comma", "either_comma")
#: The decimal sign that a sign between thousands leaves.
_LEFT: dict[str, DecimalSign] = {",": ".", ".": ","}


@dataclass(frozen=True)
class Reading:
    """How one column of a chunk was read, and what its cells showed."""

    convention: Convention
    evidence: Evidence = field(default_factory=dict)
    complete: bool = False  #: whether plain numbers were examined as well


@dataclass
class _Chunk:
    """What was learned from the chunk that is being read."""

    readings: dict[str, Reading] = field(default_factory=dict)
    currencies: dict[str, Example] = field(default_factory=dict)


class NumberColumns:
    """What is known so far of an import's columns of numbers.

    Args:
        mapping: may say how numbers are written.
        typed: the source has numbers of its own, as JSON has, and does not depend on text.
        whole: the import ends, so that a column can be decided as a whole; of a queue no cell is ever guessed.
    """

    def __init__(self, mapping: FieldMapping, *, typed: bool = False, whole: bool = True) -> None:
        decimal = mapping.decimal or _LEFT.get(mapping.thousands or "")
        self.whole, self._thousands = whole, mapping.thousands
        self._typed = typed and mapping.thousands != "."  # else a point separates thousands, whatever the source says
        self._given = None if decimal is None else Convention(decimal, mapping.thousands)
        self._evidence: dict[str, dict[Shown, Example]] = {}
        self._currencies: dict[str, Example] = {}
        self._chunk = _Chunk()

    def read(
        self, name: str, cells: pl.Series, lines: pl.Series, *, with_currency: bool = False
    ) -> tuple[pl.Series, int]:
        """Return a field's next cells as Float64, null where one is no number; and how many were written in a format.

        Args:
            name: the field.
            cells: as they came.
            lines: where each is.
            with_currency: nothing but the cells says in which currency they are.

        Raises:
            DataError: the column shows a decimal point and a decimal comma.
        """
        if cells.dtype != pl.String:
            self._chunk.readings[name] = Reading(Convention(), complete=True)
            return cells.cast(pl.Float64, strict=False), 0
        plain = cells.cast(pl.Float64, strict=False)
        rest = (plain.is_null() & cells.is_not_null()).arg_true()
        convention = self._given
        if convention is None and not self.whole:
            convention = Convention(".", self._thousands, sure=False)
        if rest.is_empty() and not self._has_commas(name) and (convention is None or convention.decimal == "."):
            return plain, 0  # nearly every column
        if with_currency and self.whole:
            self._note_currencies(currencies_in(cells[rest], lines[rest]))
        if convention is None:
            convention = self._decide(name, cells, lines, rest)
        values = parse(cells, convention, typed=self._typed)
        return values, int((values.is_not_null() & values.ne_missing(plain)).sum())

    def _decide(self, name: str, cells: pl.Series, lines: pl.Series, rest: pl.Series) -> Convention:
        """Return how to read a column, of which ``rest`` are the places of what is not written as a plain number."""
        found = examine(cells[rest], lines[rest], self._thousands, typed=self._typed)
        complete = self._has_commas(name) or any(shown in found for shown in _COMMAS)
        if complete:
            found = examine(cells, lines, self._thousands, typed=self._typed)
        self._evidence[name] = {**found, **self._evidence.get(name, {})}
        convention = self.convention(name)
        self._chunk.readings[name] = Reading(convention, found, complete)
        return convention

    def _note_currencies(self, found: Mapping[str, Example]) -> None:
        self._chunk.currencies = {**found, **self._chunk.currencies}
        self._currencies = {**found, **self._currencies}

    def convention(self, name: str) -> Convention:
        """Return how a field is read, as far as is known by now."""
        return self._given or choose(self._evidence.get(name, {}), self._thousands, name)

    def close_chunk(self) -> dict[str, Any]:
        """Return what :meth:`open_chunk` and :meth:`is_stale` want to know of the chunk that was read, as JSON."""
        facts = asdict(self._chunk)
        self._chunk = _Chunk()
        return facts

    def open_chunk(self, facts: Mapping[str, Any]) -> None:
        """Take over what an interrupted import learned from a chunk."""
        self._currencies |= {name: Example(**example) for name, example in facts["currencies"].items()}
        for name, reading in facts["readings"].items():
            found = {shown: Example(**example) for shown, example in reading["evidence"].items()}
            self._evidence[name] = {**found, **self._evidence.get(name, {})}

    def is_stale(self, facts: Mapping[str, Any]) -> bool:
        """Return whether a chunk must be read again, after what later ones have shown."""
        for name in filter(self._has_commas, self._evidence):
            now, then = self.convention(name), facts["readings"].get(name)
            if then is None or not then["complete"]:
                if now.decimal == "," or not now.sure:
                    return True
            elif then["evidence"] and then["convention"] != asdict(now):
                return True
        return False

    def refuse_open(self) -> None:
        """Raise ``DataError`` for a column that can be read in two ways."""
        if self._given is None:
            for name, evidence in self._evidence.items():
                refuse_open(evidence, name)

    def refuse_mixed(self) -> None:
        """Raise ``DataError`` where prices are in several currencies."""
        refuse_mixed(self._currencies)

    def decimal_commas(self) -> dict[str, Example]:
        """Return the fields that are found to have a decimal comma, each with a cell that shows it."""
        return {name: found["comma"] for name, found in self._evidence.items() if "comma" in found}

    def _has_commas(self, name: str) -> bool:
        return any(shown in self._evidence.get(name, {}) for shown in _COMMAS)
