"""Statistics of a column's cells that show whether they are times, numbers, kinds or ids."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import polars as pl

from segadmin.contracts.event_kinds import kind_of
from segadmin.events.time_formats import fitting_formats
from segadmin.events.times import read_time

#: Number of cells that are examined.
_CELLS = 2_000
#: Unix seconds, milliseconds and microseconds since 2001.
_EPOCH = r"^1\d{9}(\d{3})?(\d{3})?$"
_ZONE = r"(Z|UTC|GMT|[+-]\d{2}:?\d{2})$"
_MONEY = r"^[^\w]*[A-Za-z]{0,3}\s*[-(]?[\d][\d.,' ]*\)?\s*\D{0,4}$"
#: Maximum number of distinct words in a column of kinds.
_MOST_KINDS = 60


@dataclass(frozen=True)
class ColumnFacts:
    """Statistics of a column, or of a path into one."""

    name: str
    column: pl.Series

    @cached_property
    def cells(self) -> pl.Series:
        """The first cells that are not blank, as text."""
        text = self.column.cast(pl.String).str.strip_chars()
        return text.filter(text != "").head(_CELLS)

    @cached_property
    def times(self) -> float:
        """Fraction of cells that are times in a standard form: text, or Unix times since 2001."""
        if self.column.dtype.is_temporal():
            return 1.0
        cells = self.cells
        epoch = cells.str.contains(_EPOCH)
        text = cells.to_frame("cell").select(read_time(pl.col("cell"), "UTC").is_not_null()).to_series()
        return _share(epoch | (text & ~cells.str.contains(r"^\d+(\.\d+)?$")))

    @cached_property
    def has_zones(self) -> bool:
        """Whether most times have a time zone; Unix times count as such."""
        if isinstance(self.column.dtype, pl.Datetime):
            return self.column.dtype.time_zone is not None
        return _share(self.cells.str.contains(_EPOCH) | self.cells.str.contains(_ZONE)) > 0.5

    @cached_property
    def formats(self) -> list[str]:
        """The ``strptime`` formats that fit all cells; empty if they are times in a standard form, or numbers."""
        return [] if self.times > 0.8 or self.numbers > 0.5 else fitting_formats(self.cells.to_list())

    @cached_property
    def numbers(self) -> float:
        """Fraction of cells that are numbers or amounts of money."""
        return _share(self.cells.str.contains(_MONEY))

    @cached_property
    def numbers_with_point(self) -> float:
        """Fraction of cells that are decimals, which are rarely ids."""
        return _share(self.cells.str.contains(r"^-?\d+[.,]\d*[1-9]\d*$"))

    @cached_property
    def words(self) -> dict[str, int]:
        """Word → number of cells; empty if there are too many words for kinds."""
        counts = self.cells.value_counts(sort=True)
        if counts.height > _MOST_KINDS:
            return {}
        return dict(counts.iter_rows())

    @cached_property
    def kinds(self) -> float:
        """Fraction of cells with a word that is a kind, or probably means one."""
        matches = sum(count for word, count in self.words.items() if kind_of(word))
        return matches / len(self.cells) if len(self.cells) else 0.0

    @cached_property
    def unique(self) -> float:
        """Number of distinct cells divided by the number of cells."""
        return self.cells.n_unique() / len(self.cells) if len(self.cells) else 0.0


def price_is_of_one(items: pl.Series, quantities: pl.Series, prices: pl.Series) -> bool | None:
    """Return whether prices are per item, not per line; ``None`` if the rows do not show it.

    For items bought in different quantities, either the price is constant, or the price divided by the quantity.
    """
    rows = pl.DataFrame({"item": items, "quantity": _number(quantities), "price": _number(prices)})
    rows = rows.filter((pl.col("quantity") > 0) & (pl.col("price") > 0))
    by_item = rows.group_by("item").agg(
        quantities=pl.col("quantity").n_unique(),
        same_price=pl.col("price").n_unique() == 1,
        same_rate=(pl.col("price") / pl.col("quantity")).round(2).n_unique() == 1,
    )
    several = by_item.filter(pl.col("quantities") > 1)
    same_price, same_rate = int(several["same_price"].sum()), int(several["same_rate"].sum())
    if same_price == same_rate:
        return None
    return same_price > same_rate


def _number(cells: pl.Series) -> pl.Series:
    return cells.cast(pl.String).str.replace_all(r"[^\d.\-]", "").cast(pl.Float64, strict=False)


def _share(cells: pl.Series) -> float:
    return float(cells.mean() or 0.0)  # type: ignore[arg-type]
