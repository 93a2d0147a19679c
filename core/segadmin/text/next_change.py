"""When users' texts may next change by the passing of time alone: by recency words, or events that leave the window."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl

from segadmin.contracts.textualizer import TextContext, Textualizer
from segadmin.storage.schema import TIME, time_literal
from segadmin.text.textualizer_calls import next_changes_of

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
    changes = next_changes_of(textualizer, events, context, source) if textualizer.knows_next_change else None
    if changes is None:
        return users.select("user_key", next_change=pl.lit(None, TIME))
    joined = users.join(changes, on="user_key", how="left")
    return joined.select("user_key", next_change=pl.min_horizontal("leaves", "next_change"))


def is_due(as_of: datetime) -> pl.Expr:
    """Return whether the text of an assignment's user may be another one at ``as_of`` by the passing of time."""
    return pl.col("next_change").is_null() | (pl.col("next_change") <= time_literal(as_of))
