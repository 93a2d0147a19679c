"""``/v1/segments``: the segments of the current snapshots, one of them, and its description."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import HTTPException, Path, Query, Request, Response

from segadmin.errors import ConfigurationError, SnapshotNotFound
from segadmin.settings import Settings
from segadmin.snapshots.descriptions import all_descriptions, describe, no_description
from segadmin.snapshots.read import currents, find_snapshot, summaries
from segadmin.snapshots.segment_view import SegmentView, calibration_of, movement_of, view_segment
from segadmin.storage.database import reading
from segadmin.storage.records import Scope, SegmentDescription
from segadmin_api.http.v1.etags import IfMatch
from segadmin_api.http.v1.routing import allow, changes, router, settings_of
from segadmin_api.schemas.jobs import Name
from segadmin_api.schemas.segments import (
    Description,
    DescriptionRequest,
    Moved,
    ProfiledSegment,
    ProfiledSegments,
    SegmentCalibration,
    SegmentDetails,
    SegmentMovement,
    SegmentOfLabelSet,
    Segments,
)
from segadmin_api.schemas.snapshots import Segment

segments = router("/segments", "segments")
_REVISION = re.compile(r'"description-([0-9]{1,9})"')
LabelSetName = Annotated[str, Path(max_length=200, description="The name of a label set.")]
SegmentName = Annotated[str, Path(max_length=200, description="The name of a segment.")]
OfLabels = Annotated[Name | None, Query(description="Only of this label set.")]


@segments.get("", dependencies=[allow(Scope.VIEWER)])
def list_segments(request: Request, labels: OfLabels = None) -> Segments:
    """List the segments of the current snapshots, with their sizes."""
    with reading(settings_of(request)) as session:
        by_label_set = currents(session)
        if labels is not None:
            by_label_set = {labels: find_snapshot(session, "current", labels).id or 0}
        items = [
            SegmentOfLabelSet(
                **Segment.model_validate(row).model_dump(),
                label_set=label_set,
                snapshot=number,
                description=_description(written.get(row.segment) or no_description(label_set, row.segment)),
            )
            for label_set, number in by_label_set.items()
            for written in [all_descriptions(session, label_set)]
            for row in summaries(session, number)
        ]
    return Segments(items=items)


@segments.get("/{label_set}", dependencies=[allow(Scope.VIEWER)])
def compare_segments(
    request: Request,
    label_set: LabelSetName,
    segment: Annotated[
        list[Name], Query(max_length=20, description="Only these segments; may be repeated. Default: all.")
    ] = [],  # noqa: B006
) -> ProfiledSegments:
    """Show segments of the current snapshot side by side: what they are worth and what distinguishes them."""
    settings = settings_of(request)
    with reading(settings) as session:
        snapshot = find_snapshot(session, "current", label_set)
        names = segment or [row.segment for row in summaries(session, snapshot.id or 0)]
    return ProfiledSegments(
        items=[ProfiledSegment(**_facts(view_segment(settings, label_set, name))) for name in names]
    )


@segments.get("/{label_set}/{segment:path}", dependencies=[allow(Scope.VIEWER)])
def show_segment(request: Request, response: Response, label_set: LabelSetName, segment: SegmentName) -> SegmentDetails:
    """Show a segment of the current snapshot. Its `ETag` is that of the description, for changes of it."""
    settings = settings_of(request)
    view = _view(settings, label_set, segment)
    movement, calibration = movement_of(settings, view.snapshot, segment), calibration_of(settings, view)
    response.headers["ETag"] = etag(view.description)
    return SegmentDetails(
        **_facts(view),
        history=[_description(row) for row in view.history],
        movement=None if movement is None else _movement(movement.__dict__),
        calibration=None if calibration is None else SegmentCalibration.model_validate(calibration),
    )


@segments.put(
    "/{label_set}/{segment:path}",
    dependencies=[allow(Scope.OPERATOR)],
    responses=changes(
        more={412: "The description was changed since it was read.", 428: "`If-Match` is missing."},
    ),
)
def describe_segment(
    request: Request,
    response: Response,
    label_set: LabelSetName,
    segment: SegmentName,
    wanted: DescriptionRequest,
    *,
    if_match: IfMatch = None,
) -> Description:
    """Write what a segment is for and who is responsible for it; the version before is kept."""
    expected = _expected(if_match)
    texts = wanted.model_dump()
    row = describe(settings_of(request), label_set, segment, **texts, expected=expected)
    response.headers["ETag"] = etag(row)
    return _description(row)


def etag(row: SegmentDescription) -> str:
    """Return the ETag of a description."""
    return f'"description-{row.revision}"'


def _expected(if_match: str | None) -> int | None:
    """Return the revision that a request expects; ``None`` for any (``*``)."""
    if if_match is None:
        raise HTTPException(428, "If-Match is missing: send the ETag of GET of the segment, or *.")
    if if_match.strip() == "*":
        return None
    match = _REVISION.fullmatch(if_match.strip())
    if match is None:
        raise HTTPException(412, f"If-Match: {if_match!r} is no ETag of a segment. Read it again.")
    return int(match[1])


def _view(settings: Settings, label_set: str, segment: str) -> SegmentView:
    try:
        return view_segment(settings, label_set, segment)
    except SnapshotNotFound:
        raise
    except ConfigurationError as error:
        raise HTTPException(404, str(error)) from None


def _facts(view: SegmentView) -> dict[str, Any]:
    return Segment.model_validate(view.summary).model_dump() | {
        "label_set": view.snapshot.label_set,
        "snapshot": view.snapshot.id,
        "as_of": view.snapshot.as_of,
        "model_version_id": view.snapshot.model_version_id,
        "profile": view.profile,
        "description": _description(view.description),
    }


def _description(row: SegmentDescription) -> Description:
    shown = Description.model_validate(row)
    return shown if row.revision else shown.model_copy(update={"created_at": None})


def _movement(facts: dict[str, Any]) -> SegmentMovement:
    lists = {
        name: [Moved(segment=segment, users=users) for segment, users in facts[name]] for name in ("entered", "left")
    }
    return SegmentMovement(**facts | lists)
