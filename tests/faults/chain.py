"""A job kind whose publish is the real one, over the real lake; only the model is replaced by a rule.

``python -m celery -A tests.faults.chain worker`` runs a worker that knows it.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import polars as pl
from sqlmodel import Session, select

from segadmin.contracts.plugins import Registered
from segadmin.inference.predictor import likeliest
from segadmin.inference.scoring import SCORES
from segadmin.jobs.attempt import Attempt, StageResult
from segadmin.jobs.plugin_guard import calling
from segadmin.jobs.registry import Request, Stage, Workflow, register
from segadmin.models.aliases import current_snapshot, pointed
from segadmin.settings import Settings
from segadmin.snapshots.read import assignments
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Evaluation, Job, JobState, Lock, ModelVersion, SegmentSnapshot, SnapshotState, Step
from segadmin.text.plan import TextPlan
from segadmin.text.recipe import Recipe
from segadmin.workflows.prepared import PreparedSegments
from segadmin.workflows.publishing import publish
from segadmin.workflows.scored import ScoreOutput
from tests.planted import START

SEGMENTS = ("low", "high")
AS_OF = START + timedelta(weeks=4)


def prepare(attempt: Attempt) -> StageResult:
    """Say which model scores, and when."""
    recipe = Recipe(
        textualizer="mixed", textualizer_version="1", textualizer_options={}, distribution="", language="en",
        window_days=28.0,
    )  # fmt: skip
    with transaction(attempt.settings) as session:
        version = session.exec(select(ModelVersion)).first()
        assert version is not None
    prepared = PreparedSegments(
        text=TextPlan(recipe=recipe, scoring=recipe.window(AS_OF)),
        label_set=attempt.options["labels"],
        segments=SEGMENTS,
        model_version_id=version.id,
    )
    return StageResult(prepared, commit=_count(attempt))


def score(attempt: Attempt) -> StageResult:
    """Score every user by a rule, writing as the real stage does."""
    for piece in range(int(attempt.options.get("pieces", 0))):
        attempt.progress(piece / attempt.options["pieces"])
        time.sleep(0.05)
    if attempt.options.get("poison") and attempt.buckets.start == 0:
        with calling(attempt, Registered("backbone", "poison", "", "somebody's-plugin 1.2"), "predict"):
            POISONS[attempt.options["poison"]]()
    users = Lake.of(attempt.settings).scan("users", buckets=list(attempt.buckets)).collect().sort("user_key")
    share = (users["user_key"].to_numpy() % 1000) / 1000.0
    probabilities = pl.Series("probabilities", [[1 - high, high] for high in share], dtype=pl.List(pl.Float32))
    scores = users.select(
        "bucket",
        "user_key",
        *likeliest(probabilities, SEGMENTS),
        probabilities,
        pl.lit(attempt.output(PreparedSegments).model_version_id).alias("model_version_id"),
        pl.lit(0).alias("phrase_hash"),
        pl.lit(AS_OF).alias("scored_as_of"),
        *(pl.lit(None).alias(name) for name in ("events_hash", "items_hash", "cause", "next_change")),
    ).select(pl.col(name).cast(kind) for name, kind in SCORES.items())
    attempt.progress(0.9, "writing")
    buckets = (attempt.buckets.start, attempt.buckets.stop - 1)
    output = ScoreOutput(buckets=buckets, scores=attempt.write(scores, "scores"), rescored=users.height, carried=0)
    return StageResult(output, commit=_count(attempt))


def _raise() -> None:
    raise ValueError("I do not like this data")


def _eat() -> None:
    eaten = []
    while True:
        eaten.append(bytearray(50_000_000))
        time.sleep(0.05)


#: What a plugin may do to its worker.
POISONS: dict[str, Callable[[], object]] = {
    "raises": _raise,
    "exits": lambda: sys.exit(3),
    "exits at once": lambda: os._exit(3),
    "hangs": lambda: time.sleep(600),
    "eats memory": _eat,
    "crashes": lambda: ctypes.string_at(0),
}


def _count(attempt: Attempt):  # type: ignore[no-untyped-def]  # noqa: ANN202
    """Leave one row for every attempt that counted."""

    def commit(session: Session) -> dict[str, object]:
        name = f"{attempt.stage}-{attempt.buckets.start if attempt.buckets else -1}"
        session.add(Evaluation(job_id=attempt.job_id, name=name, split="", rows=attempt.number))
        return {}

    return commit


def broken_promises(settings: Settings, job_id: int, users: int) -> list[str]:
    """Return what is not as it must be after a job has succeeded, from database and disk alone."""
    broken: list[str] = []
    with transaction(settings) as session:
        job = session.get_one(Job, job_id)
        steps = session.exec(select(Step).where(Step.job_id == job_id)).all()
        counted = sorted(row.name for row in session.exec(select(Evaluation).where(Evaluation.job_id == job_id)).all())
        snapshots = session.exec(select(SegmentSnapshot).where(SegmentSnapshot.job_id == job_id)).all()
        current = pointed(session, current_snapshot(job.options["labels"]))
        locks = session.exec(select(Lock).where(Lock.job_id == job_id)).all()
    if job.state != JobState.SUCCEEDED:
        broken.append(f"the job is {job.state}: {job.error}")
    if any(not step.state.done for step in steps):
        broken.append("steps are not done: " + ", ".join(f"{step.stage} {step.state}" for step in steps))
    if counted != sorted(f"{step.stage}-{step.bucket_from}" for step in steps if step.stage != "publish"):
        broken.append(f"steps counted otherwise than once: {counted}")
    if [snapshot.state for snapshot in snapshots] != [SnapshotState.PUBLISHED]:
        broken.append(f"snapshots: {[snapshot.state for snapshot in snapshots]}")
    elif current is None or (current != snapshots[0].id and job.options.get("alone", True)):
        broken.append(f"the current snapshot is {current}, not {snapshots[0].id}")
    elif snapshots[0].users != users:
        broken.append(f"the snapshot says {snapshots[0].users} users of {users}")
    if locks:
        broken.append(f"locks are still held: {[lock.name for lock in locks]}")
    broken += _broken_files(settings, steps)
    return broken


def _broken_files(settings: Settings, steps: Sequence[Step]) -> list[str]:
    broken = []
    for step in steps:
        for written in (value for value in step.result.values() if isinstance(value, dict) and "sha256" in value):
            path = settings.store_path / written["path"]
            if path.name.startswith(".") or not path.exists():
                broken.append(f"{step.stage} refers to {path}, which is temporary or missing")
            elif hashlib.sha256(path.read_bytes()).hexdigest() != written["sha256"]:
                broken.append(f"{path} has other content than was written")
    return broken


def content_hash(settings: Settings, job_id: int) -> str:
    """Return a digest of the snapshot that a job published: every row, in order."""
    with transaction(settings) as session:
        snapshot = session.exec(select(SegmentSnapshot).where(SegmentSnapshot.job_id == job_id)).one()
    assert snapshot.id is not None
    numbers = ("snapshot_id", "model_version_id", "changed_in", "cause")  # of this run
    rows = assignments(settings, snapshot.id).drop(numbers).collect().sort("user_key")
    return hashlib.sha256(rows.write_ndjson().encode()).hexdigest()


register(
    Workflow(
        "chain",
        Request,
        (
            Stage("prepare", prepare, holds="snapshot"),
            Stage("score", score, after=("prepare",), per_buckets=True),
            Stage("publish", publish, after=("score",)),
        ),
    )
)

from segadmin_worker.app import app  # noqa: E402, F401  (after the registration, for Celery's -A)
