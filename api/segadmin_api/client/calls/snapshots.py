"""Calls about snapshots: who is in which segment, who moved, exports and reports; and drift."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from segadmin_api.client.call import Call, SavedFile, once, part
from segadmin_api.schemas.jobs import Enqueued
from segadmin_api.schemas.pages import Page
from segadmin_api.schemas.segments import TypicalUsers
from segadmin_api.schemas.snapshots import (
    DriftLine,
    DriftReport,
    Member,
    MovedUser,
    Report,
    ReportCharts,
    Snapshot,
    SnapshotDetails,
    SnapshotDiff,
)


def list_snapshots(*, labels: str | None = None, limit: int = 50, cursor: str | None = None) -> Call[Page[Snapshot]]:
    """Return a page of published snapshots, newest first."""
    return Call("GET", "/v1/snapshots", Page[Snapshot], {"labels": labels, "limit": limit, "cursor": cursor})


def show_snapshot(
    snapshot: int | str = "current", *, labels: str | None = None, at: datetime | None = None
) -> Call[SnapshotDetails]:
    """Return a snapshot with its segments: its number, or ``current`` (of ``labels``), or that of the time ``at``."""
    query = {"labels": labels, "at": at and at.isoformat(timespec="microseconds")}
    return Call("GET", f"/v1/snapshots/{part(snapshot)}", SnapshotDetails, query)


def compare_snapshots(
    snapshot: int | str = "current", *, earlier: int | str | None = None, labels: str | None = None
) -> Call[SnapshotDiff]:
    """Return who moved between two snapshots; default: since the one before."""
    query = {"earlier": earlier, "labels": labels}
    return Call("GET", f"/v1/snapshots/{part(snapshot)}/diff", SnapshotDiff, query)


def list_members(
    snapshot: int,
    *,
    segment: str | None = None,
    min_probability: float = 0.0,
    user_ids: bool = False,
    limit: int = 1000,
    cursor: str | None = None,
) -> Call[Page[Member]]:
    """Return a page of the users of a snapshot, under pseudonyms; ``user_ids`` needs a key for analysts."""
    wanted = {"segment": segment, "min_probability": min_probability, "user_ids": str(user_ids).lower()}
    page = {"limit": limit, "cursor": cursor}
    return Call("GET", f"/v1/snapshots/{snapshot}/members", Page[Member], wanted | page)


def export_snapshot(
    snapshot: int,
    *,
    segment: str | None = None,
    min_probability: float = 0.0,
    with_user_ids: bool = False,
    file_format: str = "csv",
    raw_cells: bool = False,
    moved_since: int | None = None,
    before: str | None = None,
    after: str | None = None,
    cause: str | None = None,
    key: str | None = None,
) -> Call[Enqueued]:
    """Ask for a file of the users of a snapshot, see :func:`save_export`.

    Args:
        snapshot: its number.
        segment: only users in this segment.
        min_probability: only users whose probability of their segment is at least this.
        with_user_ids: the shop's own ids instead of pseudonyms.
        file_format: ``csv``, ``jsonl`` or ``parquet``.
        raw_cells: CSV: do not escape text that spreadsheets would run as a formula.
        moved_since: only users who moved since this snapshot, with the cause.
        before: only from this segment, or ``new``.
        after: only to this segment, or ``left``.
        cause: only for this cause.
        key: idempotency key, as of :func:`segadmin_api.client.calls.jobs.enqueue`.
    """
    whom = {"snapshot": snapshot, "segment": segment, "min_probability": min_probability, "moved_since": moved_since}
    cell = {"before": before, "after": after, "cause": cause}
    form = {"with_user_ids": with_user_ids, "file_format": file_format, "raw_cells": raw_cells}
    return Call("POST", "/v1/exports", Enqueued, body={**whom, **cell, **form}, headers=once(key))


def save_export(job: int, out: Path | str) -> Call[SavedFile]:
    """Write the file that the job of :func:`export_snapshot` made, when it has succeeded, to ``out``."""
    return Call("GET", f"/v1/exports/{job}/file", SavedFile, out=Path(out))


def list_moved_users(
    snapshot: int | str = "current",
    *,
    earlier: int | None = None,
    before: str | None = None,
    after: str | None = None,
    cause: str | None = None,
    labels: str | None = None,
    limit: int = 1000,
    cursor: str | None = None,
) -> Call[Page[MovedUser]]:
    """Return a page of the users who moved, under pseudonyms; ``before`` and ``after``: only of one cell."""
    wanted = {"earlier": earlier, "before": before, "after": after, "cause": cause, "labels": labels}
    page = {"limit": limit, "cursor": cursor}
    return Call("GET", f"/v1/snapshots/{part(snapshot)}/diff/users", Page[MovedUser], wanted | page)


def list_typical_users(
    segment: str, snapshot: int | str = "current", *, limit: int = 5, labels: str | None = None
) -> Call[TypicalUsers]:
    """Return users in the middle of a segment, by probability and by how active they are."""
    query = {"segment": segment, "limit": limit, "labels": labels}
    return Call("GET", f"/v1/snapshots/{part(snapshot)}/typical", TypicalUsers, query)


def save_report(
    out: Path | str,
    snapshot: int | str = "current",
    *,
    labels: str | None = None,
    language: str = "en",
    zone: str = "UTC",
) -> Call[SavedFile]:
    """Write the report of a snapshot for business people, one HTML file, to ``out``."""
    query = {"labels": labels, "language": language, "zone": zone}
    return Call("GET", f"/v1/snapshots/{part(snapshot)}/report", SavedFile, query, out=Path(out))


def show_report(snapshot: int | str = "current", *, labels: str | None = None) -> Call[Report]:
    """Return what the report of a snapshot holds."""
    return Call("GET", f"/v1/snapshots/{part(snapshot)}/report/data", Report, {"labels": labels})


def show_report_charts(
    snapshot: int | str = "current", *, labels: str | None = None, language: str = "en", zone: str = "UTC"
) -> Call[ReportCharts]:
    """Return the charts of the report of a snapshot, as SVG."""
    query = {"labels": labels, "language": language, "zone": zone}
    return Call("GET", f"/v1/snapshots/{part(snapshot)}/report/charts", ReportCharts, query)


def save_drift_page(out: Path | str, *, labels: str | None = None) -> Call[SavedFile]:
    """Write the page of the newest drift reports, one HTML file, to ``out``."""
    return Call("GET", "/v1/drift/page", SavedFile, {"labels": labels}, out=Path(out))


def list_drift(*, labels: str | None = None, limit: int = 50, cursor: str | None = None) -> Call[Page[DriftLine]]:
    """Return a page of drift reports, newest first."""
    return Call("GET", "/v1/drift", Page[DriftLine], {"labels": labels, "limit": limit, "cursor": cursor})


def show_drift(snapshot: int | str = "current", *, labels: str | None = None) -> Call[DriftReport]:
    """Return the drift report of a snapshot."""
    return Call("GET", f"/v1/drift/{part(snapshot)}", DriftReport, {"labels": labels})
