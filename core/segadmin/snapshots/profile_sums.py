"""Sums over the users of each segment, from which its profile is computed; a few buckets of users at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import polars as pl

from segadmin.contracts.backbone import no_progress
from segadmin.storage.lake import Lake
from segadmin.storage.records import NOT_ENOUGH
from segadmin.storage.schema import time_literal
from segadmin.text.recipe import Window

#: The columns of what is counted, and of its name.
KINDS = ("item", "category", "brand", "hour")
HOUR, NAME = "hour", "name"
#: Users whose events are in memory at a time, about.
_USERS_AT_A_TIME = 50_000


@dataclass(frozen=True)
class ProfileSums:
    """Sums over users; x is the number of a user's events of one name, t of one kind of name."""

    window: Window
    kind: str  #: of the events that are counted: ``purchase`` or ``event``
    has_amounts: bool
    value: pl.DataFrame  #: ``segment``, ``buyers``, and sums of spend (``v``), purchases (``n``) and their squares
    counts: dict[str, pl.DataFrame]  #: by :data:`KINDS`: ``segment``, ``name``, ``users``, ``x``, ``xx``, ``xt``
    totals: dict[str, pl.DataFrame]  #: by :data:`KINDS`: ``segment``, ``t``, ``tt``


def sum_up(
    lake: Lake, users: pl.DataFrame, window: Window, progress: Callable[[float, str], None] = no_progress
) -> ProfileSums:
    """Return the sums over all ``users``, with memory for the events of some ten thousands.

    Args:
        lake: with events and items.
        users: ``bucket``, ``user_key`` and ``segment`` (null: too little is known).
        window: whose events are counted: purchases, or all if there are none.
        progress: called with the fraction done and a short note.
    """
    at = pl.col("at")
    inside = (at >= time_literal(window.observed_from)) & (at < time_literal(window.as_of))
    bought = lake.scan("events").filter(inside, pl.col("kind") == "purchase").head(1).collect().height > 0
    kind = "purchase" if bought else "event"
    items = lake.scan("items").select("item", "category", "brand").collect()
    named = users.select("bucket", "user_key", pl.col("segment").fill_null(NOT_ENOUGH))
    value = _empty("buyers", "v", "vv", "n", "nn", "priced")
    counts = {each: _empty("users", "x", "xx", "xt", names=True) for each in KINDS}
    totals = {each: _empty("t", "tt") for each in KINDS}
    done = 0
    for part in _parts(named):
        progress(done / users.height, f"{done} of {users.height} users counted")
        done += part.height
        buckets = part["bucket"].unique().to_list()
        events = lake.scan("events", buckets=buckets).filter(inside)
        if bought:
            events = events.filter(pl.col("kind") == "purchase")
        rows = (
            events.select("user_key", "item", "price", "kind", hour=at.dt.hour().cast(pl.Int64))
            .join(part.lazy().select("user_key"), on="user_key", how="semi")
            .join(items.lazy(), on="item", how="left")
            .with_columns(pl.col("item", "category", "brand").cast(pl.Categorical))  # numbers are grouped faster
            .collect()
        )
        segments = part.select("user_key", "segment")
        value = _added(value, _value(rows, segments), ["segment"])
        for each in KINDS:
            of_names, of_users = _counts(rows.select("user_key", each), segments, each)
            counts[each] = _added(counts[each], of_names, ["segment", NAME])
            totals[each] = _added(totals[each], of_users, ["segment"])
    return ProfileSums(window, kind, bool(value["priced"].sum()), value.drop("priced"), counts, totals)


def titles_of(lake: Lake, sums: ProfileSums) -> dict[str, str]:
    """Return the titles of the items that were counted, where they are known."""
    names = sums.counts["item"].select(item=NAME).unique()
    known = lake.scan("items").select("item", "title").drop_nulls("title")
    return dict(known.join(names.lazy(), on="item", how="semi").collect().iter_rows())


def _parts(users: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield the users of a few buckets at a time."""
    chosen: list[int] = []
    height = 0
    for bucket, size in users.group_by("bucket").len().sort("bucket").iter_rows():
        if chosen and height + size > _USERS_AT_A_TIME:
            yield users.filter(pl.col("bucket").is_in(chosen))
            chosen, height = [], 0
        chosen.append(bucket)
        height += size
    if chosen:
        yield users.filter(pl.col("bucket").is_in(chosen))


def _value(rows: pl.DataFrame, segments: pl.DataFrame) -> pl.DataFrame:
    """Return what the users of each segment spend and buy."""
    is_bought = pl.col("kind") == "purchase"
    of_users = (
        rows.filter(is_bought)
        .group_by("user_key")
        .agg(
            v=pl.col("price").sum().cast(pl.Float64),
            n=pl.len().cast(pl.Float64),
            priced=pl.col("price").count().cast(pl.Float64),
        )
        .join(segments, on="user_key")
    )
    v, n = pl.col("v"), pl.col("n")
    return of_users.group_by("segment").agg(
        buyers=pl.len().cast(pl.Float64),
        v=v.sum(),
        vv=(v**2).sum(),
        n=n.sum(),
        nn=(n**2).sum(),
        priced=pl.col("priced").sum(),
    )


def _counts(rows: pl.DataFrame, segments: pl.DataFrame, kind: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the sums of one kind of name: by segment and name, and by segment."""
    known = rows.drop_nulls(kind)
    of_users = known.group_by("user_key").agg(t=pl.len().cast(pl.Float64)).join(segments, on="user_key")
    of_each = known.group_by("user_key", pl.col(kind).alias(NAME)).agg(x=pl.len().cast(pl.Float64))
    x, t = pl.col("x"), pl.col("t")
    of_names = (
        of_each.join(of_users, on="user_key")
        .group_by("segment", NAME)
        .agg(users=pl.len().cast(pl.Float64), x=x.sum(), xx=(x**2).sum(), xt=(x * t).sum())
        .with_columns(pl.col(NAME).cast(pl.String))
    )
    return of_names, of_users.group_by("segment").agg(t=t.sum(), tt=(t**2).sum())


def _empty(*columns: str, names: bool = False) -> pl.DataFrame:
    texts = ("segment", NAME) if names else ("segment",)
    return pl.DataFrame(schema={**dict.fromkeys(texts, pl.String), **dict.fromkeys(columns, pl.Float64)})


def _added(one: pl.DataFrame, other: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    both = pl.concat([one, other.select(one.columns)])
    return both.group_by(by).agg(pl.exclude(by).sum())
