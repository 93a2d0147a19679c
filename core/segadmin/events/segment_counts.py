"""Numbers of users per segment of the snapshots, which SQL stores, recomputed after users were erased."""

from __future__ import annotations

import polars as pl
from sqlmodel import select

from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import NOT_ENOUGH, SegmentSnapshot, SegmentSummary, SnapshotState


def count_segments(settings: Settings, lake: Lake) -> None:
    """Update the numbers of users of every published snapshot from its assignments.

    The numbers of rescored, carried and moved users stay as of the time of publication.
    """
    rows = lake.scan("assignments").group_by("snapshot_id", pl.col("segment").fill_null(NOT_ENOUGH))
    statistics = rows.agg(pl.len(), pl.col("probability").mean().fill_null(0.0)).collect(engine="streaming")
    counts = {(snapshot, segment): (users, confidence) for snapshot, segment, users, confidence in statistics.rows()}
    with transaction(settings) as session:
        published = session.exec(select(SegmentSnapshot).where(SegmentSnapshot.state == SnapshotState.PUBLISHED)).all()
        for snapshot in published:
            snapshot.users = sum(users for (number, _), (users, _) in counts.items() if number == snapshot.id)
            session.add(snapshot)
            for summary in session.exec(select(SegmentSummary).where(SegmentSummary.snapshot_id == snapshot.id)).all():
                summary.users, summary.confidence = counts.get((snapshot.id, summary.segment), (0, 0.0))
                summary.share = summary.users / max(snapshot.users, 1)
                session.add(summary)
