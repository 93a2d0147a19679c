"""The events of one user, newest first, a page at a time; only the user's bucket is read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from segadmin.hashing import bucket_of
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.lake import Lake
from segadmin.storage.schema import TIME
from segadmin.storage.store import known_store

_COLUMNS = ("at", "event_id", "kind", "item", "quantity", "price", "rating", "duration", "text")


@dataclass(frozen=True)
class TimelineEvent:
    """An event of a user, with what is known of the item."""

    at: datetime
    event_id: int
    kind: str
    item: str | None
    title: str | None
    category: str | None
    quantity: float | None
    price: float | None  #: total of the line
    rating: float | None
    duration: float | None  #: seconds
    text: str | None


@dataclass(frozen=True)
class UserTotals:
    """What a user did so far."""

    events: int
    purchases: int
    spend: float | None  #: ``None``: no purchase has an amount
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True)
class Timeline:
    """A page of a user's events, and what they all add up to."""

    events: list[TimelineEvent]  #: newest first
    totals: UserTotals


def list_events(
    settings: Settings, key: int, limit: int, *, after: tuple[int, int] | None = None
) -> list[TimelineEvent]:
    """Return at most ``limit`` events of a user, newest first.

    Args:
        settings: location of the store.
        key: of the user.
        limit: most events.
        after: time (microseconds since 1970) and ``event_id`` of the last event before.
    """
    return _with_items(settings, _newest(_events(settings, key), limit, after).collect(engine="streaming"))


def read_timeline(settings: Settings, key: int, limit: int, *, after: tuple[int, int] | None = None) -> Timeline:
    """Return the same as :func:`list_events` with the totals of all events, which are read once for both."""
    rows = _events(settings, key)
    newest, totals = pl.collect_all([_newest(rows, limit, after), _totals(rows)], engine="streaming")
    return Timeline(_with_items(settings, newest), UserTotals(**totals.row(0, named=True)))


def _newest(rows: pl.LazyFrame, limit: int, after: tuple[int, int] | None) -> pl.LazyFrame:
    if after is not None:
        moment = pl.lit(after[0], pl.Int64).cast(TIME)
        is_same = (pl.col("at") == moment) & (pl.col("event_id") < after[1])
        rows = rows.filter((pl.col("at") < moment) | is_same)
    return rows.select(_COLUMNS).sort("at", "event_id", descending=True).head(limit)


def _totals(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Return a row with the fields of :class:`UserTotals`."""
    is_bought, at = pl.col("kind") == "purchase", pl.col("at")
    prices = pl.col("price").filter(is_bought)
    return rows.select(
        events=pl.len(),
        purchases=is_bought.sum(),
        spend=pl.when(prices.count() > 0).then(prices.sum()),
        first=at.min(),
        last=at.max(),
    )


def _with_items(settings: Settings, newest: pl.DataFrame) -> list[TimelineEvent]:
    items = Lake.of(settings).scan("items").select("item", "title", "category")
    known = items.filter(pl.col("item").is_in(newest["item"].drop_nulls().unique().implode())).collect()
    joined = newest.join(known, on="item", how="left", maintain_order="left")
    return [TimelineEvent(**row) for row in joined.iter_rows(named=True)]


def _events(settings: Settings, key: int) -> pl.LazyFrame:
    with reading(settings) as session:
        bucket = bucket_of(key, known_store(session).buckets)
    return Lake.of(settings).scan("events", buckets=[bucket]).filter(pl.col("user_key") == key)
