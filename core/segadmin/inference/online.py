"""Scores users by events that come with the request, as scoring does it with the events of the lake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
import polars as pl

from segadmin.events.clean import Cleaned, clean, complete
from segadmin.events.ids import event_ids
from segadmin.events.keys import user_key
from segadmin.events.mapping import Mapping
from segadmin.events.number_columns import NumberColumns
from segadmin.inference.live_items import LiveItems
from segadmin.inference.live_models import LiveModel
from segadmin.labels.corrections import effective
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.schema import microseconds
from segadmin.text.reader import EVENT_COLUMNS, attributes, texts_of
from segadmin.text.recipe import Window


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
    corrected: bool = False  #: whether a person set the segment


def score_users(
    settings: Settings, model: LiveModel, items: LiveItems, users: Sequence[UserEvents], *, mapping: Mapping
) -> list[Scored]:
    """Return the segment of every user, in their order.

    Args:
        settings: of the store.
        model: the model.
        items: finds the events' items.
        users: they are read together, also if their moments differ.
        mapping: assigns the events' columns to fields.
    """
    if not users:
        return []
    predictor, secret = model.predictor, settings.secret()
    keys = [user_key(secret, user.user) for user in users]
    windows = [predictor.manifest.recipe.window(user.as_of) for user in users]
    usable, rejected = _usable(users, mapping)
    events = _in_window(usable, users, keys, windows)
    segments = predictor.segment(_texts(model, items, events, keys, windows))
    with reading(settings) as session:
        corrections = {
            key: correction.segment
            for key, correction in effective(session, model.version.label_set, keys).items()
            if correction.segment in predictor.segments
        }
    numbers = np.bincount(events["row"].to_numpy(), minlength=len(users)).tolist()
    return [
        Scored(
            segment=corrections.get(key, segment["segment"]),
            probabilities=dict(zip(predictor.segments, segment["probabilities"], strict=True)),
            events=number,
            rejected=tuple(problems),
            corrected=key in corrections,
        )
        for key, segment, number, problems in zip(keys, segments.iter_rows(named=True), numbers, rejected, strict=True)
    ]


def _usable(users: Sequence[UserEvents], mapping: Mapping) -> tuple[pl.DataFrame, list[list[Rejected]]]:
    """Return the usable events with the ``row`` of their user, and by user the events that cannot be used."""
    usable: list[pl.DataFrame] = []
    rejected: list[list[Rejected]] = [[] for _ in users]
    for group in _of_one_currency(users, mapping):
        heights = [users[row].events.height for row in group]
        rows = np.repeat(group, heights)
        cleaned = _cleaned([users[row] for row in group], mapping)
        usable.append(cleaned.good.with_columns(row=pl.Series(rows[cleaned.good["line"].to_numpy() - 1])))
        if cleaned.bad.height:
            places = np.concatenate([np.arange(height) for height in heights])
            for line, *problem in cleaned.bad.select("line", "reason", "column", "value").iter_rows():
                rejected[rows[line - 1]].append(Rejected(int(places[line - 1]), *problem))
    return (usable[0] if len(usable) == 1 else pl.concat(usable)), rejected


def _of_one_currency(users: Sequence[UserEvents], mapping: Mapping) -> list[list[int]]:
    """Return the rows of users whose prices are in the same currencies: without rates, others cannot be read with."""
    groups: dict[frozenset[str], list[int]] = {}
    for row, user in enumerate(users):
        groups.setdefault(_currencies(user, mapping), []).append(row)
    return list(groups.values())


def _currencies(user: UserEvents, mapping: Mapping) -> frozenset[str]:
    column = mapping.columns.get("currency", "currency")
    if mapping.currency is not None or column not in user.events.columns:
        return frozenset()
    return frozenset(user.events[column].drop_nulls().cast(pl.String).str.strip_chars().str.to_uppercase().to_list())


def _cleaned(users: Sequence[UserEvents], mapping: Mapping) -> Cleaned:
    """Return the events of all users as an import of posted events cleans them; lines go from 1."""
    column = mapping.columns.get("user", "user")
    frames = [user.events.with_columns(pl.lit(user.user, pl.String).alias(column)) for user in users]
    rows = complete(pl.concat(frames, how="diagonal"), "events", mapping)
    return clean(rows, "events", mapping, numbers=NumberColumns(mapping, typed=True, whole=False))


def _in_window(
    usable: pl.DataFrame, users: Sequence[UserEvents], keys: Sequence[int], windows: Sequence[Window]
) -> pl.DataFrame:
    """Return the events in the window of their user, each once, with the ids that an import gives them."""
    rows = usable["row"].to_list()
    events = usable.with_columns(
        pl.Series("user_key", [keys[row] for row in rows], dtype=pl.Int64),
        pl.Series("user", [users[row].user for row in rows], dtype=pl.String),
    )
    events = events.with_columns(event_ids(events)).unique(("row", "event_id"), keep="first", maintain_order=True)
    row, at = events["row"].to_numpy(), events["at"].to_physical().to_numpy()
    begin, end = np.array([(microseconds(each.observed_from), microseconds(each.as_of)) for each in windows]).T
    return events.filter(pl.Series((begin[row] <= at) & (at < end[row])))


def _texts(
    model: LiveModel, items: LiveItems, events: pl.DataFrame, keys: Sequence[int], windows: Sequence[Window]
) -> pl.DataFrame:
    """Return the texts and features of all users, in their order; those of one moment are read together."""
    recipe, textualizer = model.predictor.manifest.recipe, model.textualizer
    words = None if model.words is None else model.words.of(events["item"])
    of_items = attributes(items.of(events["item"]).lazy(), recipe, words).collect(engine="in-memory")
    columns = ["user_key", *EVENT_COLUMNS, *(["user"] if textualizer.raw_user_ids else [])]
    groups = _of_one_moment(keys, windows)
    texts = [
        texts_of(
            (events if len(groups) == 1 else events.filter(pl.col("row").is_in(group))).select(columns),
            of_items,
            windows[group[0]],
            recipe,
            textualizer=textualizer,
            users=pl.DataFrame({"user_key": [keys[row] for row in group]}, schema={"user_key": pl.Int64}),
        )
        for group in groups
    ]
    return texts[0] if len(texts) == 1 else pl.concat(texts)[np.argsort(np.concatenate(groups))]


def _of_one_moment(keys: Sequence[int], windows: Sequence[Window]) -> list[list[int]]:
    """Return the rows of users of one moment, no user twice in a group."""
    groups: dict[tuple[datetime, int], list[int]] = {}
    times: dict[tuple[datetime, int], int] = {}
    for row, (key, window) in enumerate(zip(keys, windows, strict=True)):
        before = times.get((window.as_of, key), 0)
        times[window.as_of, key] = before + 1
        groups.setdefault((window.as_of, before), []).append(row)
    return list(groups.values())
