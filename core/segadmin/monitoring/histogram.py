"""Histograms over users: the bounded form in which distributions are kept and compared.

The bins are chosen on some users and the others are counted in them, so that the counts of two groups in the same bins
are independent multinomials: only then do the p-values of :mod:`segadmin.monitoring.two_samples` hold for few users.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Values = NDArray[np.floating[Any]]

BINS = 10


class Histogram(BaseModel):
    """How many users have values in each bin.

    Of numbers, the bin ``n`` holds those in ``(edges[n - 1], edges[n]]``; of categories, bin ``n`` those in
    ``categories[n]``. The last bin is for all others: missing numbers, or unknown categories.
    """

    model_config = ConfigDict(frozen=True)

    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] | None = None  #: ``None``: of numbers
    counts: tuple[int, ...] = ()  #: users by bin; empty: only the bins are known yet

    @model_validator(mode="after")
    def _check_length(self) -> Self:
        if self.counts and len(self.counts) != self.bins:
            raise ValueError(f"{len(self.counts)} counts in {self.bins} bins")
        return self

    @property
    def bins(self) -> int:
        """The number of bins, the last one included."""
        return (len(self.edges) + 1 if self.categories is None else len(self.categories)) + 1

    @property
    def users(self) -> int:
        """The number of users."""
        return sum(self.counts)

    @property
    def ordered(self) -> bool:
        """Whether the bins, except the last, have an order."""
        return self.categories is None

    def label(self, number: int) -> str:
        """Return what is in a bin, such as ``12.5 to 30``."""
        if number == self.bins - 1:
            return "missing" if self.categories is None else "other"
        if self.categories is not None:
            return self.categories[number]
        low = f"{self.edges[number - 1]:.4g}" if number else ""
        if number == len(self.edges):
            return f"above {low}"
        high = f"{self.edges[number]:.4g}"
        if number and np.nextafter(self.edges[number - 1], np.inf) == self.edges[number]:
            return high  # a bin of one value
        if self.edges[number + 1 : number + 2] == (float(np.nextafter(self.edges[number], np.inf)),):
            high = f"below {self.edges[number + 1]:.4g}"  # that value is the next bin
        return f"{low} to {high}" if low else high if high.startswith("below") else f"up to {high}"

    def of_numbers(self, values: Values) -> Histogram:
        """Return these bins with the counts of ``values``, ``(n_users,)``; not finite is missing."""
        finite = np.isfinite(values)
        numbers = np.searchsorted(np.asarray(self.edges), values[finite].astype(np.float64), side="left")
        counts = [*np.bincount(numbers, minlength=self.bins - 1).tolist(), int((~finite).sum())]
        return self.model_copy(update={"counts": tuple(counts)})

    def of_categories(self, values: Sequence[str | None]) -> Histogram:
        """Return these bins with the counts of ``values``, one per user."""
        number_of = {name: number for number, name in enumerate(self.categories or ())}
        numbers = [number_of.get(value, self.bins - 1) if value is not None else self.bins - 1 for value in values]
        counts = np.bincount(np.asarray(numbers, np.int64), minlength=self.bins).tolist()
        return self.model_copy(update={"counts": tuple(counts)})


def quantile_bins(values: Values, bins: int = BINS) -> Histogram:
    """Return ``bins`` bins with about the same number of ``values`` in each; equal values stay in one bin.

    A value that all users have gets a bin of its own, between what is below and above it.
    """
    known = np.sort(values[np.isfinite(values)].astype(np.float64))
    if not len(known):
        return Histogram(edges=(0.0,))
    ranks = np.ceil(np.arange(1, bins) / bins * len(known)).astype(np.int64) - 1
    edges = np.unique(known[np.maximum(ranks, 0)])
    if edges[-1] == known[-1]:  # nothing is above the last edge: what is there is a bin of its own
        edges = np.unique(np.append(edges, np.nextafter(edges[-1], -np.inf)))
    return Histogram(edges=tuple(edges.tolist()))
