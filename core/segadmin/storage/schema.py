"""The schemas of the lake's tables."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import polars as pl
from polars._typing import PolarsDataType

TIME = pl.Datetime("us", "UTC")
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


def microseconds(moment: datetime) -> int:
    """Return ``moment``, which has a time zone, as :data:`TIME` stores it: in microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def time_literal(moment: datetime) -> pl.Expr:
    """Return ``moment``, which has a time zone, as an expression; ``pl.lit`` takes eight times as long."""
    return pl.lit(microseconds(moment), pl.Int64).cast(TIME)


def _schema(columns: Mapping[str, PolarsDataType]) -> pl.Schema:
    return pl.Schema(columns)


#: The column of the key that a row of a merged user came under; null: ``user_key`` itself. Most frames lack it.
CAME_AS = "came_as"
#: Events of users. ``price`` is the total of the line, ``duration`` is in seconds, ``extras`` is a JSON object.
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
        CAME_AS: pl.Int64,
    }
)
#: What the shop sells: one row per item, from the newest import.
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
#: Vectors of items, such as embeddings of pictures: one row per item and name; all of a name have the same length.
ITEM_VECTORS = _schema({"item": pl.String, "name": pl.String, "vector": pl.List(pl.Float32)})
#: Training labels: the observed segment of a user.
LABELS = _schema(
    {
        "bucket": pl.Int32,
        "user_key": pl.Int64,
        "label_set": pl.String,
        "segment": pl.String,
        "observed_from": TIME,
        "as_of": TIME,
        "outcome_until": TIME,
        CAME_AS: pl.Int64,
    }
)
#: The shop's own user ids; only this table and the next one hold them.
USERS = _schema({"bucket": pl.Int32, "user_key": pl.Int64, "user": pl.String})
#: Users who were merged into another one, whose key is ``merged_into``; they are not in ``USERS``.
MERGED_USERS = _schema({**USERS, "merged_into": pl.Int64})
#: Unusable rows, unchanged. ``line`` is the row's line in the file; a header is line 1; a cell with line breaks counts
#: as one line.
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
#: The history of assignments; :mod:`segadmin.storage.assignments` returns the rows that make up a snapshot.
#: ``probabilities`` are in the order of the model's segments. ``events_hash`` and ``items_hash`` tell whether what the
#: user's text was made of has changed since (:mod:`segadmin.text.sources`). ``changed_in`` is the snapshot that the row
#: was scored for, and ``cause`` why. ``has_left``: the user is no longer in the store. ``next_change``: until then
#: the text is the same unless events come or change; null if that is not known. These six columns are null in rows of
#: older releases. ``overridden_by`` is what decided about ``segment`` instead of the model, a
#: :class:`segadmin.snapshots.policy.Override`, and ``model_segment`` the segment by the model in that case; both are
#: null if the model decided.
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
        "events_hash": pl.Int64,
        "items_hash": pl.Int64,
        "cause": pl.String,
        "changed_in": pl.Int64,
        "has_left": pl.Boolean,
        "next_change": TIME,
        "overridden_by": pl.String,
        "model_segment": pl.String,
    }
)

#: The users whose events a model was trained on, by training job; an erasure reads it.
TRAININGS = _schema({"job_id": pl.Int64, "user_key": pl.Int64})

#: The test rows and predictions of each model version, by training job and digest of the artifact: ``target`` is the
#: index of the true segment, ``events`` the number of events of the user in the window.
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

#: The feed: who entered, left or moved between segments when another snapshot became current. ``sequence`` is the
#: number of the :class:`segadmin.storage.records.SnapshotSwitch`, ``position`` counts its records from 1. A segment is
#: null if the user is not in the snapshot (``entered``, ``left``) or too little is known of the user.
CHANGES = _schema(
    {
        "label_set": pl.String,
        "sequence": pl.Int64,
        "position": pl.Int64,
        "snapshot_id": pl.Int64,
        "user_key": pl.Int64,
        "change": pl.String,
        "from_segment": pl.String,
        "to_segment": pl.String,
        "cause": pl.String,
        "as_of": TIME,
    }
)

SCHEMAS = {
    "events": EVENTS,
    "items": ITEMS,
    "item_vectors": ITEM_VECTORS,
    "labels": LABELS,
    "users": USERS,
    "merged_users": MERGED_USERS,
    # Rows of merged users that would be doubled, as they were before the merge; undoing it brings them back.
    "event_duplicates": EVENTS,
    "label_duplicates": LABELS,
    "quarantine": QUARANTINE,
    "assignments": ASSIGNMENTS,
    "trainings": TRAININGS,
    "predictions": PREDICTIONS,
    "changes": CHANGES,
}
PARTITIONS = {
    "events": ["bucket"],
    "labels": ["label_set"],
    "assignments": ["snapshot_id"],
    "predictions": ["job_id"],
}
#: The columns whose minimum and maximum Delta may store for each file, unencrypted and as long as the log is kept:
#: never ids, keys, rows or texts.
STATISTICS = {
    "events": ["at"],
    "items": ["price"],
    "item_vectors": ["name"],
    "labels": ["observed_from", "as_of", "outcome_until"],
    "users": ["bucket"],
    "merged_users": ["bucket"],
    "event_duplicates": ["at"],
    "label_duplicates": ["as_of"],
    "quarantine": ["import_id", "line"],
    "assignments": ["scored_as_of"],
    "trainings": ["job_id"],
    "predictions": ["as_of"],
    "changes": ["sequence", "as_of"],
}
