"""Reading users: their events in a window become phrases and features."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from segadmin.contracts.plugins import describe
from segadmin.contracts.textualizer import TextContext, Textualizer
from segadmin.errors import PluginContractError, PluginError, SegadminError
from segadmin.events.items import OF_ITEMS, facet, with_items
from segadmin.storage.lake import Lake
from segadmin.text.features import feature_names, features
from segadmin.text.fingerprint import phrase_hash
from segadmin.text.recipe import Recipe, Window
from segadmin.text.variant import CANONICAL, Variant

#: What a user without events in the window reads as, so that everybody has a text.
NOTHING = {"en": "no recent activity", "zh": "近期无行为"}
_COLUMNS = ("event_id", "kind", "item", "at", "quantity", "price", "duration", "rating", "text", "extras")


@dataclass(frozen=True)
class Read:
    """Users as read, and what there was to see on the way."""

    users: pl.DataFrame  #: bucket, user_key, as_of, phrases, phrase_hash, features
    report: dict[str, int]


def read_users(
    lake: Lake,
    bucket: int,
    window: Window,
    recipe: Recipe,
    *,
    textualizer: Textualizer,
    users: pl.DataFrame,
    variant: Variant = CANONICAL,
    call: AbstractContextManager[None] = nullcontext(),  # noqa: B008  (holds nothing)
) -> Read:
    """Read ``users`` (``user_key``) of one bucket in one window; the textualizer is called inside ``call``.

    In a variant, users without events are left out: of nothing there is no other way to say it.

    Raises:
        PluginError: the textualizer failed.
        PluginContractError: it returned something else than phrases.
    """
    happened = variant.some_of(_events(lake, bucket, window, textualizer, users)).collect()
    if variant.number:
        users = users.join(happened, on="user_key", how="semi")
    events = with_items(happened.lazy(), _items(lake, recipe))
    with call:
        found = _phrases(textualizer, events, window, recipe, variant)
    strangers = np.setdiff1d(found["user_key"].unique().to_numpy(), happened["user_key"].unique().to_numpy())
    if len(strangers):
        raise PluginContractError(f"{_who(recipe)} returned {len(strangers)} users that have no events.")
    counts = found.group_by("user_key").len("phrases")
    capped = counts.filter(pl.col("phrases") > recipe.max_phrases)
    grouped = (
        found.sort("user_key", "position", variant.order)  # equal positions read alike in any order
        .group_by("user_key", maintain_order=True)
        .agg(pl.col("phrase").head(recipe.max_phrases).alias("phrases"))
    )
    measured = features(events, window, recipe).collect()
    blank = [None] * len(feature_names(recipe))
    read = (
        users.select("user_key")
        .join(grouped, on="user_key", how="left")
        .join(measured, on="user_key", how="left")
        .with_columns(
            pl.col("phrases").fill_null(pl.lit([NOTHING[recipe.language]])),
            pl.col("features").fill_null(pl.lit(blank, dtype=pl.List(pl.Float32))),
            bucket=pl.lit(bucket, dtype=pl.Int32),
            as_of=pl.lit(window.as_of).dt.cast_time_unit("us").dt.convert_time_zone("UTC"),
        )
    )
    read = read.with_columns(phrase_hash=phrase_hash(read["phrases"]))
    return Read(
        users=read.select("bucket", "user_key", "as_of", "phrases", "phrase_hash", "features"),
        report={
            "users": read.height,
            "users_without_events": read.height - grouped.height,
            "events": happened.height,
            "phrases": int(read["phrases"].list.len().sum()),
            "users_capped": capped.height,
            "phrases_dropped": int((capped["phrases"] - recipe.max_phrases).sum()) if capped.height else 0,
        },
    )


def _events(lake: Lake, bucket: int, window: Window, textualizer: Textualizer, users: pl.DataFrame) -> pl.LazyFrame:
    """Return the users' events in the window."""
    inside = lake.scan("events", buckets=[bucket]).filter(
        pl.col("at") >= window.observed_from, pl.col("at") < window.as_of
    )
    theirs = inside.join(users.lazy().select("user_key"), on="user_key", how="semi").select("user_key", *_COLUMNS)
    if not textualizer.raw_user_ids:
        return theirs
    return theirs.join(lake.scan("users", buckets=[bucket]).select("user_key", "user"), on="user_key", how="left")


def _items(lake: Lake, recipe: Recipe) -> pl.DataFrame:
    """Return what is known of the items, the recipe's facets too."""
    return lake.scan("items").select("item", *OF_ITEMS, *map(facet, recipe.facets)).collect()


def _phrases(
    textualizer: Textualizer, events: pl.LazyFrame, window: Window, recipe: Recipe, variant: Variant
) -> pl.DataFrame:
    """Call the textualizer and hold it to its contract."""
    who = _who(recipe)
    context = TextContext(window.observed_from, window.as_of, recipe.language, recipe.templates, variant.number)
    try:
        returned: Any = textualizer.phrases(events, context)
        found: pl.DataFrame = returned.collect() if isinstance(returned, pl.LazyFrame) else returned
    except SegadminError:
        raise
    except (Exception, SystemExit, pl.exceptions.PanicException) as error:  # a panic of Polars is no Exception
        raise PluginError(f"{who} failed in phrases(): {describe(error)}") from error
    if not isinstance(found, pl.DataFrame):
        raise PluginContractError(f"{who} returned {type(found).__name__} from phrases(), not a polars LazyFrame.")
    missing = {"user_key", "position", "phrase"} - set(found.columns)
    if missing:
        raise PluginContractError(f"{who} returned no column {', '.join(sorted(missing))}, but {found.columns}.")
    if found.schema["phrase"] not in (pl.String, pl.Categorical) or not found.schema["position"].is_numeric():
        raise PluginContractError(
            f"{who} returned phrase as {found.schema['phrase']} and position as {found.schema['position']}; "
            "they must be String and a number."
        )
    if found["phrase"].null_count() or found["position"].null_count():
        raise PluginContractError(f"{who} returned nulls in phrase or position. Leave such rows out, or fill them.")
    return found.select(pl.col("user_key").cast(pl.Int64), "position", pl.col("phrase").cast(pl.String))


def _who(recipe: Recipe) -> str:
    return f"The textualizer {recipe.textualizer!r} of {recipe.distribution}"
