"""Scoring users by events in a request: the same answer as scoring the events of the lake."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from segadmin.events.cells import readable
from segadmin.events.mapping import Mapping
from segadmin.events.merge import UserPair, merge_users
from segadmin.inference.live_items import LiveItems
from segadmin.inference.live_models import LiveModel, champion
from segadmin.inference.online import Scored, UserEvents, score_users
from segadmin.models.manifest import manifest_of
from segadmin.settings import Settings
from segadmin.snapshots.corrections import correct
from segadmin.snapshots.lookup import SegmentLookup
from segadmin.snapshots.read import assignments, find_snapshot
from segadmin.snapshots.user import find_user
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from tests.planted import LABELS, planted_users

_FIELDS = ("kind", "item", "at", "quantity", "price", "duration", "rating", "text")


def events_of(settings: Settings, key: int) -> pl.DataFrame:
    """Return the events of a user as a shop would post them."""
    events = Lake.of(settings).scan("events").filter(pl.col("user_key") == key).collect()
    columns = [pl.col(name) for name in _FIELDS if name != "at"]
    return readable(events.select(*columns, pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")))


def score(settings: Settings, *users: UserEvents) -> list[Scored]:
    model = LiveModel.load(settings, champion(settings))
    return score_users(settings, model, LiveItems(settings), users, mapping=Mapping())


def test_users_get_the_answer_of_the_snapshot(shop: Settings) -> None:
    with transaction(shop) as session:
        snapshot = find_snapshot(session, "current", LABELS)
    stored = {row["user_key"]: row for row in assignments(shop, snapshot.id or 0).collect().iter_rows(named=True)}
    users = planted_users(shop).head(40)
    requests = [
        UserEvents(row["user"], events_of(shop, row["user_key"]), snapshot.as_of) for row in users.iter_rows(named=True)
    ]
    scored = score(shop, *requests)
    for key, result in zip(users["user_key"], scored, strict=True):
        assert result.segment == stored[key]["segment"]
        assert list(result.probabilities.values()) == pytest.approx(stored[key]["probabilities"], abs=1e-6)
        assert result.rejected == ()


def test_a_corrected_user_is_in_the_segment_that_a_person_set(shop: Settings) -> None:
    with transaction(shop) as session:
        as_of = find_snapshot(session, "current", LABELS).as_of
    users = planted_users(shop).head(2)
    requests = [UserEvents(row["user"], events_of(shop, row["user_key"]), as_of) for row in users.iter_rows(named=True)]
    before = score(shop, *requests)
    wanted = "low" if before[0].segment == "high" else "high"
    correct(shop, users["user"][0], wanted, "sure")
    after = score(shop, *requests)
    assert (after[0].segment, after[0].corrected) == (wanted, True)
    assert after[0].probabilities == before[0].probabilities
    assert after[1] == before[1]


def test_a_correction_of_a_user_who_was_merged_holds_for_the_other(shop: Settings) -> None:
    with transaction(shop) as session:
        as_of = find_snapshot(session, "current", LABELS).as_of
    old, new = planted_users(shop).head(2)["user"]
    requests = [UserEvents(user, events_of(shop, find_user(shop, new)), as_of) for user in (old, new)]
    before = score(shop, *requests)
    wanted = "low" if before[1].segment == "high" else "high"
    correct(shop, old, wanted, "as a visitor")
    merge_users(shop, [UserPair(old, new)])
    assert [(each.segment, each.corrected) for each in score(shop, *requests)] == [(wanted, True)] * 2


def test_a_user_alone_gets_the_answer_that_is_given_beside_others(shop: Settings) -> None:
    with transaction(shop) as session:
        as_of = find_snapshot(session, "current", LABELS).as_of
    users = planted_users(shop).head(3)
    requests = [UserEvents(row["user"], events_of(shop, row["user_key"]), as_of) for row in users.iter_rows(named=True)]
    together = score(shop, *requests, requests[0])
    assert together == [score(shop, request)[0] for request in [*requests, requests[0]]]


def test_users_of_several_moments_and_currencies_get_together_the_answers_that_they_get_alone(shop: Settings) -> None:
    with transaction(shop) as session:
        as_of = find_snapshot(session, "current", LABELS).as_of
    users = planted_users(shop).head(3)
    requests = [
        UserEvents(row["user"], events_of(shop, row["user_key"]).with_columns(currency=pl.lit(currency)), moment)
        for row, currency in zip(users.iter_rows(named=True), ("EUR", "USD", "EUR"), strict=True)
        for moment in (as_of, as_of - timedelta(days=9))
    ]
    requests[1:1] = [requests[1], UserEvents("new", requests[0].events.clear(), as_of)]
    together, alone = score(shop, *requests), [score(shop, request)[0] for request in requests]
    for one, other in zip(together, alone, strict=True):
        assert (one.segment, one.events, one.rejected) == (other.segment, other.events, other.rejected)
        assert list(one.probabilities.values()) == pytest.approx(list(other.probabilities.values()), abs=1e-6)
    assert len({result.events for result in together}) > 2  # the windows differ
    assert score(shop) == []


def test_events_that_cannot_be_used_are_named_and_events_that_come_twice_count_once(shop: Settings) -> None:
    event = {"kind": "view", "item": "i1", "at": "2025-01-01T00:00:00Z"}
    frame = readable(pl.DataFrame([event, event, {**event, "kind": "stroked"}, {**event, "at": "yesterday"}]))
    as_of = datetime(2025, 1, 2, tzinfo=UTC)
    [result] = score(shop, UserEvents("new", frame, as_of))
    assert result.events == 1
    assert result.rejected == ((2, "unknown_kind", "kind", "stroked"), (3, "bad_time", "at", "yesterday"))
    assert sum(result.probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_a_user_without_events_in_the_window_is_scored_by_the_cold_start_policy(shop: Settings) -> None:
    old = readable(pl.DataFrame([{"kind": "view", "item": "i1", "at": "2001-01-01T00:00:00Z"}]))
    now = datetime(2025, 1, 2, tzinfo=UTC)
    [result] = score(shop, UserEvents("new", old, now))
    assert result.events == 0
    version = champion(shop)
    assert list(result.probabilities) == list(manifest_of(version).segments)


def test_lookups_return_what_the_snapshot_has_and_notice_erasures(shop: Settings) -> None:
    lookup = SegmentLookup(shop)
    with transaction(shop) as session:
        snapshot = find_snapshot(session, "current", LABELS)
    for row in assignments(shop, snapshot.id or 0).head(50).collect().iter_rows(named=True):
        current = lookup.find([row["user_key"]], LABELS)
        assert current is not None
        assert (current.segment, current.snapshot_id) == (row["segment"], snapshot.id)
        assert list(current.probabilities.values()) == pytest.approx(row["probabilities"])
    assert lookup.find([12345]) is None
    [user] = planted_users(shop).head(1).iter_rows(named=True)
    assert lookup.find([1, user["user_key"]]) is not None
    Lake.of(shop).delete("assignments", f"user_key = {user['user_key']}")  # as an erasure does
    assert lookup.find([user["user_key"]]) is None
