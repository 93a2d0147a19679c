"""Evaluates earlier snapshots once the outcomes of their users are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from sqlmodel import Session, col, select

from segadmin.contracts.labeler import Labeler
from segadmin.evaluation.evaluated_on import EvaluatedOn
from segadmin.evaluation.reports import evaluation
from segadmin.labels.labeling import labelling_events
from segadmin.settings import Settings
from segadmin.snapshots.read import assignments
from segadmin.snapshots.segment_order import in_order, orders_of
from segadmin.storage.database import reading
from segadmin.storage.lake import Lake
from segadmin.storage.records import (
    CORRECT_KIND,
    Evaluation,
    Job,
    LabelSet,
    ModelVersion,
    SegmentSnapshot,
    SnapshotState,
)

Json = dict[str, Any]


def outcome_name(snapshot_id: int | None) -> str:
    """Return the name of a snapshot's evaluation."""
    return f"snapshot {snapshot_id}"


def unmeasured(session: Session, label_set: str) -> Sequence[tuple[SegmentSnapshot, ModelVersion]]:
    """Return the published snapshots whose outcomes are not measured yet, with their model versions.

    Those that were published for a correction alone have the probabilities of the snapshot before.
    """
    measured = select(Evaluation.name).where(Evaluation.split == EvaluatedOn.OUTCOME.value)
    names = set(session.exec(measured).all())
    published = (
        select(SegmentSnapshot, ModelVersion)
        .join(ModelVersion, col(ModelVersion.id) == col(SegmentSnapshot.model_version_id))
        .join(Job, col(Job.id) == col(SegmentSnapshot.job_id))
        .where(
            SegmentSnapshot.label_set == label_set,
            SegmentSnapshot.state == SnapshotState.PUBLISHED,
            Job.kind != CORRECT_KIND,
        )
        .order_by(col(SegmentSnapshot.id))
    )
    return [
        (snapshot, version)
        for snapshot, version in session.exec(published).all()
        if outcome_name(snapshot.id) not in names
    ]


def outcomes_of(
    settings: Settings, labeler: Labeler, label_set: LabelSet, snapshot: SegmentSnapshot
) -> pl.DataFrame | None:
    """Return the users of a snapshot whose outcomes are known; ``None`` while they are not.

    Users without an outcome from the labeler (for example, because they were new) are left out.

    Returns:
        ``user_key``, ``model_version_id``, ``probabilities`` in the order of the label set's segments, and ``target``,
        the place of the true segment.
    """
    assert snapshot.id is not None
    truth = labeler.outcomes(labelling_events(Lake.of(settings)), label_set.definition, snapshot.as_of)
    if truth is None:
        return None
    with reading(settings) as session:
        orders = orders_of(session, snapshot)
    target = pl.col("truth").cast(pl.Enum(label_set.segments)).to_physical().cast(pl.Int64).alias("target")
    columns = ("user_key", "model_version_id", in_order(orders, label_set.segments))
    outcomes = truth.select("user_key", pl.col("segment").alias("truth"))
    predicted = assignments(settings, snapshot.id).select(*columns).collect()
    return predicted.join(outcomes, on="user_key").with_columns(target).drop("truth")


def measure_outcomes(
    settings: Settings, labeler: Labeler, label_set: LabelSet, snapshot: SegmentSnapshot
) -> list[Json]:
    """Return the metrics of a snapshot as rows of ``Evaluation``; none while its outcomes are not known.

    The first is of the snapshot's model. While a canary was running, the second is of the challenger.
    """
    users = outcomes_of(settings, labeler, label_set, snapshot)
    if users is None or users.is_empty():
        return []
    if snapshot.canary_id is None:
        return [_evaluation(users, label_set, snapshot.model_version_id, outcome_name(snapshot.id))]
    groups = {version: rows for (version,), rows in users.group_by("model_version_id")}
    own = groups.pop(snapshot.model_version_id, users.clear())
    rows = [_evaluation(own, label_set, snapshot.model_version_id, outcome_name(snapshot.id))] if own.height else []
    name = f"{outcome_name(snapshot.id)}, canary"
    return rows + [_evaluation(group, label_set, version, name) for version, group in groups.items()]


def probabilities_and_targets(users: pl.DataFrame) -> tuple[Any, Any]:
    """Return the probabilities ``(n_users, n_segments)`` and the targets ``(n_users,)`` of :func:`outcomes_of`."""
    width = len(users["probabilities"][0]) if users.height else 0
    probabilities = users["probabilities"].cast(pl.Array(pl.Float32, width)).to_numpy()
    return probabilities, users["target"].to_numpy()


def _evaluation(users: pl.DataFrame, label_set: LabelSet, version: int, name: str) -> Json:
    probabilities, targets = probabilities_and_targets(users)
    row = evaluation(name, EvaluatedOn.OUTCOME, probabilities, targets, tuple(label_set.segments))
    return {**row, "model_version_id": version}
