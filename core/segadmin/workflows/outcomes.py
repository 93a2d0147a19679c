"""The ``outcomes`` stage of ``refresh``: how earlier snapshots did, once time has told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from sqlmodel import Session, col, select

from segadmin.contracts.labeler import Labeler
from segadmin.contracts.plugins import load_plugins
from segadmin.jobs.attempt import Attempt, Outcome
from segadmin.labels.labeling import labelling_events
from segadmin.settings import Settings
from segadmin.snapshots.read import assignments
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Evaluation, LabelSet, ModelVersion, SegmentSnapshot, SnapshotState
from segadmin.training.fitting import evaluation
from segadmin.workflows.prepared import Prepared

Json = dict[str, Any]
SPLIT = "outcome"


def evaluate_outcomes(attempt: Attempt) -> Outcome:
    """Measure every snapshot whose users' outcomes are known by now and that was not measured before.

    Users of whom the labeler says nothing (not seen before the snapshot, say) are not counted.
    """
    prepared = Prepared.model_validate(attempt.input("prepare"))
    with transaction(attempt.settings) as session:
        label_set = session.get(LabelSet, prepared.label_set)
        waiting = _unmeasured(session, prepared.label_set)
    labeler = _labeler(attempt.settings, label_set)
    if label_set is None or labeler is None:
        reason = f"the labels {prepared.label_set!r} are not derived from events, so their outcomes cannot be seen"
        return Outcome({"measured": [], "note": reason})
    rows: list[Json] = []
    for n, (snapshot, version) in enumerate(waiting):
        attempt.progress(n / len(waiting), f"snapshot {snapshot.id}")
        if version.segments == label_set.segments:
            rows += _measure(attempt.settings, labeler, label_set, snapshot)
    told = [{"snapshot_id": row["snapshot_id"], "rows": row["rows"]} for row in rows]
    note = "" if rows else f"the outcomes of {len(waiting)} snapshots are not known yet" if waiting else "all known"

    def commit(session: Session) -> Json:
        for row in rows:
            facts = {name: value for name, value in row.items() if name != "snapshot_id"}
            session.add(Evaluation(job_id=attempt.job_id, **facts))
        return {}

    return Outcome({"measured": told, "note": note}, commit=commit)


def outcome_name(snapshot_id: int | None) -> str:
    """Return the name that a snapshot's evaluation has."""
    return f"snapshot {snapshot_id}"


def _unmeasured(session: Session, label_set: str) -> Sequence[tuple[SegmentSnapshot, ModelVersion]]:
    done = select(Evaluation.name).where(Evaluation.split == SPLIT)
    names = set(session.exec(done).all())
    published = (
        select(SegmentSnapshot, ModelVersion)
        .join(ModelVersion, col(ModelVersion.id) == col(SegmentSnapshot.model_version_id))
        .where(SegmentSnapshot.label_set == label_set, SegmentSnapshot.state == SnapshotState.PUBLISHED)
        .order_by(col(SegmentSnapshot.id))
    )
    return [(one, version) for one, version in session.exec(published).all() if outcome_name(one.id) not in names]


def _labeler(settings: Settings, label_set: LabelSet | None) -> Labeler | None:
    plugins = load_plugins(settings)
    if label_set is None or label_set.labeler not in plugins.names("labeler"):
        return None
    labeler: Labeler = plugins.make("labeler", label_set.labeler)
    return labeler


def _measure(settings: Settings, labeler: Labeler, label_set: LabelSet, snapshot: SegmentSnapshot) -> list[Json]:
    assert snapshot.id is not None
    truth = labeler.outcomes(labelling_events(Lake.of(settings)), label_set.definition, snapshot.as_of)
    if truth is None:
        return []
    order = pl.Enum(label_set.segments)
    target = pl.col("truth").cast(order).to_physical().cast(pl.Int64).alias("target")
    said = assignments(settings, snapshot.id).select("user_key", "probabilities").collect()
    known = said.join(truth.select("user_key", pl.col("segment").alias("truth")), on="user_key").with_columns(target)
    if known.is_empty():
        return []
    width = pl.Array(pl.Float32, len(label_set.segments))
    probabilities = known["probabilities"].cast(width).to_numpy()
    found = evaluation(
        outcome_name(snapshot.id), SPLIT, probabilities, known["target"].to_numpy(), tuple(label_set.segments)
    )
    return [{**found, "model_version_id": snapshot.model_version_id, "snapshot_id": snapshot.id}]
