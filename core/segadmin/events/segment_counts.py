"""How many users are in each segment of the snapshots: told by SQL, and counted anew when users were erased."""

from __future__ import annotations

import polars as pl
from sqlmodel import select

from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import NOT_ENOUGH, SegmentSnapshot, SegmentSummary, SnapshotState


def count_segments(settings: Settings, lake: Lake) -> None:
    """Let the numbers of every published snapshot be those of the users who are still in it.

    How many were scored anew, carried forward and moved stays: that was when it was published.
    """
    rows = lake.scan("assignments").group_by("snapshot_id", pl.col("segment").fill_null(NOT_ENOUGH))
    counted = rows.agg(pl.len(), pl.col("probability").mean().fill_null(0.0)).collect(engine="streaming")
    counts = {(snapshot, segment): (users, sure) for snapshot, segment, users, sure in counted.iter_rows()}
    with transaction(settings) as session:
        published = session.exec(select(SegmentSnapshot).where(SegmentSnapshot.state == SnapshotState.PUBLISHED)).all()
        for snapshot in published:
            snapshot.users = sum(users for (number, _), (users, _) in counts.items() if number == snapshot.id)
            session.add(snapshot)
            for one in session.exec(select(SegmentSummary).where(SegmentSummary.snapshot_id == snapshot.id)).all():
                one.users, one.confidence = counts.get((snapshot.id, one.segment), (0, 0.0))
                one.share = one.users / max(snapshot.users, 1)
                session.add(one)
