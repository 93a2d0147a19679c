"""Calls about the server: keys, the audit log, settings, checks and plugins."""

from __future__ import annotations

from datetime import datetime

from segadmin.storage.records import Scope
from segadmin_api.client.call import Call, Done, part
from segadmin_api.schemas.data import (
    AuditEntry,
    Backbones,
    Findings,
    Keys,
    NewKey,
    PluginCheck,
    PluginDetails,
    Plugins,
    ServerSettings,
    Whoami,
)
from segadmin_api.schemas.pages import Page


def whoami() -> Call[Whoami]:
    """Return what the key gives access to."""
    return Call("GET", "/v1/whoami", Whoami)


def list_keys() -> Call[Keys]:
    """Return the keys, oldest first."""
    return Call("GET", "/v1/keys", Keys)


def create_key(name: str, role: Scope | str = Scope.VIEWER, *, expires_at: datetime | None = None) -> Call[NewKey]:
    """Create a key; it is in the answer, and cannot be shown again. ``expires_at`` has a time zone."""
    body = {"name": name, "role": str(role), "expires_at": expires_at and expires_at.isoformat()}
    return Call("POST", "/v1/keys", NewKey, body=body)


def revoke_key(name: str) -> Call[Done]:
    """Revoke a key; raises :class:`segadmin.errors.KeyNotFound`."""
    return Call("DELETE", f"/v1/keys/{part(name)}", Done)


def list_audit(
    *, action: str | None = None, actor: str | None = None, limit: int = 50, cursor: str | None = None
) -> Call[Page[AuditEntry]]:
    """Return a page of the audit log, newest first; ``models`` as an action includes ``models.promote``."""
    query = {"action": action, "actor": actor, "limit": limit, "cursor": cursor}
    return Call("GET", "/v1/audit", Page[AuditEntry], query)


def list_settings() -> Call[ServerSettings]:
    """Return the settings of the server and where each comes from; secrets are masked."""
    return Call("GET", "/v1/settings", ServerSettings)


def run_doctor() -> Call[Findings]:
    """Run the checks of ``segadmin doctor`` on the machine of the server; it takes seconds."""
    return Call("POST", "/v1/doctor", Findings)


def list_plugins(*, kind: str | None = None) -> Call[Plugins]:
    """Return the registered plugins, and those that could not be loaded."""
    return Call("GET", "/v1/plugins", Plugins, {"kind": kind})


def show_plugin(kind: str, name: str) -> Call[PluginDetails]:
    """Return the description of a plugin, and its options with their defaults."""
    return Call("GET", f"/v1/plugins/{part(kind)}/{part(name)}", PluginDetails)


def check_plugin(kind: str, name: str) -> Call[PluginCheck]:
    """Run the contract tests on a plugin; it takes seconds to minutes."""
    return Call("POST", f"/v1/plugins/{part(kind)}/{part(name)}/check", PluginCheck)


def list_backbones() -> Call[Backbones]:
    """Return the registered backbones."""
    return Call("GET", "/v1/backbones", Backbones)
