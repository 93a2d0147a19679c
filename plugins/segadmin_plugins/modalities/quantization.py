"""Product quantisation: each part of a vector is replaced by the number of the nearest of a few centres.

Jégou, Douze and Schmid, "Product quantization for nearest neighbor search", 2011.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

_ITERATIONS = 25
#: Vectors whose distances are computed at a time, which bounds memory.
_BATCH = 8_192


@dataclass(frozen=True)
class Part:
    """One part of the vectors, and its centres."""

    start: int
    end: int
    centres: NDArray[np.float32]  #: ``(n_codes, end - start)``

    def nearest(self, vectors: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the code of each vector, and the squared distance to its centre.

        Computed in double precision, so that a code does not depend on which other vectors are read.
        """
        codes, distances = [], []
        for first in range(0, len(vectors), _BATCH):
            to_centres = _distances(vectors[first : first + _BATCH, self.start : self.end], self.centres)
            codes.append(to_centres.argmin(axis=1))
            distances.append(to_centres.min(axis=1))
        return np.concatenate([np.empty(0, np.int64), *codes]), np.concatenate([np.empty(0), *distances])

    def as_json(self) -> dict[str, Any]:
        """Return the part as JSON; the centres are float32, little-endian, in base64."""
        content = base64.b64encode(np.ascontiguousarray(self.centres, "<f4").tobytes()).decode()
        return {"start": self.start, "end": self.end, "centres": content}

    @classmethod
    def of_json(cls, written: dict[str, Any]) -> Self:
        """Return the part that :meth:`as_json` wrote."""
        start, end = int(written["start"]), int(written["end"])
        centres = np.frombuffer(base64.b64decode(written["centres"]), "<f4").reshape(-1, end - start)
        return cls(start, end, centres)


def quantize(vectors: NDArray[np.float32], parts: int, codes: int, seed: int) -> list[Part]:
    """Cut vectors into parts and find the centres of each.

    Args:
        vectors: ``(n_items, length)``.
        parts: of equal length, at most one per number.
        codes: maximum number of centres of a part; fewer where there are fewer different values.
        seed: of the first centres.
    """
    length = vectors.shape[1]
    bounds = np.linspace(0, length, min(parts, length) + 1).round().astype(int)
    random = np.random.default_rng(seed)
    return [
        Part(int(start), int(end), _centres(vectors[:, start:end].astype(np.float64), codes, random))
        for start, end in pairwise(bounds)
    ]


def _centres(points: NDArray[np.float64], codes: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Return the centres of k-means, which starts from k-means++ (Arthur and Vassilvitskii, 2007)."""
    centres = points[[random.integers(len(points))]]
    while len(centres) < codes:
        distances = _distances(points, centres).min(axis=1)
        if not distances.max() > 1e-9:  # all different points are centres
            break
        centres = np.vstack([centres, points[random.choice(len(points), p=distances / distances.sum())]])
    for _ in range(_ITERATIONS):
        nearest = _distances(points, centres).argmin(axis=1)
        counts = np.bincount(nearest, minlength=len(centres))
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, points)
        moved = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres)
        if np.allclose(moved, centres):
            break
        centres = moved
    return centres.astype(np.float32)


def _distances(points: NDArray[Any], centres: NDArray[Any]) -> NDArray[np.float64]:
    """Return squared distances ``(n_points, n_centres)``."""
    points, centres = points.astype(np.float64), centres.astype(np.float64)
    products = points @ centres.T
    squares = (points**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1)
    distances: NDArray[np.float64] = np.maximum(squares - 2 * products, 0.0)
    return distances
