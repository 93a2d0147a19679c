"""The number columns of one import: each has one number format in all rows.

Files are read in chunks, and a later chunk may show that the format assumed for earlier ones is wrong. Therefore each
chunk's evidence is stored with it, and :meth:`NumberColumns.is_stale` returns whether a chunk must be read again.
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
    is_known,
    parse,
    refuse_mixed,
    refuse_open,
)

#: Evidence that a column does not contain plain numbers.
_COMMAS: tuple[Shown, ...] = ("comma", "either_comma")
#: Thousands separator → decimal sign.
_DECIMAL_SIGNS: dict[str, DecimalSign] = {",": ".", ".": ","}


@dataclass(frozen=True)
class Reading:
    """The convention by which a column of a chunk was read, and the evidence in its cells."""

    convention: Convention
    evidence: Evidence = field(default_factory=dict)
    complete: bool = False  #: whether plain numbers were examined too


@dataclass
class _Chunk:
    """The state of the current chunk."""

    readings: dict[str, Reading] = field(default_factory=dict)
    currencies: dict[str, Example] = field(default_factory=dict)
    currency: str | None = None


class NumberColumns:
    """Reads the number columns of an import and determines their formats.

    Args:
        mapping: may define the number format.
        typed: the source has a number type, as JSON has.
        whole: the rows are finite, so that columns can be decided as a whole; else ambiguous cells are bad.
        queue: the rows are a part of an endless queue, whose first prices decide on the currency of all.
    """

    def __init__(self, mapping: FieldMapping, *, typed: bool = False, whole: bool = True, queue: bool = False) -> None:
        decimal = mapping.decimal or _DECIMAL_SIGNS.get(mapping.thousands or "")
        self.whole, self.queue, self._thousands = whole and not queue, queue, mapping.thousands
        self._typed = typed and mapping.thousands != "."  # else a point separates thousands, despite the source's type
        self._fixed = None if decimal is None else Convention(decimal, mapping.thousands)
        self._evidence: dict[str, dict[Shown, Example]] = {}
        self._currencies: dict[str, Example] = {}
        self.currency: str | None = None  #: of a queue whose mapping names none
        self._chunk = _Chunk()

    def read(
        self, name: str, cells: pl.Series, lines: pl.Series, *, with_currency: bool = False
    ) -> tuple[pl.Series, int]:
        """Return a field's next cells as Float64, null for invalid numbers, and how many were formatted numbers.

        Args:
            name: the field.
            cells: the source's cells.
            lines: line number of each cell.
            with_currency: only the cells contain the currency.

        Raises:
            DataError: the column has both decimal points and decimal commas.
        """
        if cells.dtype != pl.String:
            self._chunk.readings[name] = Reading(Convention(), complete=True)
            return cells.cast(pl.Float64, strict=False), 0
        plain = cells.cast(pl.Float64, strict=False)
        all_plain = plain.null_count() == cells.null_count()
        convention = self._fixed
        if convention is None and not self.whole:
            convention = Convention(".", self._thousands, sure=False)
        if all_plain and not self._has_commas(name) and (convention is None or convention.decimal == "."):
            return plain, 0  # the usual case
        rest = (plain.is_null() & cells.is_not_null()).arg_true()
        if with_currency and self.whole:
            self._note_currencies(currencies_in(cells[rest], lines[rest]))
        if convention is None:
            convention = self._decide(name, cells, lines, rest)
        values = parse(cells, convention, typed=self._typed)
        return values, int((values.is_not_null() & values.ne_missing(plain)).sum())

    def _decide(self, name: str, cells: pl.Series, lines: pl.Series, rest: pl.Series) -> Convention:
        """Return the convention of a column; ``rest`` are the indices of cells that are not plain numbers."""
        evidence = examine(cells[rest], lines[rest], self._thousands, typed=self._typed)
        complete = self._has_commas(name) or any(shown in evidence for shown in _COMMAS)
        if complete:
            evidence = examine(cells, lines, self._thousands, typed=self._typed)
        self._evidence[name] = {**evidence, **self._evidence.get(name, {})}
        convention = self.convention(name)
        self._chunk.readings[name] = Reading(convention, evidence, complete)
        return convention

    def _note_currencies(self, currencies: Mapping[str, Example]) -> None:
        self._chunk.currencies = {**currencies, **self._chunk.currencies}
        self._currencies = {**currencies, **self._currencies}

    def note_currency(self, currencies: pl.Series) -> None:
        """Decide for the most frequent of the first ``currencies`` of a queue; of equally frequent ones, the first.

        Words that are no currencies, such as ``points``, decide nothing.
        """
        known = currencies.filter(is_known(currencies)) if self.currency is None else currencies.clear()
        if len(known):
            counts = known.rename("name").to_frame().group_by("name", maintain_order=True).len()
            self.currency = counts["name"][counts["len"].arg_max() or 0]
        self._chunk.currency = self.currency

    def convention(self, name: str) -> Convention:
        """Return the current convention of a field."""
        return self._fixed or choose(self._evidence.get(name, {}), self._thousands, name)

    def close_chunk(self) -> dict[str, Any]:
        """End the chunk and return its state as JSON, for :meth:`open_chunk` and :meth:`is_stale`."""
        facts = asdict(self._chunk)
        self._chunk = _Chunk()
        return facts

    def open_chunk(self, facts: Mapping[str, Any]) -> None:
        """Restore the state of a chunk of an interrupted import."""
        self.currency = facts.get("currency") or self.currency
        self._currencies |= {name: Example(**example) for name, example in facts["currencies"].items()}
        for name, reading in facts["readings"].items():
            evidence = {shown: Example(**example) for shown, example in reading["evidence"].items()}
            self._evidence[name] = {**evidence, **self._evidence.get(name, {})}

    def is_stale(self, facts: Mapping[str, Any]) -> bool:
        """Return whether a chunk must be read again, because of the evidence in later ones."""
        for name in filter(self._has_commas, self._evidence):
            current, reading = self.convention(name), facts["readings"].get(name)
            if reading is None or not reading["complete"]:
                if current.decimal == "," or not current.sure:
                    return True
            elif reading["evidence"] and reading["convention"] != asdict(current):
                return True
        return False

    def refuse_open(self) -> None:
        """Raise ``DataError`` if a column has an ambiguous number format."""
        if self._fixed is None:
            for name, evidence in self._evidence.items():
                refuse_open(evidence, name)

    def refuse_mixed(self) -> None:
        """Raise ``DataError`` if prices are in several currencies."""
        refuse_mixed(self._currencies)

    def decimal_commas(self) -> dict[str, Example]:
        """Return the fields with a decimal comma, each with an example."""
        return {name: evidence["comma"] for name, evidence in self._evidence.items() if "comma" in evidence}

    def _has_commas(self, name: str) -> bool:
        return any(shown in self._evidence.get(name, {}) for shown in _COMMAS)
