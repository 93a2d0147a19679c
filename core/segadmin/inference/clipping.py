"""Outliers: a feature far beyond what nearly all training users have counts as the limit, wherever it is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from segadmin.contracts.backbone import Examples

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: The share of training values that lies beyond each limit.
_BEYOND = 0.001

Limit = tuple[float, float] | None


@dataclass(frozen=True)
class Limits:
    """The lowest and the highest value of each feature; ``None`` where nothing was seen of it."""

    each: tuple[Limit, ...] = ()

    @classmethod
    def fit(cls, train: Examples) -> Limits:
        """Return the 0.1 % and 99.9 % quantiles of each feature of ``train``."""
        import numpy as np

        values = train.features
        each: list[Limit] = []
        for column in values.T:
            known = column[np.isfinite(column)]
            low, high = np.quantile(known, [_BEYOND, 1 - _BEYOND], method="nearest") if len(known) else (0, 0)
            each.append((float(low), float(high)) if len(known) else None)
        return cls(tuple(each))

    @classmethod
    def from_json(cls, kept: Sequence[Sequence[float] | None]) -> Limits:
        """Return what a manifest has."""
        return cls(tuple(None if one is None else (one[0], one[1]) for one in kept))

    def outside(self, examples: Examples) -> int:
        """Return how many values lie beyond the limits."""
        import numpy as np

        values = examples.features
        return int((np.isfinite(values) & (values != self._clipped(values))).sum())

    def clip(self, examples: Examples) -> Examples:
        """Return ``examples`` with no feature beyond its limits."""
        import polars as pl

        if not self.each or not len(examples):
            return examples
        clipped = pl.Series("features", self._clipped(examples.features)).cast(pl.List(pl.Float32))
        return replace(examples, frame=examples.frame.with_columns(clipped))

    def _clipped(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        import numpy as np

        low, high = (
            np.asarray([nothing if one is None else one[side] for one in self.each], np.float32)
            for side, nothing in ((0, -np.inf), (1, np.inf))
        )
        clipped: NDArray[np.float32] = np.clip(values, low, high)
        return clipped
