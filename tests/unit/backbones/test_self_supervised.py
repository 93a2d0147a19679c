"""``self-supervised``: few labels are learnt from what unlabelled users did."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from segadmin.contracts.backbone import Backbone, Examples, FitContext, UnlabelledUsers
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError
from segadmin.settings import Settings

SEGMENTS = ("low", "middle", "high")
FEATURES = (*(f"noise{n}" for n in range(30)), "spend", "share:LOW", "share:Middle", "share:high", "share:other")
OUTCOMES = ("spend", "visits", "share:games", "never")


def users(rows: int, seed: int) -> Examples:
    """Return users whose segment shows in their spend, weakly in three shares, and in none of 30 other features."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, 3, rows)
    noise = random.normal(0, 1, (rows, 30))
    spend = (targets - 1) * 2 + random.normal(0, 1, rows)
    shares = np.eye(4)[targets] + random.normal(0, 0.7, (rows, 4))
    features = np.column_stack([noise, spend, shares]).astype(np.float32)
    features[:, 5][random.random(rows) < 0.1] = np.nan
    frame = pl.DataFrame(
        {"user_key": np.arange(rows) + 10_000 * seed, "features": features, "target": targets}
    ).with_columns(pl.col("features").cast(pl.List(pl.Float32)))
    return Examples(frame, SEGMENTS, FEATURES)


def unlabelled(rows: int = 600) -> UnlabelledUsers:
    """Return other users, who spend and visit later as their segment says; null after no later event."""
    random, some = np.random.default_rng(7), users(rows, 9)
    spend = (some.targets + random.normal(0, 0.5, rows)).astype(np.float32)
    outcomes = np.column_stack([spend, spend + random.normal(0, 0.5, rows), random.random(rows), np.zeros(rows)])
    outcomes[random.random(rows) < 0.1] = np.nan
    series = pl.Series("outcomes", outcomes.astype(np.float32)).cast(pl.List(pl.Float32))
    return UnlabelledUsers(dataclasses.replace(some, frame=some.frame.drop("target").with_columns(series)), OUTCOMES)


def made(settings: Settings, **options: object) -> Backbone:
    backbone: Backbone = load_plugins(settings).make("backbone", "self-supervised", options)
    backbone.check(settings)
    return backbone


def right(model: object, test: Examples) -> float:
    return float((model.predict(test).argmax(axis=1) == test.targets).mean())  # type: ignore[attr-defined]


def test_unlabelled_users_help_where_labels_are_few(settings: Settings, tmp_path: Path) -> None:
    few, validation, test = users(16, 1), users(6, 2), users(400, 3)
    run = FitContext(settings, tmp_path, unlabelled=unlabelled())
    backbone = made(settings, namesakes=False)
    model = backbone.fit(few, validation, run)
    alone = load_plugins(settings).make("backbone", "linear", {}).fit(few, validation, run)
    assert right(model, test) > right(alone, test)
    assert right(model, test) > 0.6
    assert model.report["unlabelled_rows"] == 600
    model.save(tmp_path / "saved")
    loaded = backbone.load(tmp_path / "saved", settings)
    assert np.allclose(loaded.predict(test), model.predict(test), atol=1e-5)
    assert loaded.predict(dataclasses.replace(test, frame=test.frame.head(0))).shape == (0, 3)


def test_features_with_the_names_of_segments_are_a_prior(settings: Settings, tmp_path: Path) -> None:
    few, validation, test = users(6, 1), users(3, 2), users(400, 3)
    run = FitContext(settings, tmp_path, unlabelled=unlabelled())
    with_names, without = (made(settings, namesakes=names).fit(few, validation, run) for names in (True, False))
    assert right(with_names, test) > right(without, test)
    assert with_names.report["leans"][0] > 0
    assert without.report["leans"] == []


def test_outcomes_are_left_out_by_pattern(settings: Settings, tmp_path: Path) -> None:
    few, validation = users(16, 1), users(6, 2)
    run = FitContext(settings, tmp_path, unlabelled=unlabelled())
    everything, some = (
        made(settings, leave_out=patterns).fit(few, validation, run).report["targets"]
        for patterns in ("", "share:*,visits")
    )
    assert (everything, some) == (6, 2), "each of three that vary, and whether it is above 0"
    with pytest.raises(ConfigurationError, match=r"leave_out=\*.*Leave out fewer"):
        made(settings, leave_out="*").fit(few, validation, run)


def test_without_unlabelled_users_or_ridges(settings: Settings, tmp_path: Path) -> None:
    few, validation = users(16, 1), users(6, 2)
    with pytest.raises(ConfigurationError, match=r"needs unlabelled users.*--backbone self-supervised"):
        made(settings).fit(few, validation, FitContext(settings, tmp_path))
    with pytest.raises(ConfigurationError, match="ridges"):
        made(settings, ridges=()).check(settings)
