"""``/v1/drift``: what changed since a model went into use, and how good its segments probably are."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query, Request
from fastapi.responses import HTMLResponse

from segadmin.errors import DataError, SnapshotNotFound
from segadmin.monitoring.reports import list_reports, outcomes_beside_estimates, report_for, report_history, report_of
from segadmin.snapshots.read import find_snapshot
from segadmin.storage import records
from segadmin.storage.database import reading
from segadmin.storage.records import Scope, SegmentSnapshot
from segadmin_api.dashboard.drift import page
from segadmin_api.http.html import attachment, html_response
from segadmin_api.http.v1.paging import Pages
from segadmin_api.http.v1.routing import allow, router, settings_of
from segadmin_api.schemas.jobs import Name
from segadmin_api.schemas.pages import Page
from segadmin_api.schemas.snapshots import DriftLine, DriftReport

drift = router("/drift", "drift")
OfLabels = Annotated[Name | None, Query(description="Only of this label set.")]


@drift.get("", dependencies=[allow(Scope.VIEWER)])
def list_drift(request: Request, pages: Pages, labels: OfLabels = None) -> Page[DriftLine]:
    """List the drift reports, newest first."""
    position = pages.after(int)
    before = None if position is None else position[0]
    with reading(settings_of(request)) as session:
        reports = list_reports(session, labels, pages.limit + 1, before=before)
    return pages.page(reports, lambda pair: DriftLine(**_facts(*pair)), lambda pair: [pair[0].snapshot_id])


@drift.get(
    "/page",
    dependencies=[allow(Scope.VIEWER)],
    response_class=HTMLResponse,
    responses={200: {"description": "The page, one self-contained HTML file.", "content": {"text/html": {}}}},
)
def send_page(request: Request, labels: OfLabels = None) -> HTMLResponse:
    """Send the newest drift reports as a page with charts: what drifted, and estimated beside measured metrics."""
    with reading(settings_of(request)) as session:
        history = report_history(session, labels)
    return html_response(page(history), headers=attachment("segadmin-drift.html"))


@drift.get("/{snapshot}", dependencies=[allow(Scope.VIEWER)])
def show_drift(
    request: Request,
    snapshot: Annotated[str, Path(max_length=200, description="The number of a snapshot, or `current`.")],
    labels: Annotated[
        Name | None, Query(description="The label set of `current`; needed if several have a snapshot.")
    ] = None,
) -> DriftReport:
    """Show the report of a snapshot: distributions that drifted, estimated metrics, and missing events."""
    with reading(settings_of(request)) as session:
        asked = find_snapshot(session, snapshot, labels)
        try:
            report = (report_for if snapshot == "current" else report_of)(session, asked)
        except DataError as error:
            raise SnapshotNotFound(str(error)) from None
        of = session.get_one(SegmentSnapshot, report.snapshot_id)
        measured = outcomes_beside_estimates(session, report)
    return DriftReport(**_facts(report, of), measured=measured)


def _facts(report: records.DriftReport, snapshot: SegmentSnapshot) -> dict[str, Any]:
    metrics = report.estimate.get("metrics", {})
    of = {"label_set": snapshot.label_set, "model_version_id": snapshot.model_version_id, "as_of": snapshot.as_of}
    return report.model_dump() | of | {"distributions": len(report.findings), "metrics": metrics}
