"""The events of one user: newest first, each once, with titles."""

from __future__ import annotations

import polars as pl
import pytest

from segadmin.events.timeline import list_events, read_timeline
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from segadmin.storage.schema import microseconds
from tests.planted import planted_users


def test_pages_make_up_the_whole_timeline(shop: Settings) -> None:
    key = planted_users(shop).sort("rate")["user_key"][-1]
    rows = Lake.of(shop).scan("events").filter(pl.col("user_key") == key).collect()
    expected = rows.sort("at", "event_id", descending=True)["event_id"].to_list()
    assert len(expected) > 20
    read: list[int] = []
    after = None
    while page := list_events(shop, key, 7, after=after):
        read += [event.event_id for event in page]
        after = (microseconds(page[-1].at), page[-1].event_id)
    assert read == expected
    newest = list_events(shop, key, 1)[0]
    assert newest.title == (newest.item or "").replace("-", " ")
    assert newest.category == (newest.item or "").split("-")[0]


def test_events_of_one_moment_are_each_read_once(shop: Settings) -> None:
    user = planted_users(shop).row(0, named=True)
    old = Lake.of(shop).scan("events").filter(pl.col("user_key") == user["user_key"]).head(1).collect()
    at = pl.lit(old["at"][0]).dt.offset_by("400d")
    twins = pl.concat([old] * 5).with_columns(at.alias("at"), pl.Series("event_id", range(5)))
    Lake.of(shop).append("events", twins)
    first = list_events(shop, user["user_key"], 2)
    rest = list_events(shop, user["user_key"], 3, after=(microseconds(first[-1].at), first[-1].event_id))
    assert [event.event_id for event in (*first, *rest)] == [4, 3, 2, 1, 0]


def test_totals_are_the_sums(shop: Settings) -> None:
    key = planted_users(shop)["user_key"][3]
    rows = Lake.of(shop).scan("events").filter(pl.col("user_key") == key).collect()
    bought = rows.filter(kind="purchase")
    totals = read_timeline(shop, key, 1).totals
    assert (totals.events, totals.purchases) == (rows.height, bought.height)
    assert totals.spend == pytest.approx(bought["price"].sum())
    assert (totals.first, totals.last) == (rows["at"].min(), rows["at"].max())
    newest = list_events(shop, key, 3)
    position = (microseconds(newest[0].at), newest[0].event_id)
    later = read_timeline(shop, key, 2, after=position)
    assert (later.events, later.totals) == (newest[1:], totals), "the totals are of all events"
    assert read_timeline(shop, 5, 1).totals.spend is None
