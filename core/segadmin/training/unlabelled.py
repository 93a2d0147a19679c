"""Chooses the users without labels that a self-supervised fit learns from: earlier cut-offs, and what is read after."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from segadmin.errors import DataError
from segadmin.events.items import FACET, facet
from segadmin.labels.label_sets import after
from segadmin.labels.parts import Part, SplitBy, SplitOptions
from segadmin.labels.split import draw
from segadmin.storage.lake import Lake
from segadmin.storage.schema import TIME
from segadmin.text.features import commonest
from segadmin.text.plan import OutcomePlan
from segadmin.text.recipe import Recipe, Window

#: Number of cut-offs, and maximum number of rows of all of them: more users hardly change what is learnt.
_CUTOFFS, _MOST_ROWS = 3, 60_000
#: Maximum number of categories, brands and values of a facet whose shares are outcomes.
_CATEGORIES, _BRANDS, _FACETS = 200, 50, 16


@dataclass(frozen=True)
class UnlabelledRows:
    """The rows of unlabelled users, and how their outcomes are read."""

    rows: pl.DataFrame  #: ``user_key``, ``as_of``, ``observed_from``
    outcomes: OutcomePlan


def unlabelled_rows(lake: Lake, recipe: Recipe, split: pl.DataFrame, how: SplitOptions) -> UnlabelledRows:
    """Return users at cut-offs before the first test row of ``split``; outcomes last half as long as the window.

    Args:
        lake: its events are used.
        recipe: of the texts, with the features that were chosen from training data.
        split: see :func:`segadmin.labels.split.split_rows`; with ``observed_from``.
        how: options of the split: users that it holds out are left out.

    Raises:
        DataError: the events do not last long enough before the first test row.
    """
    first, latest = lake.scan("events").select(first=pl.col("at").min(), last=pl.col("at").max()).collect().row(0)
    until: datetime = after(latest)
    if how.by == SplitBy.TIME:  # no outcome may overlap the time that is tested
        until = split.filter(pl.col("part") == Part.TEST).select(pl.col("as_of").min()).item()
    windows = _windows(recipe, first, until)
    held_out = 2 * how.held_out if how.by == SplitBy.USER else how.held_out
    rows = pl.concat(_users(lake, window, how.seed, held_out) for window in windows)
    rows = rows.join(split.select("user_key", "as_of", own="observed_from"), on=["user_key", "as_of"], how="left")
    rows = rows.select("user_key", "as_of", pl.coalesce("own", "observed_from").alias("observed_from"))
    length = timedelta(days=recipe.window_days / 2)
    later = tuple(Window(observed_from=window.as_of, as_of=window.as_of + length) for window in windows)
    outcome_recipe = recipe.model_copy(update=_chosen_outcomes(lake, recipe, rows, windows[0].observed_from, until))
    return UnlabelledRows(rows.sort("as_of", "user_key"), OutcomePlan(recipe=outcome_recipe, windows=later))


def _windows(recipe: Recipe, first: datetime, until: datetime) -> tuple[Window, ...]:
    """Return the windows before the cut-offs, in order of time; at least half of each has events."""
    outcome = timedelta(days=recipe.window_days / 2)
    cutoffs = [until - number * outcome for number in range(_CUTOFFS, 0, -1)]
    windows = tuple(recipe.window(cutoff) for cutoff in cutoffs if first + outcome <= cutoff)
    if not windows:
        raise DataError(
            f"Unlabelled users need {recipe.window_days:g} days of events before {until:%Y-%m-%d}, the first test "
            f"row or the last event, but events begin on {first:%Y-%m-%d}. Use shorter windows: --window-days "
            f"{max(1, (until - first).days)}, or another backbone"
        )
    return windows


def _users(lake: Lake, window: Window, seed: int, held_out: float) -> pl.DataFrame:
    """Return the users with events in ``window`` that are not held out, or a fixed fraction of them."""
    inside = lake.scan("events").filter(pl.col("at") >= window.observed_from, pl.col("at") < window.as_of)
    users = inside.select("user_key").unique().collect()
    drawn = draw(users["user_key"].to_numpy(), seed)
    most = held_out + (1 - held_out) * min(1.0, _MOST_ROWS / _CUTOFFS / max(1, users.height * (1 - held_out)))
    chosen = users.filter(pl.Series((drawn >= held_out) & (drawn < most)))
    return chosen.with_columns(pl.lit(getattr(window, name), TIME).alias(name) for name in ("as_of", "observed_from"))


def _chosen_outcomes(
    lake: Lake, recipe: Recipe, rows: pl.DataFrame, start: datetime, end: datetime
) -> dict[str, tuple[str, ...] | dict[str, tuple[str, ...]]]:
    """Return the categories, brands and values of facets whose shares are outcomes: the commonest of the users."""
    inside = lake.scan("events").filter(pl.col("at") >= start, pl.col("at") < end)
    events = inside.join(rows.lazy().select("user_key").unique(), on="user_key", how="semi")
    items = lake.scan("items")
    brands = commonest(events, items, "brand", _BRANDS)
    return {
        "categories": commonest(events, items, "category", _CATEGORIES),
        "brands": brands,
        "recent_brands": (),
        "words": (),  # outcomes are read without the vectors of items
        "facets": {
            name: commonest(events, items.select("item", facet(name)), FACET + name, _FACETS) for name in recipe.facets
        },
    }
