"""The tables of the lake, column by column."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
from polars._typing import PolarsDataType

TIME = pl.Datetime("us", "UTC")


def _schema(columns: Mapping[str, PolarsDataType]) -> pl.Schema:
    return pl.Schema(columns)


#: What users did. ``price`` is of the whole line, ``duration`` in seconds, ``extras`` a JSON object.
EVENTS = _schema(
    {
        "bucket": pl.Int32,
        "user_key": pl.Int64,
        "event_id": pl.Int64,
        "kind": pl.String,
        "item": pl.String,
        "at": TIME,
        "quantity": pl.Float64,
        "price": pl.Float64,
        "duration": pl.Float64,
        "rating": pl.Float64,
        "text": pl.String,
        "extras": pl.String,
    }
)
#: What the shop sells; one row an item, the newest import wins.
ITEMS = _schema(
    {
        "item": pl.String,
        "title": pl.String,
        "category": pl.String,
        "brand": pl.String,
        "price": pl.Float64,
        "extras": pl.String,
    }
)
#: What a model learns from: the segment that a user turned out to be in.
LABELS = _schema(
    {
        "bucket": pl.Int32,
        "user_key": pl.Int64,
        "label_set": pl.String,
        "segment": pl.String,
        "observed_from": TIME,
        "as_of": TIME,
        "outcome_until": TIME,
    }
)
#: The shop's own ids, kept apart so that nothing else needs them.
USERS = _schema({"bucket": pl.Int32, "user_key": pl.Int64, "user": pl.String})
#: Rows that could not be used, as they came. ``line`` is the row's in the file, the header being line 1 where
#: there is one; cells with line breaks count as one line.
QUARANTINE = _schema(
    {
        "import_id": pl.Int64,
        "table": pl.String,
        "line": pl.Int64,
        "reason": pl.String,
        "column": pl.String,
        "value": pl.String,
        "row": pl.String,
    }
)
#: Who is in which segment, of every snapshot; ``probabilities`` in the order of the model's segments.
ASSIGNMENTS = _schema(
    {
        "snapshot_id": pl.Int64,
        "bucket": pl.Int32,
        "user_key": pl.Int64,
        "segment": pl.String,
        "probability": pl.Float32,
        "probabilities": pl.List(pl.Float32),
        "model_version_id": pl.Int64,
        "phrase_hash": pl.Int64,
        "scored_as_of": TIME,
    }
)

#: Whose events a model learnt from, by the job that trained it: what an erasure asks.
TRAININGS = _schema({"job_id": pl.Int64, "user_key": pl.Int64})

#: What each model version was tested on and what it said, by the job that trained it and the artifact's digest:
#: ``target`` is the place of the true segment, ``events`` how many events the user had in the window.
PREDICTIONS = _schema(
    {
        "job_id": pl.Int64,
        "artifact": pl.String,
        "user_key": pl.Int64,
        "as_of": TIME,
        "target": pl.Int64,
        "unseen": pl.Boolean,
        "events": pl.Int64,
        "probabilities": pl.List(pl.Float32),
    }
)

SCHEMAS = {
    "events": EVENTS,
    "items": ITEMS,
    "labels": LABELS,
    "users": USERS,
    "quarantine": QUARANTINE,
    "assignments": ASSIGNMENTS,
    "trainings": TRAININGS,
    "predictions": PREDICTIONS,
}
PARTITIONS = {
    "events": ["bucket"],
    "labels": ["label_set"],
    "assignments": ["snapshot_id"],
    "predictions": ["job_id"],
}
#: The columns whose least and greatest values Delta may write down of each file, in clear and for as long as its log
#: is kept: never ids, keys, rows or texts.
STATISTICS = {
    "events": ["at"],
    "items": ["price"],
    "labels": ["observed_from", "as_of", "outcome_until"],
    "users": ["bucket"],
    "quarantine": ["import_id", "line"],
    "assignments": ["scored_as_of"],
    "trainings": ["job_id"],
    "predictions": ["as_of"],
}
