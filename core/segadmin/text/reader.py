"""Reads users: turns their events in a window into phrases and features."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from segadmin.contracts.textualizer import TextContext, Textualizer
from segadmin.errors import PluginContractError
from segadmin.events.items import OF_ITEMS, facet, with_items
from segadmin.storage.lake import Lake
from segadmin.storage.schema import time_literal
from segadmin.text.features import feature_names, features
from segadmin.text.fingerprint import phrase_hash
from segadmin.text.item_words import WORDS
from segadmin.text.next_change import NEVER, next_changes
from segadmin.text.recipe import Recipe, Window
from segadmin.text.sources import SOURCE_HASHES, source_hashes
from segadmin.text.textualizer_calls import phrases_of
from segadmin.text.variant import CANONICAL, Variant

if TYPE_CHECKING:
    from polars._typing import EngineType

#: The text of a user without events in the window, so that every user has a text.
NOTHING = {"en": "no recent activity", "zh": "近期无行为"}
#: Below so many events, Polars' streaming engine takes longer to start than its other one takes for all.
_FEW_EVENTS = 10_000
#: Up to so many users are looked for while files are read, so that the other columns are read of their rows alone.
_FEW_USERS = 5_000
#: What textualizers get of events, besides ``user_key``.
EVENT_COLUMNS = ("event_id", "kind", "item", "at", "quantity", "price", "duration", "rating", "text", "extras")


@dataclass(frozen=True)
class UserTexts:
    """User texts, and counts of what was read."""

    #: bucket, user_key, as_of, phrases, phrase_hash, features, events_hash, items_hash; if asked for, next_change
    users: pl.DataFrame
    report: dict[str, int]


def read_users(
    lake: Lake,
    bucket: int | Sequence[int],
    window: Window,
    recipe: Recipe,
    *,
    textualizer: Textualizer,
    users: pl.DataFrame,
    items: pl.DataFrame | None = None,
    variant: Variant = CANONICAL,
    timed: bool = False,
    call: AbstractContextManager[None] = nullcontext(),  # noqa: B008  (holds nothing)
) -> UserTexts:
    """Read ``users`` (``user_key``) of one bucket in one window; the textualizer is called inside ``call``.

    Several buckets may be read together, but not as a variant; ``users`` also has their ``bucket`` then. ``items`` are
    those of :func:`read_items`, which are read here, without words, if they are not given. In a variant, users without
    events are omitted: their text would not vary. With ``timed``, there is also when each text may next change by time
    alone.

    Raises:
        PluginError: the textualizer failed.
        PluginContractError: it did not return phrases.
    """
    buckets = [bucket] if isinstance(bucket, int) else list(bucket)
    own_events = variant.some_of(_events(lake, buckets, window, textualizer, users)).collect()
    if items is None:
        items = read_items(lake, recipe)
    texts = texts_of(
        own_events, items, window, recipe, textualizer=textualizer, users=users, variant=variant, timed=timed, call=call
    )
    capped = texts["all_phrases"].filter(texts["all_phrases"] > recipe.max_phrases)
    hashes = source_hashes(own_events, items)
    users_read = (
        texts.select(
            users["bucket"].cast(pl.Int32) if "bucket" in users.columns else pl.lit(bucket, pl.Int32).alias("bucket"),
            *("user_key", "as_of", "phrases"),
            phrase_hash(texts["phrases"]),
            "features",
            *(["next_change"] if timed else []),
        )
        .join(hashes, on="user_key", how="left", maintain_order="left")
        .with_columns(pl.col(SOURCE_HASHES).fill_null(0))
    )
    return UserTexts(
        users=users_read,
        report={
            "users": texts.height,
            "users_without_events": texts["all_phrases"].null_count(),
            "events": own_events.height,
            "phrases": int(texts["phrases"].list.len().sum()),
            "users_capped": len(capped),
            "phrases_dropped": int(capped.sum()) - recipe.max_phrases * len(capped),
        },
    )


def texts_of(
    own_events: pl.DataFrame,
    items: pl.DataFrame,
    window: Window,
    recipe: Recipe,
    *,
    textualizer: Textualizer,
    users: pl.DataFrame,
    variant: Variant = CANONICAL,
    timed: bool = False,
    call: AbstractContextManager[None] = nullcontext(),  # noqa: B008  (holds nothing)
) -> pl.DataFrame:
    """Return the texts and features of ``users`` by ``own_events``, their events in the window.

    Args:
        own_events: ``user_key`` and the columns of events that textualizers get; ``user`` where they need raw ids.
        items: :func:`attributes` of the items of the events.
        window: the events' window.
        recipe: of the text.
        textualizer: of the recipe.
        users: ``user_key``.
        variant: of the text.
        timed: return ``next_change`` too.
        call: the context in which the textualizer is called.

    Returns:
        In the order of ``users``: ``user_key``, ``as_of``, ``phrases``, ``all_phrases`` (the number of phrases before
        the recipe's limit; null for users without any) and ``features``; with ``timed`` also when the text may next
        change by time alone, ``next_change`` (null: at any time).
    """
    if variant.number:
        users = users.join(own_events, on="user_key", how="semi")
    events = with_items(own_events.lazy(), items)
    engine: EngineType = "in-memory" if own_events.height < _FEW_EVENTS else "auto"
    context = TextContext(window.observed_from, window.as_of, recipe.language, recipe.templates, variant.number)
    with call:
        phrases = phrases_of(textualizer, events, context, _textualizer_name(recipe), engine)
        changes = next_changes(textualizer, events, context, _textualizer_name(recipe)) if timed else None
    by_user = _phrases_by_user(phrases, recipe, variant)
    user_features = features(events, window, recipe).collect(engine=engine)
    texts = (
        users.lazy()
        .select("user_key", as_of=time_literal(window.as_of))
        .join(by_user.lazy(), on="user_key", how="left", maintain_order="left")
        .join(user_features.lazy(), on="user_key", how="left", maintain_order="left")
        .collect(engine="in-memory")
    )
    if changes is not None:
        texts = _with_next_change(texts, changes)
    if by_user.height == texts.height and not texts["phrases"].null_count() and not texts["features"].null_count():
        return texts  # all users have events
    _check_users(by_user["user_key"], own_events["user_key"], recipe)
    no_features = [None] * len(feature_names(recipe))
    return texts.with_columns(
        pl.col("phrases").fill_null(pl.lit([NOTHING[recipe.language]])),
        pl.col("features").fill_null(pl.lit(no_features, dtype=pl.List(pl.Float32))),
    )


def read_items(lake: Lake, recipe: Recipe, words: pl.DataFrame | None = None) -> pl.DataFrame:
    """Return the :func:`attributes` of all items; ``words`` are :func:`segadmin.text.item_words.item_words`."""
    return attributes(lake.scan("items"), recipe, words).collect()


def attributes(items: pl.LazyFrame, recipe: Recipe, words: pl.DataFrame | None = None) -> pl.LazyFrame:
    """Return of ``items`` (the lake's table, or rows of it) what texts and features need, with the recipe's facets.

    With ``words`` there is a column of them, and they follow the items' titles, so that every textualizer reads them.
    """
    selected = items.select("item", *OF_ITEMS, *map(facet, recipe.facets))
    if words is None:
        return selected
    named = pl.concat_str(pl.coalesce("title", "category"), WORDS, separator=" ", ignore_nulls=True)
    title = pl.when(pl.col(WORDS).is_null()).then("title").otherwise(named)
    return selected.join(words.lazy(), on="item", how="left").with_columns(title=title)


def _phrases_by_user(phrases: pl.DataFrame, recipe: Recipe, variant: Variant) -> pl.DataFrame:
    """Return the most informative phrases of each user up to the recipe's limit, and the number of all."""
    return (
        phrases.lazy()
        .select(pl.col("user_key").cast(pl.Int64), "position", pl.col("phrase").cast(pl.String))
        .sort("user_key", "position", variant.order)  # a deterministic order of equal positions
        .group_by("user_key", maintain_order=True)
        .agg(pl.col("phrase").head(recipe.max_phrases).alias("phrases"), all_phrases=pl.len())
        .collect(engine="in-memory")
    )


def _with_next_change(texts: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
    """Return ``texts`` with ``next_change``; the text of a user without events never changes by time alone."""
    has_events = changes.with_columns(has_events=pl.lit(value=True))
    next_change = pl.when("has_events").then("next_change").otherwise(time_literal(NEVER))
    joined = texts.join(has_events, on="user_key", how="left", maintain_order="left")
    return joined.with_columns(next_change=next_change).drop("has_events")


def _check_users(users: pl.Series, users_with_events: pl.Series, recipe: Recipe) -> None:
    """Raise ``PluginContractError`` if there are phrases of users without events."""
    unknown_users = len(users) - int(users.is_in(users_with_events.implode()).sum())
    if unknown_users:
        raise PluginContractError(f"{_textualizer_name(recipe)} returned users that have no events: {unknown_users}.")


def _events(
    lake: Lake, buckets: Sequence[int], window: Window, textualizer: Textualizer, users: pl.DataFrame
) -> pl.LazyFrame:
    """Return the users' events in the window."""
    inside = lake.scan("events", buckets=buckets).filter(
        pl.col("at") >= window.observed_from, pl.col("at") < window.as_of
    )
    keys = users["user_key"]
    if len(keys) <= _FEW_USERS:
        own = inside.filter(pl.col("user_key").is_in(keys.implode()))
    else:
        own = inside.join(users.lazy().select("user_key"), on="user_key", how="semi")
    selected = own.select("user_key", *EVENT_COLUMNS)
    if not textualizer.raw_user_ids:
        return selected
    return selected.join(lake.scan("users", buckets=buckets).select("user_key", "user"), on="user_key", how="left")


def _textualizer_name(recipe: Recipe) -> str:
    return f"The textualizer {recipe.textualizer!r} of {recipe.distribution}"
