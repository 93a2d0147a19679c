"""Outliers in features: limits come from training users, and hold for everybody."""

from __future__ import annotations

import numpy as np
import polars as pl

from segadmin.contracts.backbone import Examples
from segadmin.inference.clipping import Limits


def examples(*rows: list[float | None]) -> Examples:
    frame = pl.DataFrame({"features": list(rows)}, schema={"features": pl.List(pl.Float32)})
    return Examples(frame, ("a", "b"), ("spend", "rating"))


def test_extreme_values_are_clipped_to_the_limits() -> None:
    train = examples(*[[float(n), None] for n in range(10_000)])
    limits = Limits.fit(train)
    assert limits.each == ((10.0, 9989.0), None)
    assert limits.outside(train) == 20
    strange = examples([1e9, 5.0], [-3.0, None], [500.0, float("inf")])
    clipped = limits.clip(strange).features
    assert clipped[:, 0].tolist() == [9989.0, 10.0, 500.0]
    assert clipped[0, 1] == 5.0
    assert np.isnan(clipped[1, 1])
    assert Limits.from_json([[10.0, 9989.0], None]) == limits


def test_without_limits_or_users_nothing_changes() -> None:
    strange = examples([1e9, 5.0])
    assert Limits().clip(strange) is strange
    assert len(Limits.fit(strange).clip(examples())) == 0
