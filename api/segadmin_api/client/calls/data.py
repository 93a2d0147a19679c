"""Calls about what is in the store: tables, label sets, imports and quarantine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segadmin_api.client.call import Call, SavedFile, given, once, part
from segadmin_api.schemas.data import Import, LabelSet, LabelSets, QuarantinedRow, Tables
from segadmin_api.schemas.pages import Page
from segadmin_api.schemas.quarantine import Dropped, Reasons

if TYPE_CHECKING:
    from segadmin_api.schemas.uploads import StoredProfile, Upload


def list_tables() -> Call[Tables]:
    """Return the tables of the store with their numbers of rows."""
    return Call("GET", "/v1/tables", Tables)


def show_profile() -> Call[StoredProfile]:
    """Return what the store holds, as the newest job of the kind ``profile`` has counted it."""
    from segadmin_api.schemas.uploads import StoredProfile  # not above: it imports Polars

    return Call("GET", "/v1/profile", StoredProfile)


def list_label_sets() -> Call[LabelSets]:
    """Return the label sets."""
    return Call("GET", "/v1/label-sets", LabelSets)


def show_label_set(name: str) -> Call[LabelSet]:
    """Return a label set; raises :class:`segadmin.errors.LabelSetNotFound`."""
    return Call("GET", f"/v1/label-sets/{part(name)}", LabelSet)


def derive_label_set(
    name: str, labeler: str = "future-spend", options: Mapping[str, Any] | None = None
) -> Call[LabelSet]:
    """Derive labels from events, replacing a label set of the same name; it reads all events, which takes a while."""
    body = {"labeler": labeler, "options": dict(options or {})}
    return Call("PUT", f"/v1/label-sets/{part(name)}", LabelSet, body=body)


def list_imports(*, state: str | None = None, limit: int = 50, cursor: str | None = None) -> Call[Page[Import]]:
    """Return a page of imports, newest first."""
    return Call("GET", "/v1/imports", Page[Import], {"state": state, "limit": limit, "cursor": cursor})


def show_import(number: int) -> Call[Import]:
    """Return an import: how many rows were kept, and why the others were not."""
    return Call("GET", f"/v1/imports/{number}", Import)


def list_quarantine(
    *, import_id: int | None = None, reason: str | None = None, limit: int = 50, cursor: str | None = None
) -> Call[Page[QuarantinedRow]]:
    """Return a page of the rows that could not be imported, unchanged."""
    query = {"import": import_id, "reason": reason, "limit": limit, "cursor": cursor}
    return Call("GET", "/v1/quarantine", Page[QuarantinedRow], query)


def list_quarantine_reasons(*, import_id: int | None = None) -> Call[Reasons]:
    """Return why rows are in quarantine, with what to do about it."""
    return Call("GET", "/v1/quarantine/reasons", Reasons, {"import": import_id})


def save_quarantine(import_id: int, out: Path | str, *, reason: str | None = None) -> Call[SavedFile]:
    """Write the rows of an import that are in quarantine to ``out``, as CSV, for correction."""
    return Call("GET", "/v1/quarantine/file", SavedFile, {"import": import_id, "reason": reason}, out=Path(out))


def retry_quarantine(import_id: int, *, reason: str | None = None, key: str | None = None) -> Call[Upload]:
    """Make an upload of rows in quarantine, to import them with a corrected mapping.

    Args:
        import_id: the import whose rows they are.
        reason: only rows with this reason.
        key: idempotency key; the same request with the same key makes one upload. Default: a new one.
    """
    from segadmin_api.schemas.uploads import Upload  # not above: it imports Polars

    body = {"import": import_id} | given(reason=reason)
    return Call("POST", "/v1/quarantine/retry", Upload, body=body, headers=once(key))


def drop_quarantine(import_id: int, *, reason: str | None = None) -> Call[Dropped]:
    """Delete the rows of an import from quarantine permanently."""
    return Call("DELETE", "/v1/quarantine", Dropped, {"import": import_id, "reason": reason})
