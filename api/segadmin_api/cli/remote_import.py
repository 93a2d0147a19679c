"""``segadmin data import`` and ``preview`` with ``--server``: a file is uploaded, and imported there by a job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from segadmin.errors import DataError, SegadminError
from segadmin_api.cli.output import terminal
from segadmin_api.cli.remote_export import finished
from segadmin_api.cli.remote_records import as_import

if TYPE_CHECKING:
    from segadmin.events.import_request import ImportRequest
    from segadmin.events.mapping import Mapping
    from segadmin.events.preview import Preview
    from segadmin.storage.records import Import
    from segadmin_api.client import Client


def import_there(client: Client, request: ImportRequest) -> tuple[Import, bool]:
    """Import a file of this machine on a server; return its record, and whether it was new.

    Raises:
        DataError: it is no file, or cannot be imported so.
        typer.Exit: the job failed, which is printed.
    """
    with _uploaded(client, request) as (upload, _):
        job = client.import_upload(upload).job
    output = finished(client, job).steps[-1].result
    return as_import(client.show_import(output["id"])), output["fresh"]


def preview_there(client: Client, request: ImportRequest, rows: int) -> Preview:
    """Return what the import of a file of this machine would do on a server; errors as of :func:`import_there`."""
    from segadmin.events.upload_import import PREVIEW_ROWS

    if rows > PREVIEW_ROWS:
        raise typer.BadParameter(f"A server reads at most {PREVIEW_ROWS:,} rows.", param_hint="--rows")
    with _uploaded(client, request, rows) as (upload, preview):
        client.remove_upload(upload)
    return preview


def mapping_there(client: Client, path: Path | None) -> Mapping:
    """Return the mapping in a file of this machine, or the saved or shipped one of a server of that name."""
    from segadmin.events.mapping import Mapping
    from segadmin.events.shipped import is_name

    texts = {each.name: each.text for each in client.list_mappings().items} if path and is_name(path) else {}
    return Mapping.of_text(texts[str(path)]) if str(path) in texts else Mapping.read(path)


@contextmanager
def _uploaded(client: Client, request: ImportRequest, rows: int | None = None) -> Iterator[tuple[str, Preview]]:
    """Upload a file, choose how it is imported, and yield its id and preview; it is removed after an error."""
    from rich.progress import Progress

    from segadmin.events.saved_mappings import mapping_text

    path = Path(request.place)
    if not path.is_file():
        raise DataError(
            f"{request.name} is no file of this machine, and only such are uploaded to a server. Import tables, "
            "databases and folders on a machine that has the store."
        )
    console = terminal(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("Uploading", total=path.stat().st_size)
        upload = client.upload_file(path, progress=lambda sent, _: bar.update(task, completed=sent)).id
    try:
        result = client.preview_upload(
            upload,
            request.table,
            mapping_text(request.mapping),
            source_options=request.options,
            label_set=request.label_set,
            segments=request.segments,
            source=request.source,
            again=request.again,
            rows=rows,
        ).result
        if result.preview is None:
            raise DataError(result.problem)
        yield upload, result.preview
    except SegadminError:
        client.remove_upload(upload)
        raise
