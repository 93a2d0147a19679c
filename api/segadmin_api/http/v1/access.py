"""``/v1/keys``, ``/v1/whoami`` and ``/v1/audit``: who may do what, and who did what."""

from __future__ import annotations

from datetime import UTC
from typing import Annotated

from fastapi import Path, Query, Request

from segadmin.errors import ConfigurationError
from segadmin.storage import api_keys
from segadmin.storage.audit import entries
from segadmin.storage.records import ApiKey, Scope, utcnow
from segadmin_api.http.sessions import read_session
from segadmin_api.http.v1.paging import Pages
from segadmin_api.http.v1.routing import allow, changes, router, settings_of
from segadmin_api.schemas.data import AuditEntry, Key, KeyRequest, Keys, NewKey, Whoami
from segadmin_api.schemas.jobs import Name
from segadmin_api.schemas.pages import Page

keys = router("/keys", "access")
whoami = router("/whoami", "access")
audit = router("/audit", "access")


@keys.get("", dependencies=[allow(Scope.ADMIN)])
def list_keys(request: Request) -> Keys:
    """List the keys."""
    return Keys(items=[Key.model_validate(key) for key in api_keys.keys(settings_of(request))])


@keys.post("", status_code=201, dependencies=[allow(Scope.ADMIN)], responses=changes())
def create_key(request: Request, wanted: KeyRequest) -> NewKey:
    """Create a key. It is in this answer, and cannot be shown again."""
    settings, ends = settings_of(request), wanted.expires_at
    if ends is not None and ends <= utcnow():
        raise ConfigurationError(f"expires_at: {ends.isoformat()} is over.")
    ends = None if ends is None else ends.astimezone(UTC)
    key = api_keys.create(settings, wanted.name, wanted.role, expires_at=ends)
    [made] = [each for each in api_keys.keys(settings) if each.name == wanted.name]
    return NewKey(**made.model_dump(), key=key)


@keys.delete("/{name}", status_code=204, dependencies=[allow(Scope.ADMIN)], responses=changes())
def revoke_key(request: Request, name: Annotated[str, Path(max_length=200, description="The name of a key.")]) -> None:
    """Revoke a key; it no longer gives access."""
    api_keys.revoke(settings_of(request), name)


@whoami.get("", dependencies=[allow(None)])
def show_own_key(request: Request) -> Whoami:
    """Show what the key of this request gives access to."""
    key: ApiKey = request.state.key
    session = None if "authorization" in request.headers else read_session(settings_of(request), request)
    return Whoami(
        name=key.name,
        opens=key.opens,
        scopes=sorted(key.opens.includes),
        csrf_token=session.token if session else None,
        expires_at=key.expires_at,
    )


@audit.get("", dependencies=[allow(Scope.ADMIN)])
def list_audit(
    request: Request,
    pages: Pages,
    action: Annotated[
        Name | None, Query(description="Only this action and those below it: `models` includes `models.promote`.")
    ] = None,
    actor: Annotated[Name | None, Query(description="Only what this one did, such as `key ann`.")] = None,
) -> Page[AuditEntry]:
    """List the audit log, newest first."""
    position = pages.after(int)
    before = None if position is None else position[0]
    log = entries(settings_of(request), action, pages.limit + 1, actor=actor, before=before)
    return pages.page(log, AuditEntry.model_validate, lambda entry: [entry.id])
