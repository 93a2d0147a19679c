"""Snapshots count those who are still in them."""

from __future__ import annotations

import polars as pl

from segadmin.events.erase import forget
from segadmin.events.keys import keys_of
from segadmin.settings import Settings
from segadmin.snapshots.read import summaries
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import NOT_ENOUGH, Job, JobState, ModelVersion, SegmentSnapshot, SegmentSummary, utcnow
from tests.privacy.victim import HEAD, put


def test_snapshots_count_the_users_left_after_an_erasure(settings: Settings) -> None:
    put(settings, "e.csv", HEAD + "".join(f"{user},view,a,2025-01-01\n" for user in ("ann", "bob", "eve", "joe")))
    keyed = keys_of(pl.Series(["ann", "bob", "eve", "joe"]), settings.secret(), settings.buckets).sort("user")
    lake = Lake.of(settings)
    with transaction(settings) as session:
        for number in (1, 2):
            session.add(Job(id=number, kind="score", state=JobState.SUCCEEDED))
        session.flush()
        session.add(
            ModelVersion(id=1, label_set="x", backbone="tiny", textualizer="list", folder="", sha256="", job_id=1)
        )
        session.flush()
        for number in (1, 2):
            made = {"label_set": "x", "state": "published", "model_version_id": 1, "job_id": number, "as_of": utcnow()}
            session.add(SegmentSnapshot(id=number, users=4, rescored=4, **made))
            session.flush()
            for segment, count in {"low": 2, "high": 1, NOT_ENOUGH: 1}.items():
                share = {"share": count / 4, "confidence": 0.5}
                session.add(SegmentSummary(snapshot_id=number, segment=segment, users=count, **share))
    segments = pl.Series("segment", ["low", "low", "high", None])
    sure = pl.Series("probability", [0.25, 0.75, 0.5, 0.5])
    for number in (1, 2):
        schema = lake.scan("assignments").collect_schema()
        rows = keyed.with_columns(segments, sure, snapshot_id=pl.lit(number))
        others = [pl.lit(None).alias(name) for name in schema if name not in rows.columns]
        lake.append("assignments", rows.with_columns(others))
    forget(settings, ["ann", "joe"])
    with transaction(settings) as session:
        for number in (1, 2):
            snapshot = session.get_one(SegmentSnapshot, number)
            assert (snapshot.users, snapshot.rescored) == (2, 4)
            shown = {row.segment: (row.users, row.share, row.confidence) for row in summaries(session, number)}
            assert shown == {"low": (1, 0.5, 0.75), "high": (1, 0.5, 0.5), NOT_ENOUGH: (0, 0.0, 0.0)}
