"""Calls about the server: keys, the audit log, settings, checks and plugins."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from segadmin.storage.records import Scope
from segadmin_api.client.call import Call, Done, part
from segadmin_api.schemas.data import (
    AuditEntry,
    BackboneCheck,
    Backbones,
    Findings,
    Keys,
    Messages,
    NewKey,
    PluginCheck,
    PluginDetails,
    Plugins,
    ServerSettings,
    Whoami,
)
from segadmin_api.schemas.pages import Page
from segadmin_api.schemas.quarantine import Dropped


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


def run_doctor(*, backbone: str | None = None) -> Call[Findings]:
    """Run the checks of ``segadmin doctor`` on the machine of the server, also of a backbone; it takes seconds."""
    return Call("POST", "/v1/doctor", Findings, {"backbone": backbone})


def list_plugins(*, kind: str | None = None) -> Call[Plugins]:
    """Return the registered plugins, and those that could not be loaded."""
    return Call("GET", "/v1/plugins", Plugins, {"kind": kind})


def show_plugin(kind: str, name: str) -> Call[PluginDetails]:
    """Return the description of a plugin, and its options with their defaults."""
    return Call("GET", f"/v1/plugins/{part(kind)}/{part(name)}", PluginDetails)


def check_plugin(kind: str, name: str, *, options: Mapping[str, str] | None = None) -> Call[PluginCheck]:
    """Run the contract tests on a plugin, with ``options`` of it as text; it takes seconds to minutes."""
    body = {"options": dict(options or {})}
    return Call("POST", f"/v1/plugins/{part(kind)}/{part(name)}/check", PluginCheck, body=body)


def list_backbones() -> Call[Backbones]:
    """Return the registered backbones and the pretrained models, and whether the machine of the server can use them."""
    return Call("GET", "/v1/backbones", Backbones)


def check_backbone(model: str, *, options: Mapping[str, str] | None = None) -> Call[BackboneCheck]:
    """Check that a backbone works on the machine of the server.

    Raises :class:`segadmin.errors.BackboneUnavailable` if it does not.
    """
    body = {"model": model, "options": dict(options or {})}
    return Call("POST", "/v1/backbones/check", BackboneCheck, body=body)


def list_quarantined_messages(*, limit: int = 50) -> Call[Messages]:
    """Return the newest messages from the broker that segadmin did not send; they were never run."""
    return Call("GET", "/v1/broker/quarantine", Messages, {"limit": limit})


def clear_quarantined_messages() -> Call[Dropped]:
    """Delete all messages from the broker that segadmin did not send."""
    return Call("DELETE", "/v1/broker/quarantine", Dropped)
