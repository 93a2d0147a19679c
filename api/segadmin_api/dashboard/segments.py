"""The pages of segments: those of each label set, and the profile of one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session

from segadmin.errors import ConfigurationError, did_you_mean
from segadmin.models.versions import find_version
from segadmin.snapshots.read import currents, find_snapshot, summaries
from segadmin.snapshots.trend import Trend, segment_trend
from segadmin.storage.records import SegmentSnapshot, SegmentSummary
from segadmin_api.dashboard.assets import UPLOT
from segadmin_api.dashboard.figures import trend_data
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import served, text_of


def list_page(session: Session, reader: Reader) -> str:
    """Return the page of all label sets that have a snapshot, with their segments."""
    parts = [_part(session, number) for number in currents(session).values()]
    return served(
        "segments.html",
        text_of(reader, "segments"),
        "/segments",
        reader,
        parts=parts,
        assets=UPLOT,
    )


def _part(session: Session, number: int) -> dict[str, object]:
    snapshot = find_snapshot(session, str(number))
    trend = segment_trend(session, snapshot.label_set, until=number)
    return {
        "snapshot": snapshot,
        "segments": summaries(session, number),
        "trend": trend,
        "lines": trend_data(trend) if len(trend.snapshot_ids) > 1 else None,
    }


def page(session: Session, label_set: str, segment: str, reader: Reader) -> str:
    """Return the profile of a segment of the current snapshot.

    Raises:
        ConfigurationError: there is no such label set or segment.
    """
    snapshot = find_snapshot(session, "current", label_set)
    rows = summaries(session, snapshot.id or 0)
    summary = _named(rows, segment, snapshot)
    trend = segment_trend(session, label_set, until=snapshot.id)
    return served(
        "segment.html",
        segment,
        "/segments",
        reader,
        snapshot=snapshot,
        summary=summary,
        version=find_version(session, str(snapshot.model_version_id)),
        trend=trend,
        history=_history(trend, segment),
        lines=trend_data(trend, [segment]) if len(trend.snapshot_ids) > 1 else None,
        assets=UPLOT,
    )


def _named(rows: Sequence[SegmentSummary], segment: str, snapshot: SegmentSnapshot) -> SegmentSummary:
    for row in rows:
        if row.segment == segment:
            return row
    names = [row.segment for row in rows]
    raise ConfigurationError(f"Snapshot {snapshot.id} has no segment {segment!r}.{did_you_mean(segment, names)}")


def _history(trend: Trend, segment: str) -> list[tuple[int, datetime, int | None]]:
    sizes = trend.users.get(segment, [])
    return list(zip(trend.snapshot_ids, trend.as_of, sizes, strict=False))[::-1]
