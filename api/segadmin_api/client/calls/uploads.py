"""Calls that upload files and import them; and saved mappings."""

from __future__ import annotations

from collections.abc import Mapping as Options
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segadmin.errors import DataError
from segadmin_api.client.call import Call, Done, Progress, given, once, part, several
from segadmin_api.schemas.jobs import Enqueued

if TYPE_CHECKING:
    from segadmin_api.schemas.uploads import Mapping, Mappings, PreviewedUpload, Upload, Uploads


def upload_file(
    path: Path | str, *, name: str | None = None, progress: Progress | None = None, key: str | None = None
) -> Call[Upload]:
    """Upload a file of any size that the server takes; it is sent in pieces, and kept for a day or until its import.

    Args:
        path: of the file here.
        name: what the server calls it; its ending says how it is read. Default: that of the file.
        progress: is called with the bytes that were sent so far, and with those of the whole file.
        key: idempotency key; the same file with the same key is one upload. Default: a new one.

    Raises:
        DataError: there is no such file.
        UploadTooLarge: it is larger than ``SEGADMIN_WEB_UPLOAD_MIB`` of the server.
    """
    from segadmin_api.schemas.uploads import Upload  # not above: it imports Polars

    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} is no file.")
    query = {"name": name or path.name}
    return Call("POST", "/v1/uploads", Upload, query, file=path, progress=progress, headers=once(key))


def list_uploads() -> Call[Uploads]:
    """Return the uploads that wait to be imported, newest first."""
    from segadmin_api.schemas.uploads import Uploads

    return Call("GET", "/v1/uploads", Uploads)


def show_upload(upload: str) -> Call[Upload]:
    """Return an upload; raises :class:`segadmin.errors.UploadNotFound`."""
    from segadmin_api.schemas.uploads import Upload

    return Call("GET", f"/v1/uploads/{part(upload)}", Upload)


def remove_upload(upload: str) -> Call[Done]:
    """Remove an upload that is not to be imported."""
    return Call("DELETE", f"/v1/uploads/{part(upload)}", Done)


def preview_upload(
    upload: str,
    table: str = "events",
    mapping: str | None = None,
    *,
    source_options: Options[str, str] | None = None,
    label_set: str = "",
    segments: str | Sequence[str] = (),
    source: str | None = None,
    again: bool = False,
    rows: int | None = None,
) -> Call[PreviewedUpload]:
    """Choose how an upload is imported, and return what its import would do.

    Args:
        upload: its id.
        table: ``events``, ``items`` or ``labels``.
        mapping: in TOML, or the name of a saved or shipped mapping; ``None``: propose one.
        source_options: how the file is read, such as ``encoding``.
        label_set: for labels: the name of the set.
        segments: for labels: the segments in order; default: as they occur.
        source: the source plugin that reads the file; default: by its suffix.
        again: import even if the same file was imported before.
        rows: to read from the start; default and most: 10,000.
    """
    from segadmin_api.schemas.uploads import PreviewedUpload

    labels = {"label_set": label_set, "segments": several(segments)} | given(source=source, rows=rows)
    body = {"table": table, "mapping": mapping, "source_options": dict(source_options or {}), "again": again, **labels}
    return Call("POST", f"/v1/uploads/{part(upload)}/preview", PreviewedUpload, body=body, is_idempotent=True)


def show_upload_preview(upload: str) -> Call[PreviewedUpload]:
    """Return what the import of an upload would do, as it was chosen last."""
    from segadmin_api.schemas.uploads import PreviewedUpload

    return Call("GET", f"/v1/uploads/{part(upload)}/preview", PreviewedUpload)


def import_upload(upload: str) -> Call[Enqueued]:
    """Import an upload as it was chosen last, by a job; once, however often it is asked for."""
    return Call("POST", f"/v1/uploads/{part(upload)}/import", Enqueued, is_idempotent=True)


def list_mappings() -> Call[Mappings]:
    """Return the mappings: the saved ones, then those that come with segadmin."""
    from segadmin_api.schemas.uploads import Mappings

    return Call("GET", "/v1/mappings", Mappings)


def save_mapping(name: str, text: str, *, replace: bool = True) -> Call[Mapping]:
    """Save a mapping, in TOML, under a name.

    Args:
        name: without dots and slashes.
        text: the mapping.
        replace: one that was saved under this name; otherwise that is :class:`segadmin.errors.NameTaken`.
    """
    from segadmin_api.schemas.uploads import Mapping

    headers = {} if replace else {"If-None-Match": "*"}
    return Call("PUT", f"/v1/mappings/{part(name)}", Mapping, body={"text": text}, headers=headers)


def remove_mapping(name: str) -> Call[Done]:
    """Remove a saved mapping; imports keep what they were made with."""
    return Call("DELETE", f"/v1/mappings/{part(name)}", Done)
