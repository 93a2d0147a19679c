"""Clips outliers: features beyond the range of nearly all training users are replaced by its bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from segadmin.contracts.backbone import Examples, UnlabelledUsers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Fraction of the training values beyond each limit.
_BEYOND = 0.001

Limit = tuple[float, float] | None


@dataclass(frozen=True)
class Limits:
    """The minimum and maximum of each feature; ``None`` if it has no training value."""

    each: tuple[Limit, ...] = ()

    @classmethod
    def fit(cls, train: Examples) -> Limits:
        """Return the 0.1 % and 99.9 % quantiles of each feature of ``train``."""
        import numpy as np

        values = train.features
        limits: list[Limit] = []
        for column in values.T:
            finite = column[np.isfinite(column)]
            low, high = np.quantile(finite, [_BEYOND, 1 - _BEYOND], method="nearest") if len(finite) else (0, 0)
            limits.append((float(low), float(high)) if len(finite) else None)
        return cls(tuple(limits))

    @classmethod
    def from_json(cls, stored: Sequence[Sequence[float] | None]) -> Limits:
        """Return the limits that are stored in a manifest."""
        return cls(tuple(None if limit is None else (limit[0], limit[1]) for limit in stored))

    def outside(self, examples: Examples) -> int:
        """Return the number of values beyond the limits."""
        import numpy as np

        values = examples.features
        return int((np.isfinite(values) & (values != self._clipped(values))).sum())

    def clip(self, examples: Examples) -> Examples:
        """Return ``examples`` with features clipped to the limits."""
        import polars as pl

        if not self.each or not len(examples):
            return examples
        clipped = pl.Series("features", self._clipped(examples.features)).cast(pl.List(pl.Float32))
        return replace(examples, frame=examples.frame.with_columns(clipped))

    def clip_unlabelled(self, unlabelled: UnlabelledUsers | None) -> UnlabelledUsers | None:
        """Return users without labels, if any, with features clipped to the limits."""
        return unlabelled and replace(unlabelled, users=self.clip(unlabelled.users))

    def _clipped(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        import numpy as np

        low, high = (
            np.asarray([unlimited if limit is None else limit[side] for limit in self.each], np.float32)
            for side, unlimited in ((0, -np.inf), (1, np.inf))
        )
        clipped: NDArray[np.float32] = np.clip(values, low, high)
        return clipped
