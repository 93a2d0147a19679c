"""The numbers of a report are those of the snapshot, the difference and the model's test."""

from __future__ import annotations

import json

import polars as pl
import pytest

from segadmin.errors import DataError, SnapshotNotFound
from segadmin.monitoring.snapshot_report import read_report, report_facts
from segadmin.settings import Settings
from segadmin.snapshots.read import segments_of
from segadmin_api.dashboard.report import charts, page
from tests.planted import Run, more_weeks, planted_users


def test_a_report_adds_up(shop: Settings) -> None:
    more_weeks(shop, planted_users(shop), range(14, 15))
    Run(shop, "refresh", {"force": True}).all()
    report = read_report(shop)
    before, now = (segments_of(shop, number).select("user_key", "segment") for number in (1, 2))
    sizes = dict(now.group_by("segment").agg(pl.len()).iter_rows())
    assert {row.segment: row.users for row in report.segments} == sizes
    assert sum(report.matrix.values()) == before.join(now, on="user_key", how="full").height
    for segment, users in sizes.items():
        assert sum(n for (_, after), n in report.matrix.items() if after == segment) == users
    tested = report.model.tested
    assert tested is not None
    assert sum(each.rows for each in report.precision) == tested.rows
    assert report.accuracy == pytest.approx(tested.metrics["accuracy"], abs=1e-4)
    facts = json.loads(json.dumps(report_facts(report), default=str))
    assert facts["snapshot"]["id"] == 2 and facts["snapshot"]["current"]
    assert sum(each["users"] for each in facts["movement"]) == sum(report.matrix.values())
    assert [*charts(report)][:2] == ["segments", "trend"]


def test_the_first_snapshot_has_a_report_without_movement(shop: Settings) -> None:
    report = read_report(shop, "1")
    assert report.compared is None and not report.matrix
    assert not {"trend", "movement"} & charts(report).keys()
    assert "This is the first snapshot" in page(report)


def test_a_report_names_no_user(shop: Settings) -> None:
    written = page(read_report(shop)) + json.dumps(report_facts(read_report(shop)), default=str)
    for user, key in planted_users(shop).select("user", "user_key").iter_rows():
        assert f"{user}<" not in written and f'"{user}"' not in written
        assert f"{key}" not in written and f"{key & (2**64 - 1):016x}" not in written


def test_what_is_not_there_has_no_report(settings: Settings, shop: Settings) -> None:
    with pytest.raises(SnapshotNotFound, match="segadmin snapshots list"):
        read_report(shop, "99")


def test_an_empty_store_says_how_to_make_a_snapshot(settings: Settings) -> None:
    with pytest.raises(DataError, match="segadmin enqueue retrain"):
        read_report(settings)
