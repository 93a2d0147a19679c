"""Scaling of features for neural networks: a signed logarithm, standardised on the training data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LIMIT = 5.0


@dataclass(frozen=True)
class Scaling:
    """A signed logarithm, then a z-score, per feature."""

    names: tuple[str, ...]
    unit: NDArray[np.float32]  #: the typical size of a non-zero value, ``(n_features,)``
    mean: NDArray[np.float32]
    spread: NDArray[np.float32]

    @classmethod
    def fit(cls, names: tuple[str, ...], values: NDArray[np.float32]) -> Scaling:
        """Measure ``values``, ``(n_rows, n_features)``, of training users."""
        unit = np.ones(len(names), np.float32)
        mean, spread = np.zeros_like(unit), np.ones_like(unit)
        for column in range(len(names)):
            finite = values[np.isfinite(values[:, column]), column]
            sizes = np.abs(finite[finite != 0])
            if not len(sizes):
                continue
            unit[column] = np.median(sizes)
            squashed = _squash(finite, unit[column])
            mean[column], deviation = squashed.mean(), squashed.std()
            spread[column] = deviation if deviation > 1e-6 else 1.0
        return cls(names, unit, mean, spread)

    def __call__(self, values: NDArray[np.float32], missing: float = 0.0) -> NDArray[np.float32]:
        """Return ``values`` standardised, between -5 and 5; NaN becomes ``missing``, where 0 is the training mean."""
        scaled = (_squash(values, self.unit) - self.mean) / self.spread
        standard: NDArray[np.float32] = np.clip(np.nan_to_num(scaled, nan=missing), -_LIMIT, _LIMIT).astype(np.float32)
        return standard

    def to_json(self) -> dict[str, Any]:
        """Return the values that :meth:`from_json` takes."""
        arrays = {"unit": self.unit, "mean": self.mean, "spread": self.spread}
        return {"names": list(self.names)} | {name: array.tolist() for name, array in arrays.items()}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Scaling:
        """Return the scaling that :meth:`to_json` described."""
        arrays = (np.asarray(stored[name], np.float32) for name in ("unit", "mean", "spread"))
        return cls(tuple(stored["names"]), *arrays)


def _squash(values: NDArray[np.float32], unit: NDArray[np.float32] | np.float32) -> NDArray[np.float32]:
    """Return the signed logarithm: linear well below ``unit``, logarithmic above, so outliers have little effect."""
    squashed: NDArray[np.float32] = np.sign(values) * np.log1p(np.abs(values) / unit)
    return squashed
