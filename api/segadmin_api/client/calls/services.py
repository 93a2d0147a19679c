"""Calls of services: they send events, and ask for the segments of users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from segadmin_api.client.call import Call, given, part
from segadmin_api.schemas.services import Accepted, ScoreAnswer, SegmentAnswer


def send_events(events: Sequence[Mapping[str, Any]]) -> Call[Accepted]:
    """Store events; the same events may be sent again, and are stored once.

    Args:
        events: each with ``user``, ``kind``, ``item`` and ``at``, and the other fields of an import.
    """
    return Call("POST", "/v1/events", Accepted, body=[dict(event) for event in events])


def score_user(
    events: Sequence[Mapping[str, Any]],
    *,
    user: str | None = None,
    labels: str | None = None,
    as_of: datetime | None = None,
) -> Call[ScoreAnswer]:
    """Return the segment of a user by the events that are given, at the moment ``as_of`` (default: now)."""
    body = {"events": [dict(event) for event in events]}
    more = given(user=user, labels=labels, as_of=as_of and as_of.isoformat())
    return Call("POST", "/v1/score", ScoreAnswer, body=body | more)


def show_user_segment(user: str, *, labels: str | None = None) -> Call[SegmentAnswer]:
    """Return the segment of a user in the current snapshot; raises an error if the user is not in it."""
    return Call("GET", f"/v1/users/{part(user)}/segment", SegmentAnswer, {"labels": labels})
