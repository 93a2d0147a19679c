"""Scores users by events that come with the request, as scoring does it with the events of the lake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from segadmin.events.clean import Cleaned, clean, complete
from segadmin.events.ids import event_ids
from segadmin.events.keys import user_key
from segadmin.events.mapping import Mapping
from segadmin.events.number_columns import NumberColumns
from segadmin.inference.live_items import LiveItems
from segadmin.inference.live_models import LiveModel
from segadmin.settings import Settings
from segadmin.text.reader import EVENT_COLUMNS, attributes, read_events
from segadmin.text.recipe import Window

#: Of users that are not in the lake.
_NO_BUCKET = -1


@dataclass(frozen=True)
class UserEvents:
    """The events of one user to be scored."""

    user: str  #: the shop's id, or any name that is different from the other users'
    events: pl.DataFrame  #: rows of a source, as :func:`segadmin.events.cells.readable` returns them
    as_of: datetime  #: the moment to score at; later events are left out


class Rejected(NamedTuple):
    """An event that cannot be used."""

    event: int  #: its place among the user's events, from 0
    reason: str
    field: str | None
    value: str | None


@dataclass(frozen=True)
class Scored:
    """The segment of one user."""

    segment: str | None  #: ``None``: too little is known of the user
    probabilities: dict[str, float]  #: by segment, in the model's order
    events: int  #: events in the model's window
    rejected: tuple[Rejected, ...]


def score_users(
    settings: Settings, model: LiveModel, items: LiveItems, users: Sequence[UserEvents], *, mapping: Mapping
) -> list[Scored]:
    """Return the segment of every user, in their order.

    Args:
        settings: of the store.
        model: the model.
        items: finds the events' items.
        users: those of one moment are read together.
        mapping: assigns the events' columns to fields.
    """
    results: dict[int, Scored] = {}
    for rows in _groups(users, mapping):
        scored = _score(settings, model, items, [users[row] for row in rows], mapping)
        results.update(zip(rows, scored, strict=True))
    return [results[row] for row in range(len(users))]


def _groups(users: Sequence[UserEvents], mapping: Mapping) -> list[list[int]]:
    """Return the rows of users of one moment and of the same currencies, no user twice in a group."""
    groups: dict[tuple[datetime, frozenset[str], int], list[int]] = {}
    times: dict[tuple[datetime, str], int] = {}
    for row, user in enumerate(users):
        before = times.get((user.as_of, user.user), 0)
        times[user.as_of, user.user] = before + 1
        groups.setdefault((user.as_of, _currencies(user, mapping), before), []).append(row)
    return list(groups.values())


def _currencies(user: UserEvents, mapping: Mapping) -> frozenset[str]:
    """Return the currencies of a user's prices: without rates, those of several cannot be read together."""
    column = mapping.columns.get("currency", "currency")
    if mapping.currency is not None or column not in user.events.columns:
        return frozenset()
    return frozenset(user.events[column].drop_nulls().cast(pl.String).str.strip_chars().str.to_uppercase().to_list())


def _score(
    settings: Settings, model: LiveModel, items: LiveItems, users: Sequence[UserEvents], mapping: Mapping
) -> list[Scored]:
    predictor, textualizer = model.predictor, model.textualizer
    recipe = predictor.manifest.recipe
    window = recipe.window(users[0].as_of)
    keys = [user_key(settings.secret(), user.user) for user in users]
    cleaned, ends = _cleaned(users, mapping), np.cumsum([user.events.height for user in users])
    events = _in_window(cleaned.good, users, keys, ends, window)
    words = None if model.words is None else model.words.of(events["item"])
    texts = read_events(
        events.select("user_key", *EVENT_COLUMNS, *(["user"] if textualizer.raw_user_ids else [])),
        attributes(items.of(events["item"]).lazy(), recipe, words).collect(),
        _NO_BUCKET,
        window,
        recipe,
        textualizer=textualizer,
        users=pl.DataFrame({"user_key": keys}, schema={"user_key": pl.Int64}),
    )
    in_order = pl.DataFrame({"user_key": keys}, schema={"user_key": pl.Int64}).join(
        texts.users, on="user_key", how="left", maintain_order="left"
    )
    segments = predictor.segment(in_order)
    counts = dict(events.group_by("user_key").len().iter_rows())
    rejected: list[list[Rejected]] = [[] for _ in users]
    for line, *problem in cleaned.bad.select("line", "reason", "column", "value").iter_rows():
        row = int(ends.searchsorted(line - 1, side="right"))
        rejected[row].append(Rejected(line - 1 - int(ends[row] - users[row].events.height), *problem))
    return [
        Scored(
            segment=segment["segment"],
            probabilities=dict(zip(predictor.segments, segment["probabilities"], strict=True)),
            events=counts.get(key, 0),
            rejected=tuple(problems),
        )
        for segment, key, problems in zip(segments.iter_rows(named=True), keys, rejected, strict=True)
    ]


def _cleaned(users: Sequence[UserEvents], mapping: Mapping) -> Cleaned:
    """Return the events of all users as an import of posted events cleans them; lines go from 1."""
    column = mapping.columns.get("user", "user")
    frames = [user.events.with_columns(pl.lit(user.user, pl.String).alias(column)) for user in users]
    rows = complete(pl.concat(frames, how="diagonal"), "events", mapping)
    return clean(rows, "events", mapping, numbers=NumberColumns(mapping, typed=True, whole=False))


def _in_window(
    good: pl.DataFrame, users: Sequence[UserEvents], keys: Sequence[int], ends: NDArray[np.int64], window: Window
) -> pl.DataFrame:
    """Return the usable events in the window, each once, with the ids that an import gives them."""
    rows = ends.searchsorted(good["line"].to_numpy() - 1, side="right")
    names = pl.Series([user.user for user in users], dtype=pl.String)
    events = good.with_columns(
        pl.Series("user_key", keys, dtype=pl.Int64).gather(rows), names.gather(rows).alias("user")
    )
    events = events.with_columns(event_ids(events)).unique(("user_key", "event_id"), keep="first", maintain_order=True)
    inside = events.filter(pl.col("at") >= window.observed_from, pl.col("at") < window.as_of)
    return inside.select("user_key", "user", *EVENT_COLUMNS)
