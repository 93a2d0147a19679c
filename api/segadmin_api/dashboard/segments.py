"""The page of segments: those of each label set."""

from __future__ import annotations

from sqlmodel import Session

from segadmin.snapshots.read import currents, find_snapshot, summaries
from segadmin.snapshots.trend import segment_trend
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
        "lines": trend_data(trend),
    }
