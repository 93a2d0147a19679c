"""Settling an import: what was spooled enters the lake, all of it in one commit a table, or nothing.

Events are told apart bucket by bucket: what is a duplicate and who is a bot is a matter of one user, so of one
bucket. Each bucket's files are written before the one commit that names them, and memory holds some buckets only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import polars as pl
from deltalake.transaction import AddAction

from segadmin.events.lake import Lake
from segadmin.events.mapping import Rules
from segadmin.events.spool import Spool

#: Events held at a time, where no single bucket has more.
_AT_ONCE = 2_000_000


@dataclass
class Settled:
    """What is to be committed; readers do not see its files yet."""

    events: list[AddAction] = field(default_factory=list)
    users: list[AddAction] = field(default_factory=list)
    bad: list[pl.DataFrame] = field(default_factory=list)  #: columns of ``PROBLEM``


def settle_events(
    lake: Lake, spool: Spool, app: str, rules: Rules, progress: Callable[[float], None] = lambda _: None
) -> Settled:
    """Tell spooled events apart and write the files of those to keep.

    Args:
        lake: where to.
        spool: the whole import.
        app: the import's name, which its files get.
        rules: which of the rules that need all of a user's events to follow.
        progress: called with the share that is done.
    """
    settled = Settled(bad=[spool.bad()])
    good = spool.good()
    counts = good.group_by("bucket").len().sort("bucket").collect()
    whole, done = int(counts["len"].sum()), 0
    facts = good.select(least=pl.col("at").min(), most=pl.col("at").max(), own=pl.col("own_id").any()).collect()
    least, most, own = facts.row(0)
    for buckets in _groups(counts):
        some = good.filter(pl.col("bucket").is_in(buckets)).collect()
        known = lake.scan("events", buckets=buckets)
        if not own:  # an id made of what the event says has the time in it, so other times need not be read
            known = known.filter(pl.col("at").is_between(least, most))
        kept = _without_bots(_without_duplicates(some, known, settled), rules, settled)
        for (bucket,), events in kept.partition_by("bucket", as_dict=True).items():
            newest_first = events.sort("at", "user_key", "event_id", descending=[True, False, False])
            settled.events.append(lake.put_file("events", newest_first, app, bucket=bucket))
        _new_users(lake, kept, buckets, f"{app}-{buckets[0]}", settled)
        done += some.height
        progress(done / whole)
    return settled


def _without_duplicates(events: pl.DataFrame, known: pl.LazyFrame, settled: Settled) -> pl.DataFrame:
    """Return the events that neither the lake has nor an earlier row."""
    ids = ["user_key", "event_id"]
    old = known.select(ids).join(events.lazy().select(ids), on=ids, how="semi").unique().collect()
    again = ~pl.struct(ids).is_first_distinct()
    if old.height:
        events = events.join(old.with_columns(old=True), on=ids, how="left", maintain_order="left")
        again = again | pl.col("old").is_not_null()
    return _kept(events.with_columns(again=again), "again", "duplicate_event", "event_id", settled)


def _without_bots(events: pl.DataFrame, rules: Rules, settled: Settled) -> pl.DataFrame:
    """Return the events of users who did no more on any day than people do."""
    if not rules.bot_events_per_day or events.is_empty():
        return events
    daily = events.group_by("user_key", pl.col("at").dt.date()).len()
    bots = daily.filter(pl.col("len") > rules.bot_events_per_day)["user_key"].unique()
    return _kept(events.with_columns(bot=pl.col("user_key").is_in(bots.implode())), "bot", "bot", "at", settled)


def _kept(events: pl.DataFrame, marked: str, reason: str, column: str, settled: Settled) -> pl.DataFrame:
    """Return the events that are not ``marked``; the others are bad."""
    bad = events.filter(pl.col(marked))
    if bad.height:
        value = pl.col(column).cast(pl.String)
        settled.bad.append(bad.select("line", reason=pl.lit(reason), column=pl.lit(column), value=value))
        events = events.filter(~pl.col(marked))
    return events.drop(marked)


def _new_users(lake: Lake, kept: pl.DataFrame, buckets: list[int], name: str, settled: Settled) -> None:
    seen = kept.select("bucket", "user_key", "user").unique("user_key", keep="first", maintain_order=True)
    known = lake.scan("users", buckets=buckets).select("user_key").collect()
    new = seen.join(known, on="user_key", how="anti").sort("bucket", "user_key")
    if new.height:
        settled.users.append(lake.put_file("users", new, name))


def _groups(counts: pl.DataFrame) -> Iterator[list[int]]:
    """Yield buckets to take together."""
    some: list[int] = []
    events = 0
    for bucket, number in counts.iter_rows():
        if some and events + number > _AT_ONCE:
            yield some
            some, events = [], 0
        some.append(bucket)
        events += number
    if some:
        yield some
