"""A refresh with hysteresis moves only users whose new segment leads by its margin, and counts both."""

from __future__ import annotations

from itertools import pairwise

import polars as pl
import pytest
from sqlmodel import update

from segadmin.errors import ConfigurationError
from segadmin.settings import Settings
from segadmin.snapshots.corrections import correct
from segadmin.snapshots.read import assignments
from segadmin.snapshots.user import find_user
from segadmin.storage.database import transaction
from segadmin.storage.records import ModelVersion, SegmentSnapshot
from segadmin.workflows.scoring import Refresh
from tests.planted import Run, more_weeks, planted_users

SEGMENTS = ["low", "mid", "high"]


def set_margins(settings: Settings, margins: list[float] | None) -> None:
    with transaction(settings) as session:
        version = session.get_one(ModelVersion, 1)
        hysteresis = None if margins is None else {**(version.manifest["hysteresis"] or {}), "margins": margins}
        manifest = {**version.manifest, "hysteresis": hysteresis}
        session.exec(update(ModelVersion).where(ModelVersion.id == 1).values(manifest=manifest))


def published(settings: Settings, run: Run) -> tuple[SegmentSnapshot, pl.DataFrame]:
    number = run.inputs["publish"][0]["snapshot_id"]
    with transaction(settings) as session:
        snapshot = session.get_one(SegmentSnapshot, number)
    return snapshot, assignments(settings, number).sort("user_key").collect()


def by_model(rows: pl.DataFrame) -> pl.Series:
    return pl.Series("segment", SEGMENTS).gather(rows["probabilities"].list.arg_max())


def lead(row: dict[str, object]) -> float:
    probabilities = dict(zip(SEGMENTS, row["probabilities"], strict=True))
    return probabilities[row["model_segment"]] - probabilities[row["segment"]]


def test_a_retrain_chooses_margins(shop: Settings) -> None:
    with transaction(shop) as session:
        hysteresis = session.get_one(ModelVersion, 1).manifest["hysteresis"]
    assert len(hysteresis["margins"]) == 3
    assert hysteresis["rows"] > 0
    assert hysteresis["macro_f1_held"] >= hysteresis["macro_f1"] > 0


def test_users_whose_new_segment_does_not_lead_stay(shop: Settings) -> None:
    set_margins(shop, [0.2, 0.2, 0.2])
    before = assignments(shop, 1).select("user_key", was="segment").collect()
    more_weeks(shop, planted_users(shop), range(14, 16))
    snapshot, rows = published(shop, Run(shop, "refresh", {"hysteresis": True}).published())
    rows = rows.join(before, on="user_key", maintain_order="left")
    held = rows.filter(pl.col("overridden_by") == "hysteresis")
    others = rows.filter(pl.col("overridden_by").is_null())
    assert held.height > 0
    assert held["segment"].equals(held["was"], null_equal=True)
    assert all(lead(row) < 0.2 for row in held.iter_rows(named=True))
    assert by_model(others).equals(others["segment"])
    moved = others.filter(pl.col("segment") != pl.col("was"))
    assert snapshot.moved == moved.height > 0
    assert all(
        lead({**row, "model_segment": row["segment"], "segment": row["was"]}) >= 0.2
        for row in moved.iter_rows(named=True)
    )
    assert snapshot.moved_without_hysteresis == moved.height + held.height


def test_a_refresh_without_it_is_what_a_score_gives(shop: Settings) -> None:
    set_margins(shop, [0.5, 0.5, 0.5])
    more_weeks(shop, planted_users(shop), range(14, 16))
    _, held = published(shop, Run(shop, "refresh", {"hysteresis": True}).published())
    assert held["overridden_by"].count() > 0
    snapshot, released = published(shop, Run(shop, "refresh", {}).published())
    assert released["overridden_by"].count() == 0
    assert by_model(released).equals(released["segment"])
    assert snapshot.moved_without_hysteresis is None
    assert snapshot.moved == held["overridden_by"].count()
    causes = released.filter(pl.col("snapshot_id") == snapshot.id)["cause"].unique().to_list()
    assert causes == ["hysteresis ended"]
    _, scored = published(shop, Run(shop, "score", {}).published())
    assert scored["segment"].equals(released["segment"])


def test_churn_without_it_is_counted_along_the_way_that_was_not_taken(shop: Settings) -> None:
    """A user who is held back for two refreshes would have moved once."""
    set_margins(shop, [0.9, 0.9, 0.9])
    users = planted_users(shop)
    counted, path = [], [by_model(assignments(shop, 1).sort("user_key").collect())]
    for week in (14, 15, 16):
        more_weeks(shop, users, range(week, week + 1), seed=week)
        snapshot, rows = published(shop, Run(shop, "refresh", {"hysteresis": True}).published())
        counted.append(snapshot.moved_without_hysteresis)
        path.append(by_model(rows))
    assert counted == [(one != other).sum() for one, other in pairwise(path)]
    assert sum(counted) > 0


def test_corrected_users_are_kept_also_with_hysteresis(shop: Settings) -> None:
    set_margins(shop, [0.2, 0.2, 0.2])
    key = find_user(shop, "user-7")
    correct(shop, "user-7", "low", "sure")
    more_weeks(shop, planted_users(shop), range(14, 16))
    _, rows = published(shop, Run(shop, "refresh", {"hysteresis": True}).published())
    (row,) = rows.filter(pl.col("user_key") == key).iter_rows(named=True)
    assert (row["segment"], row["overridden_by"]) == ("low", "correction")
    assert row["model_segment"] == by_model(rows.filter(pl.col("user_key") == key))[0]


def test_a_version_of_an_older_release_has_no_margins(shop: Settings) -> None:
    set_margins(shop, None)
    with pytest.raises(ConfigurationError, match=r"version 1 has no margins.*segadmin enqueue retrain --labels spend3"):
        Refresh(hysteresis=True).completed(shop)
    assert Refresh().completed(shop).labels == "spend3"
