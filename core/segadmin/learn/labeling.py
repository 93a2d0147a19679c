"""Deriving a label set from events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from segadmin.database import transaction
from segadmin.errors import DataError
from segadmin.events.keys import open_store
from segadmin.events.lake import Lake
from segadmin.learn.labeler import Labeler
from segadmin.plugins import load_plugins
from segadmin.records import LabelSet
from segadmin.settings import Settings


def label(settings: Settings, name: str, labeler: str, options: Mapping[str, Any]) -> LabelSet:
    """Run a labeler over all events and keep its labels as the set ``name``, replacing one of that name.

    Raises:
        PluginNotFound: there is no such labeler.
        DataError: there are no events, or the labeler cannot use them.
    """
    made: Labeler = load_plugins(settings).make("labeler", labeler, options)
    lake = Lake.of(settings)
    if not lake.exists("events"):
        raise DataError("There are no events to derive labels from. Import some: segadmin data import events FILE")
    labelled = made.label(lake.scan("events"))
    if labelled.rows.is_empty():
        raise DataError(f"The labeler {labeler!r} found no user to label.")
    buckets = open_store(settings).buckets
    rows = labelled.rows.with_columns(bucket=pl.col("user_key") & (buckets - 1), label_set=pl.lit(name))
    lake.replace_partition("labels", rows, "label_set", name)
    with transaction(settings) as session:
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
        return saved
