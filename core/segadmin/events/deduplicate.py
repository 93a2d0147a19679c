"""Settling an import: what was spooled enters the lake, all of it in one commit a table, or nothing.

Events are told apart bucket by bucket: what is a duplicate and who is a bot is a matter of one user, so of one
bucket. Each bucket's files are written before the one commit that names them, and memory holds some buckets only.
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
from segadmin.events.spool import Spool
from segadmin.storage.lake import Commit, Lake

#: How late events are told to be: by at most so much.
AGES = {"1 hour": timedelta(hours=1), "1 day": timedelta(days=1), "1 week": timedelta(weeks=1), "more": timedelta.max}
#: Events held at a time, where no single bucket has more.
_AT_ONCE = 1_000_000


@dataclass
class Settled:
    """What is to be committed; readers do not see its files yet."""

    events: list[AddAction] = field(default_factory=list)
    users: list[AddAction] = field(default_factory=list)
    bad: list[pl.DataFrame] = field(default_factory=list)  #: columns of ``PROBLEM``
    late: Counter[str] = field(default_factory=Counter)  #: how much older than the newest event there was → events
    own_ids: int = 0  #: events with an id of the shop's
    repeated_ids: int = 0  #: of these, duplicates by their id that say something else


def settle_events(lake: Lake, spool: Spool, commit: Commit, users: Commit, rules: Rules) -> Settled:
    """Tell spooled events apart and write the files of those to keep.

    Args:
        lake: where to.
        spool: the whole import.
        commit: of the events; their files are named by it.
        users: of the users; their files are named by it, so none replaces one that is in the lake already.
        rules: which of the rules that need all of a user's events to follow.
    """
    settled = Settled(bad=[spool.bad()])
    good = spool.good()
    counts = good.group_by("bucket").len().sort("bucket").collect()
    facts = good.select(least=pl.col("at").min(), most=pl.col("at").max(), own=pl.col("own_id").any()).collect()
    least, most, own = facts.row(0)
    watermark = lake.latest_event
    for first, last in _ranges(counts):
        here = pl.col("bucket").is_between(first, last)
        known = lake.scan("events").filter(here)
        if not own:  # an id made of what the event says has the time in it, so other times need not be read
            known = known.filter(pl.col("at").is_between(least, most))
        old = known.select("event_id").collect()["event_id"]
        kept = _kept(good.filter(here).collect(), old, rules, settled)
        if watermark is not None and least < watermark:
            settled.late.update(_late(kept["at"], watermark))
        for bucket in kept["bucket"].unique():
            some = kept.filter(pl.col("bucket") == bucket)
            settled.events.append(lake.put_file("events", some, commit.app, bucket=bucket))
        new = _new_users(lake.scan("users").filter(here), spool.users().filter(here), kept)
        if new.height:
            settled.users.append(lake.put_file("users", new, f"{users.app}-{users.version}-{first}"))
    return settled


def _kept(events: pl.DataFrame, old: pl.Series, rules: Rules, settled: Settled) -> pl.DataFrame:
    """Return the events to keep, in the order that they came in; the others are bad."""
    again = _came_before(events["event_id"])
    settled.own_ids += int(events["own_id"].sum())
    settled.repeated_ids += _different(events, again)
    if len(old):
        again = again | events["event_id"].is_in(old.implode())
    events = _without(events, again, "duplicate_event", "event_id", settled)
    if not rules.bot_events_per_day:
        return events
    busy = events.group_by("user_key").len().filter(pl.col("len") > rules.bot_events_per_day)["user_key"]
    if busy.is_empty():
        return events
    mine = events.select("user_key", "at").filter(pl.col("user_key").is_in(busy.implode()))
    daily = mine.group_by("user_key", day=pl.col("at").dt.date()).len()
    bots = daily.filter(pl.col("len") > rules.bot_events_per_day)["user_key"].unique()
    if bots.is_empty():
        return events
    return _without(events, events["user_key"].is_in(bots.implode()), "bot", "at", settled)


def _came_before(ids: pl.Series) -> pl.Series:
    """Return for each id whether it is a repetition; sorting finds the few there are five times as fast as hashing."""
    ordered = np.sort(ids.to_numpy())
    twice = pl.Series(ordered[1:][ordered[1:] == ordered[:-1]])
    again = ids.is_in(twice.implode())
    if twice.is_empty():
        return again
    first = again.arg_true().filter(ids.filter(again).is_first_distinct())
    return again.scatter(first, values=False)


def _different(events: pl.DataFrame, again: pl.Series) -> int:
    """Return how many events with the id of an earlier one are about something else."""
    again = again & events["own_id"]
    if not again.any():
        return 0
    facts = ("item", "kind", "at")
    first = events.filter(~again).select("event_id", **{f"first_{name}": name for name in facts})
    repeated = events.filter(again).join(first, on="event_id", how="left")
    return repeated.filter(pl.any_horizontal(pl.col(name) != pl.col(f"first_{name}") for name in facts)).height


def _without(events: pl.DataFrame, bad: pl.Series, reason: str, column: str, settled: Settled) -> pl.DataFrame:
    if not bad.any():
        return events
    value = pl.col(column).cast(pl.String)
    told = events.filter(bad).select("line", reason=pl.lit(reason), column=pl.lit(column), value=value)
    settled.bad.append(told)
    return events.filter(~bad)


def _late(at: pl.Series, watermark: datetime) -> dict[str, int]:
    """Return how many came after newer ones had, by how much older they are."""
    age = (pl.lit(watermark) - pl.col("at")).alias("age")
    words = [pl.when(pl.col("age") <= limit).then(pl.lit(word)) for word, limit in AGES.items()]
    late = at.to_frame("at").select(age).filter(pl.col("age") > timedelta(0))
    return dict(late.group_by(pl.coalesce(words).alias("late")).len().iter_rows())


def _new_users(known: pl.LazyFrame, seen: pl.LazyFrame, kept: pl.DataFrame) -> pl.DataFrame:
    """Return the users who have events that are kept, and whom the lake does not know."""
    active = seen.unique("user_key").join(kept.lazy().select("user_key"), on="user_key", how="semi")
    return active.join(known.select("user_key"), on="user_key", how="anti").sort("bucket", "user_key").collect()


def _ranges(counts: pl.DataFrame) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of buckets to take together."""
    some: list[int] = []
    events = 0
    for bucket, number in counts.iter_rows():
        if some and events + number > _AT_ONCE:
            yield some[0], some[-1]
            some, events = [], 0
        some.append(bucket)
        events += number
    if some:
        yield some[0], some[-1]
