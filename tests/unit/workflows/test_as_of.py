"""A snapshot is as of the newest event that is there, also where newer ones were removed since the one before."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import polars as pl
import pytest

from segadmin.settings import Settings
from segadmin.snapshots.read import assignments, snapshot_at, went_back_from
from segadmin.storage.database import now, reading
from segadmin.storage.lake import Lake
from segadmin.storage.records import SegmentSnapshot
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.snapshots import page
from segadmin_api.results import went_back_sentence
from tests.conftest import Cli
from tests.planted import LABELS, START, Run, more_weeks, planted_users


def a_later_week(settings: Settings) -> None:
    """Publish a snapshot that has another week of some users."""
    more_weeks(settings, planted_users(settings).head(40), range(14, 15))
    Run(settings, "refresh", {"time": "exact"}).published()


def take_it_back(settings: Settings) -> None:
    """Remove the events of that week, as an import that is taken back, or an erasure."""
    Lake.of(settings).delete("events", f"at >= '{START + timedelta(weeks=14):%Y-%m-%d}T00:00:00Z'")


def of(settings: Settings, number: int) -> SegmentSnapshot:
    with reading(settings) as session:
        return session.get_one(SegmentSnapshot, number)


@pytest.mark.parametrize("time", ["on-event", "exact"])
def test_no_assignment_is_as_of_later_than_the_newest_event(shop: Settings, time: str) -> None:
    a_later_week(shop)
    take_it_back(shop)
    Run(shop, "refresh", {"time": time, "force": True}).published()
    newest = Lake.of(shop).latest_event
    assert newest is not None
    assert of(shop, 3).newest_event == newest
    assert timedelta() < of(shop, 3).as_of - newest < timedelta(seconds=1)
    rows = assignments(shop, 3).sort("user_key").collect()
    assert rows["scored_as_of"].max() <= of(shop, 3).as_of
    Run(shop, "score", {"force": True}).published()
    full = assignments(shop, 4).sort("user_key").collect()
    columns = ["user_key", "segment", *(["phrase_hash"] if time == "exact" else [])]
    changed = rows.filter(pl.col("snapshot_id") == 3)["user_key"].implode()
    same = (frame.filter(pl.col("user_key").is_in(changed)).select(columns) for frame in (rows, full))
    assert next(same).equals(next(same))


def test_it_is_said(shop: Settings, cli: Cli) -> None:
    a_later_week(shop)
    take_it_back(shop)
    published = Run(shop, "refresh", {"force": True}).published().inputs["publish"][0]
    before, after = of(shop, 2), of(shop, 3)
    assert published["went_back_from"] is not None
    with reading(shop) as session:
        assert went_back_from(session, before) is None
        assert went_back_from(session, after) == before.as_of
        assert snapshot_at(session, now(session) + timedelta(days=9), LABELS).id == 3
    text = str(went_back_sentence(after.as_of, before.as_of))
    assert f"{after.as_of:%Y-%m-%d %H:%M:%S}" in text
    assert f"{before.as_of:%Y-%m-%d %H:%M:%S}" in text
    with reading(shop) as session:
        assert text in page(session, "3", Reader())
        assert "最新的事件已被删除" in page(session, "3", Reader(language="zh"))
        assert "events were removed" not in page(session, "2", Reader())
    shown = json.loads(cli("snapshots", "show", "3", "--json").stdout)
    assert datetime.fromisoformat(shown["went_back_from"]) == before.as_of
    printed = " ".join(cli("snapshots", "show", "3").stdout.split())
    assert text in printed
