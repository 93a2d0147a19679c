"""Exports audiences of a snapshot."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import polars as pl

from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.source import Sink
from segadmin.errors import ConfigurationError, did_you_mean
from segadmin.events.formulas import escape_formulas
from segadmin.events.keys import show_key
from segadmin.settings import Settings
from segadmin.snapshots.policy import Override
from segadmin.snapshots.read import assignments
from segadmin.snapshots.segment_order import in_order, orders_of
from segadmin.storage.database import reading
from segadmin.storage.import_lock import users_stay
from segadmin.storage.lake import Lake
from segadmin.storage.records import SegmentSnapshot


@dataclass(frozen=True)
class Audience:
    """Selects users of a snapshot, and whether they are pseudonymous."""

    segment: str | None = None  #: only this segment
    min_probability: float = 0.0  #: minimum probability of the user's segment, unless a person set it
    user_ids: bool = False  #: the shop's own ids instead of pseudonyms


def audience(settings: Settings, snapshot: SegmentSnapshot, segments: list[str], selection: Audience) -> pl.LazyFrame:
    """Return the selected users, by descending probability.

    Args:
        settings: where the store is.
        snapshot: a published one.
        segments: of its model, in order.
        selection: which users.

    Returns:
        ``user`` (a pseudonym of 16 hex digits, or the shop's id), ``segment``, ``probability``, a column for the
        probability of each segment, ``scored_as_of``, ``model_version`` and ``overridden_by``: what decided about the
        segment instead of the model, such as ``correction``.

    Raises:
        ConfigurationError: there is no such segment.
    """
    assert snapshot.id is not None
    if selection.segment is not None and selection.segment not in segments:
        raise ConfigurationError(
            f"There is no segment {selection.segment!r}.{did_you_mean(selection.segment, segments)}"
        )
    with reading(settings) as session:
        orders = orders_of(session, snapshot)
    is_sure = (pl.col("probability") >= selection.min_probability) | (
        pl.col("overridden_by") == Override.CORRECTION.value
    ).fill_null(value=False)
    rows = assignments(settings, snapshot.id).with_columns(in_order(orders, segments)).filter(is_sure)
    if selection.segment is not None:
        rows = rows.filter(pl.col("segment") == selection.segment)
    columns = [pl.col("probabilities").list.get(n).alias(f"p_{segment}") for n, segment in enumerate(segments)]
    return (
        with_user(settings, rows, raw=selection.user_ids)
        .sort("probability", "user", descending=[True, False])
        .rename({"model_version_id": "model_version"})
        .select("user", "segment", "probability", *columns, "scored_as_of", "model_version", "overridden_by")
    )


def write(settings: Settings, frame: pl.LazyFrame, path: Path, *, raw_cells: bool = False) -> int:
    """Write ``frame`` to ``path`` with the sink for its suffix, and return the number of rows.

    Files in the store are written between erasures, which look through them.

    Args:
        settings: which plugins are loaded.
        frame: the rows.
        path: the file; its suffix selects the sink.
        raw_cells: do not escape text that a spreadsheet would run as a formula.

    Raises:
        ConfigurationError: no sink writes such files, or the folder does not exist.
        StorageError: the file cannot be written.
    """
    sink = find_sink(settings, path)
    in_store = path.resolve().is_relative_to(settings.store_path.resolve())
    with users_stay(settings) if in_store else nullcontext():
        return sink.write(escape_formulas(frame) if sink.formulas and not raw_cells else frame, path)


def find_sink(settings: Settings, path: Path) -> Sink:
    """Return the sink for the suffix of ``path``.

    Raises:
        ConfigurationError: no sink writes such files, or the folder does not exist.
    """
    plugins = load_plugins(settings)
    if not path.parent.is_dir():
        raise ConfigurationError(f"There is no folder {path.parent}. Make it first: mkdir -p {quote(str(path.parent))}")
    name = plugins.choose("sink", lambda sink: path.name.lower().endswith(tuple(sink.suffixes)))
    if name is None:
        suffixes = sorted(suffix for _, sink in plugins.classes("sink") for suffix in sink.suffixes)
        raise ConfigurationError(
            f"No sink writes {path.name!r}. Name the file with one of: {', '.join(suffixes)}.{plugins.failures}"
        )
    sink: Sink = plugins.make("sink", name)
    return sink


def with_user(settings: Settings, rows: pl.LazyFrame, *, raw: bool) -> pl.LazyFrame:
    """Return ``rows`` with a column ``user`` after ``user_key``: the shop's id if ``raw``, else a pseudonym."""
    if raw:
        tables = ("users", "merged_users")  # merged users are in the snapshot until the next refresh
        ids = pl.concat([Lake.of(settings).scan(table).select("user_key", "user") for table in tables])
        return rows.join(ids.unique("user_key"), on="user_key", how="left", maintain_order="left")
    return rows.with_columns(user=pl.col("user_key").map_elements(show_key, return_dtype=pl.String))
