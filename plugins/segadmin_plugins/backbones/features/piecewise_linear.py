"""Bins of the piecewise-linear encoding of numbers (Gorishniy et al. 2022: On Embeddings for Numerical Features)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def quantile_edges(values: NDArray[np.float32], bins: int) -> NDArray[np.float32]:
    """Return the edges of the bins of each feature, ``(n_features, bins + 1) float32``, ascending.

    They are quantiles of the known ``values``, ``(n_rows, n_features)`` with NaN where unknown. A feature with few
    different values, such as one that is mostly zero, has fewer bins, and a constant one has none: its edges end with
    equal ones, and the bins between those are empty.
    """
    edges = np.zeros((values.shape[1], bins + 1), np.float32)
    for feature, column in enumerate(values.T):
        known = column[np.isfinite(column)]
        if len(known):
            different = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)).astype(np.float32))
            edges[feature] = different[np.minimum(np.arange(bins + 1), len(different) - 1)]
    return edges
