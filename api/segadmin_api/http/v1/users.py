"""``/v1/users``: one user, given as the shop's id or a pseudonym: history, text, erasure."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Request

from segadmin.errors import ConfigurationError, DataError, UserNotFound
from segadmin.events.erase import forget, plan_erasure
from segadmin.events.keys import show_key
from segadmin.models.versions import find_version
from segadmin.settings import Settings
from segadmin.snapshots.user import find_user, history, merged_into, read_text
from segadmin.storage.audit import record
from segadmin.storage.database import reading
from segadmin.storage.records import Scope
from segadmin_api.http.v1.merges import shown
from segadmin_api.http.v1.routing import allow, changes, router, settings_of
from segadmin_api.schemas.jobs import Name
from segadmin_api.schemas.snapshots import Assigned, Erased, User, UserText

users = router("/users", "users")
UserId = Annotated[
    str, Path(max_length=1024, description="The shop's id of the user, or a pseudonym of 16 hex digits.")
]
Labels = Annotated[Name | None, Query(description="The label set; needed if the user is in several.")]


@users.get("/{user:path}/text", dependencies=[allow(Scope.ANALYST)])
def show_text(
    request: Request,
    user: UserId,
    labels: Labels = None,
    model: Annotated[
        int | None,
        Query(ge=1, le=2**31 - 1, description="A model version; default: the model of the current snapshot."),
    ] = None,
) -> UserText:
    """Show the text that a model reads of a user."""
    settings = settings_of(request)
    key = find(settings, user, "text")
    if model is not None:
        return _text(settings, key, model)
    current = [row for row in history(settings, key) if row.current and labels in {None, row.label_set}]
    if not current:
        raise DataError("The user is in no current snapshot. Score all users: segadmin enqueue score --wait")
    if len(current) > 1:
        names = ", ".join(row.label_set for row in current)
        raise ConfigurationError(f"labels: which label set? There are: {names}.")
    return _text(settings, key, current[0].model_version_id)


@users.get("/{user:path}/erasure", dependencies=[allow(Scope.ADMIN)])
def show_erasure(request: Request, user: UserId) -> Erased:
    """Show what the erasure of a user would delete; nothing is erased."""
    [planned] = plan_erasure(settings_of(request), [user])
    if not planned.is_known:
        raise UserNotFound("There is no such user.")
    return Erased.model_validate(planned)


@users.get("/{user:path}", dependencies=[allow(Scope.VIEWER)])
def show_user(request: Request, user: UserId) -> User:
    """Show the segment of a user in every published snapshot, newest first."""
    settings = settings_of(request)
    key = find(settings, user, "history")
    assigned = [Assigned.model_validate(row) for row in history(settings, key)]
    return User(user_key=show_key(key), history=assigned, merged=list(map(shown, merged_into(settings, key))))


@users.delete("/{user:path}", dependencies=[allow(Scope.ADMIN)], responses=changes())
def erase(request: Request, user: UserId) -> Erased:
    """Erase a user permanently: from tables, quarantine, pending imports and job outputs.

    Refused while jobs read users' data. If the shop continues to send events of the user, the user is created again.
    """
    [erased] = forget(settings_of(request), [user])
    if not erased.is_known:
        raise UserNotFound("There is no such user; nothing was erased.")
    return Erased.model_validate(erased)


def _text(settings: Settings, key: int, model: int) -> UserText:
    with reading(settings) as session:
        label_set = find_version(session, str(model)).label_set
    phrases = read_text(settings, key, model)
    return UserText(user_key=show_key(key), label_set=label_set, model_version_id=model, phrases=phrases)


def find(settings: Settings, user: str, what: str) -> int:
    """Return the key of a user who is looked at, which the audit log records.

    Raises:
        UserNotFound: there is no such user.
    """
    try:
        key = find_user(settings, user)
    except UserNotFound:
        raise UserNotFound("There is no such user.") from None  # answers and logs must not repeat an id
    record(settings, "users.show", f"user {show_key(key)}", what=what)
    return key
