"""What a shop of a million users gathers in a year, added to a home of :mod:`bench.web_home`.

Snapshots with drift reports, corrections, merges, models, canaries, imports, rows in quarantine, jobs, and an
audit log. Profiles, quarantine and merges are made by the functions that make them in a real shop.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
from sqlalchemy import func, insert
from sqlmodel import SQLModel, col, select

from bench.diff import rows
from bench.web_home import BUCKETS, SEGMENTS, add_jobs, publish, some_users
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.mapping import Mapping
from segadmin.events.merge import UserPair, merge_users
from segadmin.settings import Settings
from segadmin.snapshots.policy import Cause
from segadmin.snapshots.profiles import store_profiles
from segadmin.snapshots.read import assignments, currents
from segadmin.snapshots.summary import profile_segments
from segadmin.storage.database import reading, transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import (
    Audit,
    Canary,
    CanaryState,
    Correction,
    DriftReport,
    Import,
    ImportState,
    JobState,
    ModelState,
    ModelVersion,
    SegmentSnapshot,
    utcnow,
)
from segadmin.text.recipe import Window

SNAPSHOTS, CORRECTIONS, MERGES, MODELS, CANARIES, IMPORTS = 365, 2_000, 200, 300, 40, 5_000
QUARANTINED, AUDITED = 100_000, 1_000_000
#: Fraction of the users whom a refresh scores, and snapshots of which at most one consists.
_SCORED, _PARTS = 0.002, 64
#: Between two snapshots: all are of some days, so that the events are not too old for what pages count.
_LATER = timedelta(minutes=10)
_BATCH = 50_000


def add_year(settings: Settings, jobs: int) -> None:
    """Add everything, unless it is there."""
    with reading(settings) as session:
        if session.exec(select(func.count(col(Canary.id)))).one():
            return
    _add_quarantine(settings)
    _add_merges(settings)
    _add_snapshots(settings)
    _add_profiles(settings)
    _add_drift(settings)
    _add_corrections(settings)
    _add_models(settings)
    add_jobs(settings, jobs, JobState.SUCCEEDED)
    now, actions = utcnow(), ("users.show", "users.review", "data.quarantine", "keys.create", "snapshots.diff")
    entries = [
        Audit(actor=f"key {n % 7}", action=actions[n % 5], subject=f"user {n:016x}", created_at=now).model_dump()
        for n in range(_BATCH)
    ]
    for _ in range(AUDITED // _BATCH):
        _insert(settings, Audit, entries)
    _add_canaries(settings)


def _insert(settings: Settings, table: type[SQLModel], dumped: Sequence[dict[str, Any]]) -> None:
    with transaction(settings) as session:
        new = [{name: value for name, value in row.items() if name != "id"} for row in dumped]
        session.exec(insert(table), params=new)  # type: ignore[call-overload]


@contextmanager
def _csv(header: Sequence[str], lines: Iterator[tuple[object, ...]]) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "events.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *lines])
        yield path


def _add_quarantine(settings: Settings) -> None:
    now = utcnow()
    done = {"rows_read": 1_000, "rows_kept": 1_000, "source_rows": 1_000, "state": ImportState.SUCCEEDED}
    facts = {"table": "events", "created_at": now, "finished_at": now, **done}
    imports = [Import(file=f"day-{n}.csv", sha256=f"{n:064x}", **facts).model_dump() for n in range(IMPORTS)]
    _insert(settings, Import, imports)
    wrong = (
        (f"customer-{n}", "purchase", f"milk-{n % 3}", "yesterday" if n % 2 else "", n) for n in range(QUARANTINED)
    )
    with _csv(("user", "kind", "item", "at", "price"), wrong) as path:
        import_file(settings, ImportRequest("events", str(path), Mapping(timezone="UTC")))


def _add_merges(settings: Settings) -> None:
    pairs = [UserPair(f"customer-{2 * n}", f"customer-{2 * n + 1}") for n in range(MERGES)]
    merge_users(settings, pairs)


def _add_snapshots(settings: Settings) -> None:
    random = np.random.default_rng(4)
    with reading(settings) as session:
        last = max(currents(session).values())
    users = assignments(settings, last).select("user_key", "segment").sort("user_key").collect()
    keys = users["user_key"].to_numpy()
    places = users["segment"].replace_strict({name: n for n, name in enumerate(SEGMENTS)}).to_numpy()
    parts: list[int] = []
    for number in range(last + 1, SNAPSHOTS + 1):
        whole = len(parts) in {0, _PARTS}
        chosen = np.ones(len(keys), bool) if whole else random.random(len(keys)) < _SCORED
        moving = chosen & (random.random(len(keys)) < (0.002 if whole else 0.5))
        places = np.where(moving, (places + 1) % len(SEGMENTS), places)
        scored = rows(keys[chosen], places[chosen], BUCKETS, number, Cause.EVENTS)
        sure = pl.Series(random.dirichlet((1, 1, 1), scored.height), dtype=pl.List(pl.Float32))
        parts = [] if whole else parts
        publish(settings, number, scored.with_columns(probabilities=sure), places, parts=parts, later=_LATER)
        parts = [*parts, number]


def _add_profiles(settings: Settings) -> None:
    """Compute the profiles of the segments, as a refresh does."""
    with transaction(settings) as session:
        number = max(currents(session).values())
        snapshot = session.get_one(SegmentSnapshot, number)
        window = Window(observed_from=snapshot.as_of - timedelta(days=112), as_of=snapshot.as_of)
        users = assignments(settings, number).select("bucket", "user_key", "segment").collect()
        store_profiles(session, snapshot, profile_segments(Lake.of(settings), users, window))


def _add_drift(settings: Settings) -> None:
    random = np.random.default_rng(6)
    with reading(settings) as session:
        first = session.exec(select(DriftReport)).one()
        snapshots = session.exec(select(SegmentSnapshot.id).where(col(SegmentSnapshot.id) > 1)).all()
    lines = []
    for number in snapshots:
        findings = [
            {"name": name, "drifted": False, "p": 1.0, "bin": "0", "before": 0.5, "now": 0.5, "stability_index": index}
            for name, index in zip(first.profile, random.exponential(0.005, len(first.profile)).tolist(), strict=True)
        ]
        compared = {"snapshot_id": number, "reference_id": 1, "findings": findings, "calibration": {}}
        lines.append({**first.model_dump(), **compared})
    _insert(settings, DriftReport, lines)


def _add_corrections(settings: Settings) -> None:
    with reading(settings) as session:
        label_set = next(iter(currents(session)))
    facts = {"label_set": label_set, "segment": "high", "reason": "knows us well", "actor": "key ann"}
    now = utcnow()
    users = some_users(settings, CORRECTIONS)
    _insert(settings, Correction, [Correction(user_key=key, created_at=now, **facts).model_dump() for key in users])


def _add_models(settings: Settings) -> None:
    with reading(settings) as session:
        version = session.exec(select(ModelVersion)).one().model_dump()
    changed = {"state": ModelState.CHALLENGER, "promoted_at": None}
    _insert(settings, ModelVersion, [{**version, **changed} for _ in range(MODELS)])


def _add_canaries(settings: Settings) -> None:
    now = utcnow()
    moments = {"since": now - timedelta(days=14), "until": now, "created_at": now}
    ended = {"state": CanaryState.STOPPED, "ended_at": now, "reason": "enough"}
    facts = {"label_set": "spend3", "champion_id": 1, "share": 0.1, "salt": 5, **moments, **ended}
    _insert(settings, Canary, [Canary(challenger_id=2 + n, **facts).model_dump() for n in range(CANARIES)])
