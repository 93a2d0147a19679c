"""Deduplication: removes duplicate events and bots from a spooled import and writes the files for its commit.

Duplicates and bots are determined per user, so each bucket is processed independently and memory holds only some
buckets at a time. The files of all buckets are written before the single commit that adds them to the table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from deltalake.transaction import AddAction

from segadmin.events.mapping import Rules
from segadmin.events.merge_rows import rekeyed
from segadmin.events.merged_users import root_keys, under_roots
from segadmin.events.spool import Spool
from segadmin.storage.lake import Commit, Lake

#: Labels of late events → maximum age relative to the newest event.
AGES = {"1 hour": timedelta(hours=1), "1 day": timedelta(days=1), "1 week": timedelta(weeks=1), "more": timedelta.max}
#: Maximum number of events in memory, unless a single bucket has more.
_MAX_EVENTS = 1_000_000


@dataclass
class Settled:
    """The files to commit, which readers do not see yet, and the rejected events."""

    events: list[AddAction] = field(default_factory=list)
    users: list[AddAction] = field(default_factory=list)
    bad: list[pl.DataFrame] = field(default_factory=list)  #: columns of ``PROBLEM``
    late: Counter[str] = field(default_factory=Counter)  #: age relative to the newest event → events
    own_ids: int = 0  #: events with an id from the shop
    repeated_ids: int = 0  #: of these, duplicates by id with different content


def settle_events(lake: Lake, spool: Spool, commit: Commit, users: Commit, rules: Rules, *, buckets: int) -> Settled:
    """Deduplicate spooled events and write the files of those to keep.

    Args:
        lake: the lake to write to.
        spool: the complete import.
        commit: commit of the events, which also names their files.
        users: commit of the users, which also names their files, so that no file in the lake is replaced.
        rules: the cleaning rules of the mapping.
        buckets: number of buckets of the store.
    """
    settled = Settled(bad=[spool.bad()])
    good, merged = spool.good(), root_keys(lake)
    if merged.height:
        good = under_roots(good, merged, buckets)
    counts = good.group_by("bucket").len().sort("bucket").collect()
    columns = {"first": pl.col("at").min(), "last": pl.col("at").max(), "own": pl.col("own_id").any()}
    earliest, latest, has_own_ids = good.select(**columns).collect().row(0)
    watermark = lake.latest_event
    for first_bucket, last_bucket in _ranges(counts):
        in_range = pl.col("bucket").is_between(first_bucket, last_bucket)
        stored = lake.scan("events").filter(in_range)
        if not has_own_ids:  # an id that is a hash of the event depends on its time, so other times need not be read
            stored = stored.filter(pl.col("at").is_between(earliest, latest))
        stored_ids = stored.select("event_id").collect()["event_id"]
        events = good.filter(in_range).collect()
        if merged.height:
            events = rekeyed(events.sort("line"))  # as they came, now that those of several users are one's
        kept = _kept(events, stored_ids, rules, settled)
        if watermark is not None and earliest < watermark:
            settled.late.update(_late(kept["at"], watermark))
        for bucket in kept["bucket"].unique():
            bucket_events = kept.filter(pl.col("bucket") == bucket)
            settled.events.append(lake.put_file("events", bucket_events, commit.app, bucket=bucket))
        new_users = _new_users(lake.scan("users").filter(in_range), spool.users().filter(in_range), kept)
        if new_users.height:
            settled.users.append(lake.put_file("users", new_users, f"{users.app}-{users.version}-{first_bucket}"))
    return settled


def _kept(events: pl.DataFrame, stored_ids: pl.Series, rules: Rules, settled: Settled) -> pl.DataFrame:
    """Return the events to keep, in their original order; add the others to ``settled.bad``."""
    is_duplicate = _is_repetition(events["event_id"])
    settled.own_ids += int(events["own_id"].sum())
    settled.repeated_ids += _count_different(events, is_duplicate)
    if len(stored_ids):
        is_duplicate = is_duplicate | events["event_id"].is_in(stored_ids.implode())
    events = _without(events, is_duplicate, "duplicate_event", "event_id", settled)
    if not rules.bot_events_per_day:
        return events
    busy_users = events.group_by("user_key").len().filter(pl.col("len") > rules.bot_events_per_day)["user_key"]
    if busy_users.is_empty():
        return events
    busy_events = events.select("user_key", "at").filter(pl.col("user_key").is_in(busy_users.implode()))
    daily = busy_events.group_by("user_key", day=pl.col("at").dt.date()).len()
    bots = daily.filter(pl.col("len") > rules.bot_events_per_day)["user_key"].unique()
    if bots.is_empty():
        return events
    return _without(events, events["user_key"].is_in(bots.implode()), "bot", "at", settled)


def _is_repetition(ids: pl.Series) -> pl.Series:
    """Return whether each id repeats an earlier one; for few repetitions, sorting is five times as fast as hashing."""
    ordered = np.sort(ids.to_numpy())
    repeated_ids = pl.Series(ordered[1:][ordered[1:] == ordered[:-1]])
    is_repeated = ids.is_in(repeated_ids.implode())
    if repeated_ids.is_empty():
        return is_repeated
    first = is_repeated.arg_true().filter(ids.filter(is_repeated).is_first_distinct())
    return is_repeated.scatter(first, values=False)


def _count_different(events: pl.DataFrame, is_repeated: pl.Series) -> int:
    """Return how many events with the shop's id of an earlier event differ from it in item, kind or time."""
    is_repeated = is_repeated & events["own_id"]
    if not is_repeated.any():
        return 0
    names = ("item", "kind", "at")
    first = events.filter(~is_repeated).select("event_id", **{f"first_{name}": name for name in names})
    repeated = events.filter(is_repeated).join(first, on="event_id", how="left")
    return repeated.filter(pl.any_horizontal(pl.col(name) != pl.col(f"first_{name}") for name in names)).height


def _without(events: pl.DataFrame, bad: pl.Series, reason: str, column: str, settled: Settled) -> pl.DataFrame:
    if not bad.any():
        return events
    value = pl.col(column).cast(pl.String)
    problems = events.filter(bad).select("line", reason=pl.lit(reason), column=pl.lit(column), value=value)
    settled.bad.append(problems)
    return events.filter(~bad)


def _late(at: pl.Series, watermark: datetime) -> dict[str, int]:
    """Return the number of events older than ``watermark``, by their age relative to it."""
    age = (pl.lit(watermark) - pl.col("at")).alias("age")
    labels = [pl.when(pl.col("age") <= limit).then(pl.lit(label)) for label, limit in AGES.items()]
    late = at.to_frame("at").select(age).filter(pl.col("age") > timedelta(0))
    return dict(late.group_by(pl.coalesce(labels).alias("late")).len().iter_rows())


def _new_users(stored: pl.LazyFrame, seen: pl.LazyFrame, kept: pl.DataFrame) -> pl.DataFrame:
    """Return the users with kept events who are not in the lake yet."""
    active = seen.unique("user_key").join(kept.lazy().select("user_key"), on="user_key", how="semi")
    return active.join(stored.select("user_key"), on="user_key", how="anti").sort("bucket", "user_key").collect()


def _ranges(counts: pl.DataFrame) -> Iterator[tuple[int, int]]:
    """Yield the first and the last bucket of each range to process together."""
    buckets: list[int] = []
    events = 0
    for bucket, number in counts.iter_rows():
        if buckets and events + number > _MAX_EVENTS:
            yield buckets[0], buckets[-1]
            buckets, events = [], 0
        buckets.append(bucket)
        events += number
    if buckets:
        yield buckets[0], buckets[-1]
