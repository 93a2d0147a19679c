"""Users with planted texts, features and scores."""

from __future__ import annotations

import numpy as np
import polars as pl

from segadmin.contracts.backbone import Examples
from segadmin.monitoring.profile import ScoredUsers

NAMES = ("spend", "visits", "rating_mean")
SEGMENTS = ("low", "high")


def scored_users(count: int, seed: int, *, spend: float = 1.0, new_phrases: int = 0, first: int = 0) -> ScoredUsers:
    """Return ``count`` users: ``spend`` scales their spend, ``new_phrases`` replace as many of their usual ones."""
    random = np.random.default_rng(seed)
    features = np.column_stack(
        [random.gamma(2.0, spend, count), random.poisson(3.0, count), np.where(random.random(count) < 0.5, np.nan, 4.0)]
    ).astype(np.float32)
    probability = random.uniform(0.5, 1.0, count)
    phrases = [
        [f"bought new {n}" for n in range(new_phrases)]
        + [f"bought {n}" for n in random.integers(0, 40, 2 + random.integers(6))]
        for _ in range(count)
    ]
    frame = pl.DataFrame(
        {
            "user_key": np.arange(first, first + count),
            "phrases": phrases,
            "features": pl.Series(features).cast(pl.List(pl.Float32)),
            "segment": np.where(features[:, 0] > 2, "high", "low"),
            "probability": probability.astype(np.float32),
        }
    )
    return ScoredUsers(Examples(frame, SEGMENTS, NAMES), max_phrases=8)
