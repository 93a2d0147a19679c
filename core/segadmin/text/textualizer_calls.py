"""Calls of a textualizer: its errors become a :class:`PluginError`, and what it returns is checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import polars as pl

from segadmin.contracts.plugin_errors import describe
from segadmin.contracts.textualizer import TextContext, Textualizer
from segadmin.errors import PluginContractError, PluginError, SegadminError
from segadmin.storage.schema import TIME

if TYPE_CHECKING:
    from polars._typing import EngineType


def phrases_of(
    textualizer: Textualizer, events: pl.LazyFrame, context: TextContext, source: str, engine: EngineType
) -> pl.DataFrame:
    """Return the textualizer's phrases of ``events``: ``user_key``, ``position`` and ``phrase``.

    Args:
        textualizer: of the texts.
        events: those in the window, with the columns that textualizers get.
        context: of the texts.
        source: what errors call the textualizer.
        engine: of Polars, which collects the phrases.

    Raises:
        PluginError: the textualizer failed.
        PluginContractError: it did not return phrases.
    """
    with _plugin_errors(source, "phrases"):
        returned: Any = textualizer.phrases(events, context)
        phrases: pl.DataFrame = returned.collect(engine=engine) if isinstance(returned, pl.LazyFrame) else returned
    if not isinstance(phrases, pl.DataFrame):
        raise PluginContractError(f"{source} returned {type(phrases).__name__} from phrases(), not a polars LazyFrame.")
    missing = {"user_key", "position", "phrase"} - set(phrases.columns)
    if missing:
        raise PluginContractError(f"{source} returned no column {', '.join(sorted(missing))}, but {phrases.columns}.")
    if phrases.schema["phrase"] not in (pl.String, pl.Categorical) or not phrases.schema["position"].is_numeric():
        raise PluginContractError(
            f"{source} returned phrase as {phrases.schema['phrase']} and position as "
            f"{phrases.schema['position']}; they must be String and a number."
        )
    if phrases["phrase"].null_count() or phrases["position"].null_count():
        raise PluginContractError(f"{source} returned nulls in phrase or position. Leave such rows out, or fill them.")
    return phrases


def next_changes_of(
    textualizer: Textualizer, events: pl.LazyFrame, context: TextContext, source: str
) -> pl.DataFrame | None:
    """Return the textualizer's ``next_change`` by ``user_key``; ``None`` if it does not know it of these events.

    Args:
        textualizer: of the texts.
        events: as for :func:`phrases_of`.
        context: of the texts.
        source: what errors call the textualizer.

    Raises:
        PluginError: the textualizer failed.
        PluginContractError: it did not return moments.
    """
    with _plugin_errors(source, "next_change"):
        returned: Any = textualizer.next_change(events, context)
        changes = returned.collect() if isinstance(returned, pl.LazyFrame) else returned
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


@contextmanager
def _plugin_errors(source: str, method: str) -> Iterator[None]:
    """Raise an unexpected error of the textualizer as one that names it and its method."""
    try:
        yield
    except SegadminError:
        raise
    except (Exception, SystemExit, pl.exceptions.PanicException) as error:  # a panic of Polars is not an Exception
        raise PluginError(f"{source} failed in {method}(): {describe(error)}") from error
