"""How long it takes to compare two snapshots of a million users, beside reading one of them.

The first snapshot has a row for every user; the second one has a row for a hundredth of them, half of whom moved, and
the others are those of the first. The last line is JSON: seconds, medians of some runs, and the ratio to reading the
rows of one snapshot.

    python -m bench.diff [--users 1000000] [--buckets 64] [--runs 5]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from bench.refresh import seconds
from segadmin.hashing import bucket_of
from segadmin.settings import Settings
from segadmin.snapshots.diff import diff
from segadmin.snapshots.policy import Cause
from segadmin.snapshots.publish import commit_assignments
from segadmin.snapshots.read import segments_of
from segadmin.storage import database
from segadmin.storage.database import transaction
from segadmin.storage.records import Job, ModelVersion, SegmentSnapshot, SnapshotState
from segadmin.storage.schema import ASSIGNMENTS
from segadmin.storage.store import open_store

SEGMENTS = ("low", "mid", "high")
AS_OF = datetime(2026, 3, 2, tzinfo=UTC)
#: Fraction of the users who have a row in the second snapshot.
CHANGED = 0.01


def rows(keys: np.ndarray, places: np.ndarray, buckets: int, number: int, cause: Cause) -> pl.DataFrame:
    """Return assignments of ``keys`` to the segments at ``places``."""
    frame = pl.DataFrame({"user_key": keys, "segment": np.take(SEGMENTS, places)}).with_columns(
        bucket=bucket_of(pl.col("user_key"), buckets),
        probability=pl.lit(0.5),
        probabilities=pl.lit([0.3, 0.5, 0.2]),
        model_version_id=pl.lit(1),
        phrase_hash=pl.col("user_key"),
        scored_as_of=pl.lit(AS_OF),
        cause=pl.lit(cause.value),
        changed_in=pl.lit(number),
        has_left=pl.lit(value=False),
    )
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in ASSIGNMENTS.items() if name not in frame.columns]
    names = [name for name in ASSIGNMENTS if name != "snapshot_id"]
    return frame.with_columns(missing).select(pl.col(name).cast(ASSIGNMENTS[name]) for name in names)


def two_snapshots(settings: Settings, users: int, buckets: int) -> tuple[SegmentSnapshot, SegmentSnapshot]:
    """Write two snapshots and return them."""
    random = np.random.default_rng(1)
    keys = np.unique(random.integers(-(2**63), 2**63 - 1, users))
    places = random.integers(len(SEGMENTS), size=len(keys))
    chosen = random.random(len(keys)) < CHANGED
    later = np.where(random.random(len(keys)) < 0.5, (places + 1) % len(SEGMENTS), places)[chosen]
    database.upgrade(settings)
    open_store(settings)
    commit_assignments(settings, 1, rows(keys, places, buckets, 1, Cause.NEW))
    commit_assignments(settings, 2, rows(keys[chosen], later, buckets, 2, Cause.EVENTS))
    with transaction(settings) as session:
        session.add_all([Job(id=number, kind="refresh") for number in (1, 2)])
        session.flush()
        made_of = {"backbone": "tiny", "textualizer": "mixed", "folder": "models/1", "sha256": "0" * 64}
        session.add(
            ModelVersion.model_validate({"id": 1, "label_set": "spend", "job_id": 1, "segments": SEGMENTS, **made_of})
        )
        session.flush()
        shared = {"label_set": "spend", "model_version_id": 1, "as_of": AS_OF, "state": SnapshotState.PUBLISHED}
        first = {"id": 1, "job_id": 1, "users": len(keys)}
        second = {"id": 2, "job_id": 2, "users": len(keys), "previous_id": 1, "earlier_parts": [1]}
        session.add_all([SegmentSnapshot.model_validate(shared | each) for each in (first, second)])
    with transaction(settings) as session:
        return session.get_one(SegmentSnapshot, 1), session.get_one(SegmentSnapshot, 2)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--buckets", type=int, default=64)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder) / "home", buckets=options.buckets)
        earlier, later = two_snapshots(settings, options.users, options.buckets)
        compared = diff(settings, earlier, later)
        moved = sum(movement.users for movement in compared.movements)
        taken, reading = [], []
        for _ in range(options.runs):
            taken.append(seconds(lambda: diff(settings, earlier, later).movements))
            reading.append(seconds(lambda: segments_of(settings, 2)))
    figures = {"diff": statistics.median(taken), "read": statistics.median(reading)}
    rounded = {name: round(value, 3) for name, value in figures.items()}
    print(f"{compared.users.height:,} users, {moved:,} moved: {taken}")
    print(
        json.dumps(
            {
                "bench": "diff",
                "users": earlier.users,
                "moved": moved,
                **rounded,
                "ratio": round(figures["diff"] / figures["read"], 2),
            }
        )
    )


if __name__ == "__main__":
    main()
