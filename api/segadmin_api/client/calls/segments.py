"""Calls about the segments of the current snapshots."""

from __future__ import annotations

from collections.abc import Sequence

from segadmin_api.client.call import Call, given, part, several
from segadmin_api.schemas.segments import Description, ProfiledSegments, SegmentDetails, Segments


def list_segments(*, labels: str | None = None) -> Call[Segments]:
    """Return the segments of the current snapshots."""
    return Call("GET", "/v1/segments", Segments, {"labels": labels})


def show_segment(label_set: str, segment: str) -> Call[SegmentDetails]:
    """Return a segment of the current snapshot: what it is for, what distinguishes it, and who moved."""
    return Call("GET", f"/v1/segments/{part(label_set)}/{part(segment)}", SegmentDetails)


def describe_segment(
    label_set: str,
    segment: str,
    *,
    description: str | None = None,
    owner: str | None = None,
    revision: int | None = None,
) -> Call[Description]:
    """Write what a segment is for; raises :class:`segadmin.errors.Stale` if it is not at ``revision`` any more."""
    body = given(description=description, owner=owner)
    match = {"If-Match": "*" if revision is None else f'"description-{revision}"'}
    path = f"/v1/segments/{part(label_set)}/{part(segment)}"
    return Call("PUT", path, Description, body=body, headers=match)


def compare_segments(label_set: str, segments: str | Sequence[str] = ()) -> Call[ProfiledSegments]:
    """Return segments of the current snapshot side by side: what they are worth; default: all of them."""
    return Call("GET", f"/v1/segments/{part(label_set)}", ProfiledSegments, {"segment": several(segments)})
