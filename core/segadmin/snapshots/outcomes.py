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
from segadmin.storage.lake import Lake
from segadmin.storage.records import Evaluation, LabelSet, ModelVersion, SegmentSnapshot, SnapshotState

Json = dict[str, Any]


def outcome_name(snapshot_id: int | None) -> str:
    """Return the name of a snapshot's evaluation."""
    return f"snapshot {snapshot_id}"


def unmeasured(session: Session, label_set: str) -> Sequence[tuple[SegmentSnapshot, ModelVersion]]:
    """Return the published snapshots whose outcomes are not measured yet, with their model versions."""
    measured = select(Evaluation.name).where(Evaluation.split == EvaluatedOn.OUTCOME.value)
    names = set(session.exec(measured).all())
    published = (
        select(SegmentSnapshot, ModelVersion)
        .join(ModelVersion, col(ModelVersion.id) == col(SegmentSnapshot.model_version_id))
        .where(SegmentSnapshot.label_set == label_set, SegmentSnapshot.state == SnapshotState.PUBLISHED)
        .order_by(col(SegmentSnapshot.id))
    )
    return [
        (snapshot, version)
        for snapshot, version in session.exec(published).all()
        if outcome_name(snapshot.id) not in names
    ]


def measure_outcomes(
    settings: Settings, labeler: Labeler, label_set: LabelSet, snapshot: SegmentSnapshot
) -> Json | None:
    """Return the metrics of a snapshot as a row of ``Evaluation``; ``None`` while its outcomes are not known.

    Users without an outcome from the labeler (for example, because they were new) are not counted.
    """
    assert snapshot.id is not None
    truth = labeler.outcomes(labelling_events(Lake.of(settings)), label_set.definition, snapshot.as_of)
    if truth is None:
        return None
    target = pl.col("truth").cast(pl.Enum(label_set.segments)).to_physical().cast(pl.Int64).alias("target")
    predicted = assignments(settings, snapshot.id).select("user_key", "probabilities").collect()
    outcomes = truth.select("user_key", pl.col("segment").alias("truth"))
    joined = predicted.join(outcomes, on="user_key").with_columns(target)
    if joined.is_empty():
        return None
    probabilities = joined["probabilities"].cast(pl.Array(pl.Float32, len(label_set.segments))).to_numpy()
    targets, segments = joined["target"].to_numpy(), tuple(label_set.segments)
    row = evaluation(outcome_name(snapshot.id), EvaluatedOn.OUTCOME, probabilities, targets, segments)
    return {**row, "model_version_id": snapshot.model_version_id}
