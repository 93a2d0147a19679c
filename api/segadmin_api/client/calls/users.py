"""Calls about users: segments, events, corrections, merges and erasure."""

from __future__ import annotations

from segadmin_api.client.call import Call, part
from segadmin_api.schemas.pages import Page
from segadmin_api.schemas.snapshots import Erased, User, UserText
from segadmin_api.schemas.users import Corrected, Correction, Corrections, Event, Merge, Review


def show_user(user: str) -> Call[User]:
    """Return the segment of a user in every snapshot; raises :class:`segadmin.errors.UserNotFound`."""
    return Call("GET", f"/v1/users/{part(user)}", User)


def show_user_text(user: str, *, labels: str | None = None, model: int | None = None) -> Call[UserText]:
    """Return the text that the current model, or the version ``model``, reads of a user; needs a key for analysts."""
    return Call("GET", f"/v1/users/{part(user)}/text", UserText, {"labels": labels, "model": model})


def correct_user(
    user: str, segment: str, reason: str, *, labels: str | None = None, expires_at: str | None = None, weight: int = 1
) -> Call[Corrected]:
    """Put a user in a segment, whatever the model says, until ``expires_at`` (ISO 8601; ``None``: for good)."""
    body = {"segment": segment, "reason": reason, "labels": labels, "expires_at": expires_at, "weight": weight}
    return Call("POST", f"/v1/users/{part(user)}/corrections", Corrected, body=body)


def withdraw_correction(user: str, reason: str, *, labels: str | None = None) -> Call[Corrected]:
    """End the correction of a user."""
    query = {"reason": reason, "labels": labels}
    return Call("DELETE", f"/v1/users/{part(user)}/corrections", Corrected, query)


def pin_user(user: str, reason: str, *, segment: str | None = None, labels: str | None = None) -> Call[Corrected]:
    """Keep a user in a segment, default: the present one, until the correction is withdrawn."""
    body = {"reason": reason, "segment": segment, "labels": labels}
    return Call("POST", f"/v1/users/{part(user)}/pins", Corrected, body=body)


def list_corrections(
    *, labels: str | None = None, everything: bool = False, limit: int = 50, cursor: str | None = None
) -> Call[Page[Correction]]:
    """Return a page of the corrections in force, newest first; ``everything``: also of those that are over."""
    query = {"labels": labels, "all": str(everything).lower(), "limit": limit, "cursor": cursor}
    return Call("GET", "/v1/corrections", Page[Correction], query)


def list_corrections_of_user(user: str) -> Call[Corrections]:
    """Return all corrections of a user, newest first."""
    return Call("GET", f"/v1/users/{part(user)}/corrections", Corrections)


def list_user_events(user: str, *, limit: int = 50, cursor: str | None = None) -> Call[Page[Event]]:
    """Return a page of the events of a user, newest first."""
    return Call("GET", f"/v1/users/{part(user)}/events", Page[Event], {"limit": limit, "cursor": cursor})


def list_review(
    *, labels: str | None = None, limit: int = 20, ignore_value: bool = False, user_ids: bool = False
) -> Call[Review]:
    """Return whom it pays most to look at: the model is unsure, and they spend much."""
    query = {"labels": labels, "limit": limit}
    query |= {"ignore_value": str(ignore_value).lower(), "user_ids": str(user_ids).lower()}
    return Call("GET", "/v1/review", Review, query)


def show_erasure(user: str) -> Call[Erased]:
    """Return what the erasure of a user would delete; nothing is erased."""
    return Call("GET", f"/v1/users/{part(user)}/erasure", Erased)


def erase_user(user: str) -> Call[Erased]:
    """Erase a user permanently; raises :class:`segadmin.errors.UserNotFound`."""
    return Call("DELETE", f"/v1/users/{part(user)}", Erased)


def list_merges(*, limit: int = 50, cursor: str | None = None) -> Call[Page[Merge]]:
    """Return a page of the merges of users, newest first."""
    return Call("GET", "/v1/merges", Page[Merge], {"limit": limit, "cursor": cursor})


def merge_users(old: str, new: str) -> Call[Merge]:
    """Merge the user ``old``, such as a visitor, into the user ``new``."""
    return Call("POST", "/v1/merges", Merge, body={"old": old, "new": new})


def undo_merge(number: int) -> Call[Merge]:
    """Undo a merge: the first user gets all rows back that came under their id."""
    return Call("POST", f"/v1/merges/{number}/undo", Merge)
