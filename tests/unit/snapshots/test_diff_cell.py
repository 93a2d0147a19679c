"""The users behind the numbers of a difference, and behind a segment."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from segadmin.errors import ConfigurationError
from segadmin.events.erase import forget
from segadmin.settings import Settings
from segadmin.snapshots.diff import diff, find_two
from segadmin.snapshots.diff_cell import LEFT, NEW, cell_of, page_of
from segadmin.snapshots.read import assignments, find_snapshot
from segadmin.snapshots.recent_diffs import recent_diff
from segadmin.snapshots.segment_calibration import segment_calibration, wilson
from segadmin.snapshots.typical import typical_users
from segadmin.storage.database import reading
from segadmin.storage.predictions import predictions_of
from segadmin.storage.records import ModelVersion, SegmentSnapshot
from tests.planted import Run, more_weeks, nothing_runs, planted_users


@pytest.fixture
def pair(shop: Settings) -> tuple[SegmentSnapshot, SegmentSnapshot]:
    """Two snapshots; between them users moved, one left, and one came."""
    users = planted_users(shop)
    more_weeks(shop, users, range(14, 16))
    forgotten = users["user"][0]
    Run(shop, "refresh", {"force": True}).all()
    nothing_runs(shop)
    forget(shop, [forgotten])
    with reading(shop) as session:
        return find_two(session, "1", "2")


def test_every_cell_has_as_many_users_as_the_matrix_says(
    shop: Settings, pair: tuple[SegmentSnapshot, SegmentSnapshot]
) -> None:
    compared = recent_diff(shop, *pair)
    assert recent_diff(shop, *pair) is compared, "from memory"
    counts = {
        (before, after): cell_of(compared, before or NEW, after or LEFT).height for before, after in compared.matrix
    }
    assert counts == compared.matrix
    by_cause = {
        (each.before, each.after, each.cause): cell_of(
            compared, each.before or NEW, each.after or LEFT, each.cause
        ).height
        for each in compared.movements
    }
    assert by_cause == {(each.before, each.after, each.cause): each.users for each in compared.movements}
    moved = cell_of(compared)
    assert moved.height == sum(each.users for each in compared.movements) > 0
    pages, after = [], None
    while (page := page_of(moved, 5, after)).height:
        pages += page["user_key"].to_list()
        after = pages[-1]
    assert pages == sorted(moved["user_key"])


def test_a_difference_read_bucket_by_bucket_is_that_of_all_users(
    shop: Settings, pair: tuple[SegmentSnapshot, SegmentSnapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = diff(shop, *pair)
    monkeypatch.setattr("segadmin.snapshots.diff._ROWS_AT_ONCE", 1)
    one_after_another = diff(shop, *pair)
    assert one_after_another.users.sort("user_key").equals(at_once.users.sort("user_key"))
    assert one_after_another.movements == at_once.movements
    assert one_after_another.matrix == at_once.matrix


def test_an_erasure_changes_what_is_in_memory(shop: Settings, pair: tuple[SegmentSnapshot, SegmentSnapshot]) -> None:
    before = recent_diff(shop, *pair)
    forget(shop, [planted_users(shop)["user"][1]])
    after = recent_diff(shop, *pair)
    assert after.users.height == before.users.height - 1


def test_unknown_segments_and_causes_are_refused(shop: Settings, pair: tuple[SegmentSnapshot, SegmentSnapshot]) -> None:
    compared = recent_diff(shop, *pair)
    with pytest.raises(ConfigurationError, match="Did you mean 'high'"):
        cell_of(compared, "hihg")
    with pytest.raises(ConfigurationError, match="no cause 'magic'"):
        cell_of(compared, cause="magic")


def test_typical_users_are_in_the_middle_of_their_segment(shop: Settings) -> None:
    with reading(shop) as session:
        snapshot = find_snapshot(session, "1")
    typical = typical_users(shop, snapshot, "high", 5)
    members = assignments(shop, 1).filter(pl.col("segment") == "high").collect()
    assert len(typical) == 5
    assert {row["user_key"] for row in typical} <= set(members["user_key"])
    spread = np.abs(members["probability"].to_numpy() - members["probability"].median())
    assert max(abs(row["probability"] - members["probability"].median()) for row in typical) < np.median(spread)
    assert typical_users(shop, snapshot, "high", 5) == typical, "the same every time"
    assert all(row["spend"] > 0 and row["events"] > 0 for row in typical)


def test_the_calibration_of_a_segment_is_counted_on_test_rows(shop: Settings) -> None:
    with reading(shop) as session:
        version = session.get_one(ModelVersion, 1)
    rows = predictions_of(shop, version).rows
    found = segment_calibration(shop, version, "high")
    assert found is not None
    assert found.rows == rows.height == sum(each.rows for each in found.bins)
    truly = rows.filter(pl.col("target") == version.segments.index("high")).height
    assert sum(each.rows * each.observed for each in found.bins) == pytest.approx(truly)
    assert all(each.low <= each.predicted <= each.high for each in found.bins)
    assert all(each.observed_low <= each.observed <= each.observed_high for each in found.bins)
    assert segment_calibration(shop, version, "no such") is None


def test_wilson_intervals_are_those_of_the_literature() -> None:
    assert wilson(0.0, 10) == (pytest.approx(0.0), pytest.approx(0.2775, abs=1e-4))
    assert wilson(81 / 263, 263) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
