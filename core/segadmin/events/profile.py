"""A profile of the lake: numbers of events by kind, day and user, and completeness of the data."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import date
from typing import Any

import polars as pl
from pydantic import BaseModel
from sqlmodel import select

from segadmin.errors import DataError
from segadmin.events.deduplicate import AGES
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Import, ImportState
from segadmin.storage.store import NO_EVENTS

#: Upper limits of the bins of the number of events per user.
_LENGTHS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)
_FIELDS = ("quantity", "price", "duration", "rating", "text")
_OF_ITEMS = ("title", "category", "brand")


class Profile(BaseModel):
    """The statistics; fractions refer to all events, or to those of one kind."""

    events: int
    users: int
    items: int
    first: date
    last: date
    by_kind: dict[str, int]
    by_day: dict[date, dict[str, int]]  #: day → kind → events
    by_history: dict[str, int]  #: number of events → users
    filled: dict[str, dict[str, float]]  #: field → kind → fraction of events with a value
    items_known: dict[str, float]  #: fraction of events whose item is known, or has the attribute
    top_categories: dict[str, int]
    quarantine: dict[str, int]  #: reason → rows
    late: dict[str, int]  #: maximum age relative to the newest event → late events


def profile(settings: Settings) -> Profile:
    """Return the profile of all events, computed in a streaming way.

    Raises:
        DataError: there are no events.
    """
    lake = Lake.of(settings)
    events = lake.scan("events")
    day = pl.col("at").dt.date()
    totals = events.select(pl.len().alias("events"), first=day.min(), last=day.max())
    facts = totals.collect(engine="streaming").to_dicts()[0]
    if not facts["events"]:
        raise DataError(NO_EVENTS)
    daily = events.group_by("kind", day=day).len().collect(engine="streaming").sort("day", "kind")
    by_day: dict[date, dict[str, int]] = {}
    for row in daily.to_dicts():
        by_day.setdefault(row["day"], {})[row["kind"]] = row["len"]
    kinds = daily.group_by("kind").agg(pl.col("len").sum()).sort("len", descending=True)
    return Profile(
        events=facts["events"],
        first=facts["first"],
        last=facts["last"],
        by_kind=dict(kinds.iter_rows()),
        by_day=by_day,
        filled=_filled(events),
        quarantine=_counts(lake.scan("quarantine"), "reason"),
        late=_late(settings),
        **_of_users(events),
        **_of_items(events, lake.scan("items")),
    )


def _late(settings: Settings) -> dict[str, int]:
    """Return the number of late events by age, over all imports, including events that were erased since."""
    with transaction(settings) as session:
        late_by_import = session.exec(select(Import.late).where(Import.state == ImportState.SUCCEEDED)).all()
    counts = sum((Counter(late) for late in late_by_import), Counter[str]())
    return {age: counts[age] for age in AGES if counts[age]}


def _filled(events: pl.LazyFrame) -> dict[str, dict[str, float]]:
    shares = events.group_by("kind").agg(pl.col(name).is_not_null().mean() for name in _FIELDS)
    rows = shares.collect(engine="streaming").sort("kind").to_dicts()
    return {name: {row["kind"]: row[name] for row in rows} for name in _FIELDS}


def _of_users(events: pl.LazyFrame) -> dict[str, Any]:
    counts = events.group_by("user_key").len()
    labels = [
        "1",
        *(f"{low + 1}-{high}" if high > low + 1 else str(high) for low, high in itertools.pairwise(_LENGTHS)),
    ]
    labels.append(f"over {_LENGTHS[-1]:,}")
    bin_index = pl.sum_horizontal(pl.col("len") > end for end in _LENGTHS)
    bins = counts.group_by(bin=bin_index).agg(users=pl.len()).collect(engine="streaming")
    users_by_label = {labels[index]: users for index, users in bins.iter_rows()}
    by_history = {label: users_by_label[label] for label in labels if label in users_by_label}
    return {"users": sum(by_history.values()), "by_history": by_history}


def _of_items(events: pl.LazyFrame, items: pl.LazyFrame) -> dict[str, Any]:
    sold = events.group_by("item").len()
    joined = sold.join(items.with_columns(known=pl.lit(value=True)), on="item", how="left").collect(engine="streaming")
    shares = {name: _share(joined, name) for name in ("known", *_OF_ITEMS)}
    top = joined.filter(pl.col("category").is_not_null()).group_by("category").agg(pl.col("len").sum())
    top = top.sort("len", "category", descending=[True, False]).head(15)
    return {"items": joined.height, "items_known": shares, "top_categories": dict(top.iter_rows())}


def _share(sold: pl.DataFrame, column: str) -> float:
    """Return the fraction of events whose item has ``column``."""
    return int(sold.filter(pl.col(column).is_not_null())["len"].sum()) / int(sold["len"].sum())


def _counts(frame: pl.LazyFrame, column: str) -> dict[str, int]:
    return dict(frame.group_by(column).len().sort("len", column, descending=[True, False]).collect().iter_rows())
