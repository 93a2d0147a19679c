"""What the cells of a column look like: times, numbers, kinds or ids."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import polars as pl

from segadmin.contracts.event_kinds import kind_of
from segadmin.events.time_formats import fitting_formats
from segadmin.events.times import read_time

#: Cells that are looked at.
_CELLS = 2_000
#: Unix seconds, milliseconds and microseconds since 2001.
_EPOCH = r"^1\d{9}(\d{3})?(\d{3})?$"
_ZONE = r"(Z|UTC|GMT|[+-]\d{2}:?\d{2})$"
_MONEY = r"^[^\w]*[A-Za-z]{0,3}\s*[-(]?[\d][\d.,' ]*\)?\s*\D{0,4}$"
#: Distinct words that a column of kinds has at most.
_MOST_KINDS = 60


@dataclass(frozen=True)
class ColumnFacts:
    """A column, or a path into one, by its name and its cells."""

    name: str
    column: pl.Series

    @cached_property
    def cells(self) -> pl.Series:
        """Its first cells that are not blank, as text."""
        text = self.column.cast(pl.String).str.strip_chars()
        return text.filter(text != "").head(_CELLS)

    @cached_property
    def times(self) -> float:
        """Share of the cells that are times as every shop writes them: text, or Unix times since 2001."""
        if self.column.dtype.is_temporal():
            return 1.0
        cells = self.cells
        epoch = cells.str.contains(_EPOCH)
        text = cells.to_frame("cell").select(read_time(pl.col("cell"), "UTC").is_not_null()).to_series()
        return _share(epoch | (text & ~cells.str.contains(r"^\d+(\.\d+)?$")))

    @cached_property
    def has_zones(self) -> bool:
        """Whether most times say their zone, as Unix times do."""
        if isinstance(self.column.dtype, pl.Datetime):
            return self.column.dtype.time_zone is not None
        return _share(self.cells.str.contains(_EPOCH) | self.cells.str.contains(_ZONE)) > 0.5

    @cached_property
    def formats(self) -> list[str]:
        """The formats of ``strptime`` that fit all cells, where they are no times as every shop writes them."""
        return [] if self.times > 0.8 or self.numbers > 0.5 else fitting_formats(self.cells.to_list())

    @cached_property
    def numbers(self) -> float:
        """Share of the cells that are numbers or amounts of money."""
        return _share(self.cells.str.contains(_MONEY))

    @cached_property
    def numbers_with_point(self) -> float:
        """Share of the cells that are decimals, so hardly ids."""
        return _share(self.cells.str.contains(r"^-?\d+[.,]\d*[1-9]\d*$"))

    @cached_property
    def words(self) -> dict[str, int]:
        """How many cells each word has, where there are as few as of kinds."""
        counts = self.cells.value_counts(sort=True)
        if counts.height > _MOST_KINDS:
            return {}
        return dict(counts.iter_rows())

    @cached_property
    def kinds(self) -> float:
        """Share of the cells with a word that is a kind, or probably means one."""
        known = sum(count for word, count in self.words.items() if kind_of(word))
        return known / len(self.cells) if len(self.cells) else 0.0

    @cached_property
    def unique(self) -> float:
        """Share of the cells that are there once only, or the first of several."""
        return self.cells.n_unique() / len(self.cells) if len(self.cells) else 0.0


def price_is_of_one(items: pl.Series, quantities: pl.Series, prices: pl.Series) -> bool | None:
    """Return whether prices are of one item, not of the whole line; ``None`` where the rows do not tell.

    Of items that were bought in different quantities, either the price stays the same, or the price by the quantity.
    """
    rows = pl.DataFrame({"item": items, "quantity": _number(quantities), "price": _number(prices)})
    rows = rows.filter((pl.col("quantity") > 0) & (pl.col("price") > 0))
    by_item = rows.group_by("item").agg(
        quantities=pl.col("quantity").n_unique(),
        line=pl.col("price").n_unique() == 1,
        one=(pl.col("price") / pl.col("quantity")).round(2).n_unique() == 1,
    )
    telling = by_item.filter(pl.col("quantities") > 1)
    same_price, same_rate = int(telling["line"].sum()), int(telling["one"].sum())
    if same_price == same_rate:
        return None
    return same_price > same_rate


def _number(cells: pl.Series) -> pl.Series:
    return cells.cast(pl.String).str.replace_all(r"[^\d.\-]", "").cast(pl.Float64, strict=False)


def _share(cells: pl.Series) -> float:
    return float(cells.mean() or 0.0)  # type: ignore[arg-type]
