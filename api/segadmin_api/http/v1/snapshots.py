"""``/v1/snapshots``: the segments of all users, who is in them, and who moved."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import Depends, Path, Query, Request
from fastapi.responses import HTMLResponse

from segadmin.errors import ConfigurationError, DataError, did_you_mean
from segadmin.events.keys import show_key
from segadmin.monitoring.snapshot_report import SnapshotReport, read_report, report_facts
from segadmin.snapshots.diff import find_two
from segadmin.snapshots.diff_cell import cell_of, page_of
from segadmin.snapshots.members import list_members
from segadmin.snapshots.read import currents, find_snapshot, list_snapshots, snapshot_at, summaries, went_back_from
from segadmin.snapshots.recent_diffs import recent_diff
from segadmin.snapshots.typical import typical_users
from segadmin.storage.audit import record
from segadmin.storage.database import reading
from segadmin.storage.records import ModelVersion, Scope, SegmentSnapshot
from segadmin.timezones import LastMoment
from segadmin.timezones import zone as find_zone
from segadmin_api.dashboard import report
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.svg import as_file
from segadmin_api.http.html import attachment, html_response
from segadmin_api.http.v1.paging import Pages
from segadmin_api.http.v1.routing import allow, check_scope, router, settings_of
from segadmin_api.schemas.jobs import Name
from segadmin_api.schemas.pages import Page
from segadmin_api.schemas.segments import TypicalUser, TypicalUsers
from segadmin_api.schemas.snapshots import (
    Member,
    MovedUser,
    Report,
    ReportCharts,
    Segment,
    Snapshot,
    SnapshotDetails,
    SnapshotDiff,
)

snapshots = router("/snapshots", "snapshots")
Reference = Annotated[str, Path(max_length=200, description="The number of a snapshot, or `current`.")]
Labels = Annotated[Name | None, Query(description="The label set of `current`; needed if several have a snapshot.")]
OfLabels = Annotated[Name | None, Query(description="Only of this label set.")]


@snapshots.get("", dependencies=[allow(Scope.VIEWER)])
def list_all(request: Request, pages: Pages, labels: OfLabels = None) -> Page[Snapshot]:
    """List published snapshots, newest first."""
    position = pages.after(int)
    before = None if position is None else position[0]
    with reading(settings_of(request)) as session:
        rows = list_snapshots(session, labels, before=before, limit=pages.limit + 1)
        current = set(currents(session).values())
    return pages.page(rows, lambda row: Snapshot(**_facts(row, current)), lambda row: [row.id])


@snapshots.get("/{snapshot}", dependencies=[allow(Scope.VIEWER)])
def show_snapshot(
    request: Request,
    snapshot: Reference,
    labels: Labels = None,
    at: Annotated[
        LastMoment | None,
        Query(
            description="With `current`: the last snapshot that is as of this time or before, whenever it was "
            "published. A day, a minute or a second means its end. UTC if it has no zone."
        ),
    ] = None,
) -> SnapshotDetails:
    """Show a snapshot and its segments: size, confidence, and distinctive categories."""
    if at is not None and snapshot != "current":
        raise ConfigurationError(f"Give the number {snapshot} or at, not both.")
    with reading(settings_of(request)) as session:
        row = find_snapshot(session, snapshot, labels) if at is None else snapshot_at(session, at, labels)
        of_segments = [Segment.model_validate(summary) for summary in summaries(session, row.id or 0)]
        facts = _facts(row, set(currents(session).values())) | {"went_back_from": went_back_from(session, row)}
    return SnapshotDetails(**facts, segments=of_segments)


@snapshots.get("/{snapshot}/diff", dependencies=[allow(Scope.VIEWER)])
def show_diff(
    request: Request,
    snapshot: Reference,
    earlier: Annotated[
        str | None,
        Query(max_length=200, description="The snapshot before; default: the one that was current before."),
    ] = None,
    labels: Labels = None,
) -> SnapshotDiff:
    """Count who moved between two snapshots, from which segment to which, and why."""
    settings = settings_of(request)
    with reading(settings) as session:
        pair = find_two(session, earlier, snapshot, labels)
    return SnapshotDiff.of(recent_diff(settings, *pair))


@snapshots.get("/{snapshot}/diff/users", dependencies=[allow(Scope.ANALYST)])
def list_moved(
    request: Request,
    snapshot: Reference,
    pages: Pages,
    *,
    earlier: Annotated[
        str | None,
        Query(max_length=200, description="The snapshot before; default: the one that was current before."),
    ] = None,
    before: Annotated[Name | None, Query(description="Only from this segment, or `new`.")] = None,
    after: Annotated[Name | None, Query(description="Only to this segment, or `left`.")] = None,
    cause: Annotated[Name | None, Query(description="Only for this cause.", examples=["new events"])] = None,
    labels: Labels = None,
) -> Page[MovedUser]:
    """List the users behind a cell of the matrix; without `before` and `after`, all who moved."""
    settings, position = settings_of(request), pages.after(int)
    with reading(settings) as session:
        pair = find_two(session, earlier, snapshot, labels)
    users = cell_of(recent_diff(settings, *pair), before, after, cause)
    if position is None:
        cell = {"before": before, "after": after, "cause": cause}
        record(settings, "snapshots.diff", f"snapshots {pair[0].id} and {pair[1].id}", rows=users.height, **cell)
    rows = page_of(users, pages.limit + 1, None if position is None else position[0]).to_dicts()
    return pages.page(rows, _moved_user, lambda row: [row["user_key"]])


@snapshots.get("/{snapshot}/typical", dependencies=[allow(Scope.ANALYST)])
def list_typical(
    request: Request,
    snapshot: Reference,
    segment: Annotated[Name, Query(description="The segment.")],
    limit: Annotated[int, Query(ge=1, le=100, description="Most users.")] = 5,
    labels: Labels = None,
) -> TypicalUsers:
    """List users in the middle of a segment, by probability and by how active they are."""
    settings = settings_of(request)
    with reading(settings) as session:
        row = find_snapshot(session, snapshot, labels)
        known = [summary.segment for summary in summaries(session, row.id or 0)]
    if segment not in known:
        raise DataError(f"There is no segment {segment!r}.{did_you_mean(segment, known)}")
    record(settings, "snapshots.members", f"snapshot {row.id}", segment=segment, typical=limit)
    users = typical_users(settings, row, segment, limit)
    return TypicalUsers(items=[TypicalUser(**user | {"user_key": show_key(user["user_key"])}) for user in users])


def _asked_report(
    request: Request,
    snapshot: Reference,
    labels: Labels = None,
    language: Annotated[Literal["en", "zh"], Query(description="The language of the report.")] = "en",
    zone: Annotated[
        str, Query(max_length=100, description="The time zone of the report.", examples=["Asia/Shanghai"])
    ] = "UTC",
) -> tuple[SnapshotReport, Reader]:
    reader = Reader(language=language, zone=find_zone(zone).key)
    return read_report(settings_of(request), snapshot, labels), reader


#: A report, and the reader for whom it is drawn.
AskedReport = Annotated[tuple[SnapshotReport, Reader], Depends(_asked_report)]


@snapshots.get(
    "/{snapshot}/report",
    dependencies=[allow(Scope.VIEWER)],
    response_class=HTMLResponse,
    responses={200: {"description": "The report, one self-contained HTML file.", "content": {"text/html": {}}}},
)
def send_report(asked: AskedReport) -> HTMLResponse:
    """Send the report of a snapshot for business people: segments, movement, quality and drift, with pictures."""
    facts, reader = asked
    return html_response(report.page(facts, reader=reader), headers=attachment(report.file_name(facts, reader)))


@snapshots.get("/{snapshot}/report/data", dependencies=[allow(Scope.VIEWER)])
def show_report(request: Request, snapshot: Reference, labels: Labels = None) -> Report:
    """Show what the report of a snapshot holds: segments, trend, movement, quality and drift."""
    return Report.model_validate(report_facts(read_report(settings_of(request), snapshot, labels)))


@snapshots.get("/{snapshot}/report/charts", dependencies=[allow(Scope.VIEWER)])
def show_report_charts(asked: AskedReport) -> ReportCharts:
    """Show the charts of the report of a snapshot, as SVG."""
    facts, reader = asked
    drawn = report.charts(facts, reader)
    return ReportCharts(snapshot=facts.snapshot.id or 0, charts={name: as_file(each) for name, each in drawn.items()})


@snapshots.get("/{snapshot}/members", dependencies=[allow(Scope.VIEWER)])
def members(
    request: Request,
    snapshot: Annotated[int, Path(ge=1, le=2**31 - 1, description="The number of a snapshot.")],
    pages: Pages,
    *,
    segment: Annotated[Name | None, Query(description="Only users in this segment.")] = None,
    min_probability: Annotated[float, Query(ge=0, le=1, description="Minimum probability of the segment.")] = 0.0,
    user_ids: Annotated[bool, Query(description="With the shop's own ids, which needs a key for analysts.")] = False,
) -> Page[Member]:
    """List the users of a snapshot with their segments, under pseudonyms."""
    settings, after = settings_of(request), pages.after(int, int)
    if user_ids:
        check_scope(request, Scope.ANALYST, "user_ids=true")
    with reading(settings) as session:
        row = find_snapshot(session, str(snapshot))
        names = session.get_one(ModelVersion, row.model_version_id).segments
    if user_ids and after is None:
        record(settings, "snapshots.members", f"snapshot {row.id}", segment=segment, user_ids=True)
    users = list_members(
        settings,
        row,
        pages.limit + 1,
        segment=segment,
        min_probability=min_probability,
        after=None if after is None else (after[0], after[1]),
        user_ids=user_ids,
    )
    return pages.page(users, partial(_member, names), lambda user: [user["bucket"], user["user_key"]])


def _facts(snapshot: SegmentSnapshot, current: set[int]) -> dict[str, Any]:
    return snapshot.model_dump() | {"current": snapshot.id in current}


def _member(names: list[str], user: dict[str, Any]) -> Member:
    probabilities = dict(zip(names, user["probabilities"], strict=True))
    return Member(**user | {"user_key": show_key(user["user_key"]), "probabilities": probabilities})


def _moved_user(row: dict[str, Any]) -> MovedUser:
    return MovedUser(**row | {"user_key": show_key(row["user_key"])})
