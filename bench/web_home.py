"""A home with a million users, written by the storage functions: a trained model, snapshots, events and jobs.

The model is a real one, of a small planted shop. Its users are joined by generated ones, each with a few events, who
enter with the second snapshot, which is written whole; each later one has rows of a hundredth of the users. So what
pages read has the shape that refreshes leave, but nobody waits for a million texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
from sqlalchemy import insert
from sqlmodel import Session, col, select

from bench.diff import CHANGED, rows
from segadmin.events.keys import keys_of
from segadmin.models.aliases import switch_snapshot
from segadmin.settings import Settings
from segadmin.snapshots.policy import Cause
from segadmin.snapshots.publish import commit_assignments
from segadmin.snapshots.read import find_snapshot, segments_of
from segadmin.storage import database
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import (
    Job,
    JobState,
    SegmentSnapshot,
    SegmentSummary,
    SnapshotState,
    Step,
    StepState,
    utcnow,
)

BUCKETS, SNAPSHOTS, EVENTS_EACH = 64, 12, 3
SEGMENTS = ("low", "mid", "high")
#: Rows of one insertion.
_BATCH = 10_000


def large_home(home: Path, users: int) -> Settings:
    """Make the home and return its settings."""
    from tests.planted import label_future_spend, plant, retrain

    settings = Settings(home=home, buckets=BUCKETS)
    plant(settings, buckets=BUCKETS)
    label_future_spend(settings)
    retrain(settings).all()
    with transaction(settings) as session:
        for job in session.exec(select(Job)).all():
            job.state, job.finished_at = JobState.SUCCEEDED, utcnow()
    keys = _add_users(settings, users)
    _add_events(settings, keys)
    _add_snapshots(settings, keys)
    database.engine(settings).dispose()
    return settings


def _add_users(settings: Settings, users: int) -> pl.DataFrame:
    lake = Lake.of(settings)
    keyed = keys_of(pl.Series("user", [f"customer-{n}" for n in range(users)]), settings.secret(), BUCKETS)
    lake.append("users", keyed.sort("bucket", "user_key"))  # as an import writes them
    return lake.scan("users").select("bucket", "user_key").sort("bucket", "user_key").collect()


def _add_events(settings: Settings, keys: pl.DataFrame) -> None:
    lake, random = Lake.of(settings), np.random.default_rng(2)
    items = lake.scan("items").select("item").collect()["item"]
    newest = lake.latest_event
    assert newest is not None
    columns = lake.scan("events").collect_schema()
    for _ in range(EVENTS_EACH):
        seconds = random.integers(60, 80 * 86_400, keys.height)
        frame = keys.with_columns(
            event_id=pl.Series(random.integers(-(2**62), 2**62, keys.height)),
            kind=pl.lit("purchase"),
            item=items.gather(random.integers(len(items), size=keys.height)),
            at=pl.lit(newest) - pl.duration(seconds=pl.Series(seconds)),
            quantity=pl.lit(1.0),
            price=pl.Series(random.uniform(5, 15, keys.height).round(2)),
        )
        missing = [pl.lit(None, dtype).alias(name) for name, dtype in columns.items() if name not in frame.columns]
        lake.append("events", frame.with_columns(missing).select(pl.col(n).cast(t) for n, t in columns.items()))


def _add_snapshots(settings: Settings, keys: pl.DataFrame) -> None:
    random = np.random.default_rng(1)
    all_keys = keys["user_key"].to_numpy()
    places = random.integers(len(SEGMENTS), size=len(all_keys))
    for number in range(2, 2 + SNAPSHOTS):
        chosen = np.ones(len(all_keys), bool) if number == 2 else random.random(len(all_keys)) < CHANGED
        moving = chosen & (random.random(len(all_keys)) < 0.5) & (number > 2)
        places = np.where(moving, (places + 1) % len(SEGMENTS), places)
        cause = Cause.NEW if number == 2 else Cause.EVENTS
        scored = rows(all_keys[chosen], places[chosen], BUCKETS, number, cause)
        publish(settings, number, scored, places, parts=list(range(2, number)), later=timedelta(days=1))


def publish(
    settings: Settings, number: int, changed: pl.DataFrame, places: np.ndarray, *, parts: list[int], later: timedelta
) -> None:
    """Publish a snapshot of the rows of ``parts`` and of what has changed since; ``places`` are the users' segments."""
    with transaction(settings) as session:
        before = find_snapshot(session, str(number - 1))
        job = Job(kind="refresh", options={"labels": before.label_set}, state=JobState.SUCCEEDED)
        session.add(job)
        session.flush()
        as_of = before.as_of + later
        facts = {"users": len(places), "rescored": changed.height, "carried": len(places) - changed.height}
        session.add(
            SegmentSnapshot.model_validate(
                {
                    "id": number,
                    "label_set": before.label_set,
                    "model_version_id": before.model_version_id,
                    "job_id": job.id,
                    "previous_id": before.id,
                    "earlier_parts": parts,
                    "as_of": as_of,
                    "published_at": utcnow(),
                    "state": SnapshotState.PUBLISHED,
                    "moved": changed.height // 2,
                    **facts,
                }
            )
        )
        _summarize(session, number, places)
    commit_assignments(settings, number, changed)
    with transaction(settings) as session:
        switch_snapshot(session, before.label_set, expected=number - 1, target=number)


def _summarize(session: Session, number: int, places: np.ndarray) -> None:
    query = select(SegmentSummary).where(SegmentSummary.snapshot_id == number - 1).order_by(col(SegmentSummary.id))
    earlier = {row.segment: row for row in session.exec(query).all()}
    counts = np.bincount(places, minlength=len(SEGMENTS))
    for segment, users in zip(SEGMENTS, counts, strict=True):
        facts = {"users": int(users), "share": float(users / len(places)), "confidence": 0.5}
        distinctive = earlier[segment].distinctive if segment in earlier else []
        session.add(SegmentSummary(snapshot_id=number, segment=segment, distinctive=distinctive, **facts))


def add_jobs(settings: Settings, jobs: int, state: JobState, kind: str = "compact") -> None:
    """Add jobs with one step each, as many jobs of one kind leave them."""
    with transaction(settings) as session:
        first = (session.exec(select(Job.id).order_by(col(Job.id).desc()).limit(1)).first() or 0) + 1
    now = utcnow()
    is_over = state not in {JobState.QUEUED, JobState.RUNNING}
    ended = {"started_at": now, "finished_at": now} if is_over else {}
    step_state = StepState.SUCCEEDED if is_over else StepState.READY
    step = Step(job_id=0, stage="compact", queue="cpu", state=step_state, progress=1.0 * is_over)
    rows = {Job: Job(kind=kind, state=state, created_at=now, **ended).model_dump(), Step: step.model_dump()}
    rows[Step].pop("id")
    for begin in range(first, first + jobs, _BATCH):
        numbers = range(begin, min(begin + _BATCH, first + jobs))
        with transaction(settings) as session:
            session.exec(insert(Job), params=[{**rows[Job], "id": number} for number in numbers])  # type: ignore[call-overload]
            session.exec(insert(Step), params=[{**rows[Step], "job_id": number} for number in numbers])  # type: ignore[call-overload]


def some_users(settings: Settings, count: int) -> Iterator[int]:
    """Yield the keys of some users of the current snapshot."""
    with transaction(settings) as session:
        number = find_snapshot(session, "current").id or 0
    yield from segments_of(settings, number)["user_key"].sample(count, seed=3)
