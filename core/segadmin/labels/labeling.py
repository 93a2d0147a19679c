"""Derives a label set from events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from segadmin.contracts.labeler import Labeler, Labelled
from segadmin.contracts.plugins import load_plugins
from segadmin.counts import counted
from segadmin.errors import DataError, PluginContractError
from segadmin.events.items import OF_ITEMS, with_items
from segadmin.events.merge_rows import put_labels
from segadmin.hashing import bucket_of
from segadmin.names import check_names
from segadmin.settings import Settings
from segadmin.storage.audit import entry
from segadmin.storage.database import transaction
from segadmin.storage.import_lock import alone, users_stay
from segadmin.storage.label_sets import check_label_set
from segadmin.storage.lake import Lake
from segadmin.storage.records import LabelSet
from segadmin.storage.store import open_store

#: The columns that labels must have.
_COLUMNS = ("user_key", "segment", "observed_from", "as_of", "outcome_until")


def label(settings: Settings, name: str, labeler: str, options: Mapping[str, Any]) -> LabelSet:
    """Run a labeler on all events and store its labels as the label set ``name``, replacing an existing one.

    Raises:
        PluginNotFound: there is no such labeler.
        DataError: there are no events, the labeler cannot use them, or a name is invalid.
    """
    check_label_set(settings, name)
    instance: Labeler = load_plugins(settings).make("labeler", labeler, options)
    with users_stay(settings):
        return _label(settings, name, labeler, instance, options)


def _label(settings: Settings, name: str, labeler: str, instance: Labeler, options: Mapping[str, Any]) -> LabelSet:
    lake = Lake.of(settings)
    if not lake.exists("events"):
        raise DataError("There are no events to derive labels from. Import some: segadmin data import events FILE")
    labelled = instance.label(labelling_events(lake))
    _check_returned(labeler, labelled)
    if labelled.rows.is_empty():
        raise DataError(f"The labeler {labeler!r} found no user to label.")
    _check_windows(labeler, labelled.rows)
    check_names("segment", labelled.segments)
    buckets = open_store(settings).buckets
    rows = labelled.rows.with_columns(bucket=bucket_of(pl.col("user_key"), buckets), label_set=pl.lit(name))
    with alone(settings):  # users who were merged meanwhile have their labels under the other's key
        put_labels(lake, rows, name, buckets)
    with transaction(settings) as session:
        before = session.get(LabelSet, name)
        facts = None if before is None else {"labeler": before.labeler, "rows": before.rows}
        saved = session.merge(
            LabelSet(
                name=name,
                labeler=labeler,
                definition={"options": dict(options), **labelled.definition},
                segments=list(labelled.segments),
                rows=rows.height,
            )
        )
        session.flush()
        now = {"labeler": labeler, "rows": rows.height}
        session.add(entry("labels.derive", f"label set {name}", before=facts, after=now))
        return saved


def labeler_of(settings: Settings, label_set: LabelSet | None) -> Labeler | None:
    """Return the labeler that derived a label set; ``None`` if it was imported or the labeler is not installed."""
    plugins = load_plugins(settings)
    if label_set is None or label_set.labeler not in plugins.names("labeler"):
        return None
    labeler: Labeler = plugins.make("labeler", label_set.labeler, label_set.definition.get("options") or {})
    return labeler


def labelling_events(lake: Lake) -> pl.LazyFrame:
    """Return all events with the attributes of their items, as labelers receive them."""
    return with_items(lake.scan("events"), lake.scan("items").select("item", *OF_ITEMS, item_extras="extras").collect())


def _check_returned(labeler: str, labelled: object) -> None:
    """Check the type and the columns of what a labeler returned.

    Raises:
        PluginContractError: with the returned type, or the missing columns.
    """
    if not isinstance(labelled, Labelled) or not isinstance(labelled.rows, pl.DataFrame):
        returned = labelled.rows if isinstance(labelled, Labelled) else labelled
        raise PluginContractError(
            f"The labeler {labeler!r} returned {type(returned).__name__} from label(), not Labelled with a DataFrame."
        )
    missing = [name for name in _COLUMNS if name not in labelled.rows.columns]
    if missing:
        raise PluginContractError(
            f"The labeler {labeler!r} returned no column {', '.join(missing)}, but {labelled.rows.columns}."
        )


def _check_windows(labeler: str, rows: pl.DataFrame) -> None:
    """Refuse labels that were known before the text ends, which would leak the label into the text.

    Raises:
        PluginContractError: with the times of the first such row.
    """
    overlapping = rows.filter(
        (pl.col("observed_from") >= pl.col("as_of")) | (pl.col("outcome_until") < pl.col("as_of"))
    )
    if overlapping.height:
        first, rows = overlapping.row(0, named=True), counted(overlapping.height, "row")
        raise PluginContractError(
            f"The labeler {labeler!r} gave {rows} whose outcome window overlaps the observed one: "
            f"observed {first['observed_from']:%Y-%m-%d} to {first['as_of']:%Y-%m-%d}, outcome known on "
            f"{first['outcome_until']:%Y-%m-%d}. The outcome must begin where the observation ends."
        )
