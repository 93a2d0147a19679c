"""When users' texts may next change by the passing of time alone: by recency words, or events that leave the window."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from segadmin.contracts.plugins import describe
from segadmin.contracts.textualizer import TextContext, Textualizer
from segadmin.errors import PluginContractError, PluginError, SegadminError
from segadmin.storage.schema import TIME, time_literal

#: The next change of a user without events in the window, whose text stays the same.
NEVER = datetime(9999, 12, 31, tzinfo=UTC)
_MOMENT = timedelta(microseconds=1)


def next_changes(textualizer: Textualizer, events: pl.LazyFrame, context: TextContext, source: str) -> pl.DataFrame:
    """Return ``user_key`` and ``next_change`` of the users of ``events``; null where the textualizer does not know.

    Args:
        textualizer: of the texts.
        events: those in the window, as the textualizer receives them.
        context: as the textualizer receives it.
        source: what errors call the textualizer.

    Raises:
        PluginError: the textualizer failed.
        PluginContractError: it did not return moments.
    """
    leaves = pl.col("at").min() + (context.as_of - context.observed_from + _MOMENT)
    users = events.group_by("user_key").agg(leaves=leaves).collect()
    changes = _of_textualizer(textualizer, events, context, source) if textualizer.knows_next_change else None
    if changes is None:
        return users.select("user_key", next_change=pl.lit(None, TIME))
    joined = users.join(changes, on="user_key", how="left")
    return joined.select("user_key", next_change=pl.min_horizontal("leaves", "next_change"))


def is_due(as_of: datetime) -> pl.Expr:
    """Return whether the text of an assignment's user may be another one at ``as_of`` by the passing of time."""
    return pl.col("next_change").is_null() | (pl.col("next_change") <= time_literal(as_of))


def _of_textualizer(
    textualizer: Textualizer, events: pl.LazyFrame, context: TextContext, source: str
) -> pl.DataFrame | None:
    try:
        returned: Any = textualizer.next_change(events, context)
        changes = returned.collect() if isinstance(returned, pl.LazyFrame) else returned
    except SegadminError:
        raise
    except (Exception, SystemExit, pl.exceptions.PanicException) as error:  # a panic of Polars is not an Exception
        raise PluginError(f"{source} failed in next_change(): {describe(error)}") from error
    if changes is None:
        return None
    if not isinstance(changes, pl.DataFrame):
        raise PluginContractError(
            f"{source} returned {type(changes).__name__} from next_change(), not a polars LazyFrame or None."
        )
    dtype = changes.schema.get("next_change")
    if not {"user_key", "next_change"} <= set(changes.columns) or not isinstance(dtype, pl.Datetime):
        raise PluginContractError(
            f"{source} returned {dict(changes.schema)} from next_change(); there must be user_key and next_change, a "
            "Datetime in UTC."
        )
    if dtype.time_zone != "UTC":
        raise PluginContractError(f"{source} returned moments in {dtype.time_zone or 'no time zone'}, not in UTC.")
    moments = changes.select(pl.col("user_key").cast(pl.Int64), pl.col("next_change").cast(TIME))
    return moments.group_by("user_key").agg(pl.col("next_change").min())
