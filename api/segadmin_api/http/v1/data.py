"""``/v1/label-sets``, ``/v1/imports`` and ``/v1/quarantine``: what is in the store."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path as FilePath
from shutil import rmtree
from typing import Annotated, Any, Literal

import polars as pl
from fastapi import HTTPException, Path, Query, Request, Response
from fastapi.responses import FileResponse
from sqlmodel import select
from starlette.background import BackgroundTask

from segadmin.errors import DataError, LabelSetNotFound, did_you_mean
from segadmin.events import import_records
from segadmin.events.interrupted import state_of
from segadmin.events.quarantine import as_file, count_reasons, drop_rows, find_rows
from segadmin.events.quarantine_reasons import explanation
from segadmin.events.quarantine_retry import upload_rows
from segadmin.labels.labeling import label
from segadmin.settings import Settings
from segadmin.snapshots.export import find_sink
from segadmin.storage import records
from segadmin.storage.audit import record
from segadmin.storage.database import reading
from segadmin.storage.import_lock import is_importing
from segadmin.storage.records import Scope
from segadmin.urls import mask_all
from segadmin_api.http.problems import request_errors
from segadmin_api.http.v1.paging import Pages
from segadmin_api.http.v1.routing import IdempotencyKey, allow, changes, once, router, settings_of
from segadmin_api.http.v1.uploads import answer_upload
from segadmin_api.schemas.data import Import, LabelRequest, LabelSet, LabelSets, QuarantinedRow, Tables
from segadmin_api.schemas.jobs import Name
from segadmin_api.schemas.pages import Page
from segadmin_api.schemas.quarantine import Dropped, Reason, Reasons, RetryRows
from segadmin_api.schemas.uploads import Upload
from segadmin_api.store_tables import store_tables

tables = router("/tables", "imports")
label_sets = router("/label-sets", "label sets")
imports = router("/imports", "imports")
quarantine = router("/quarantine", "imports")
ImportNumber = Annotated[int, Path(ge=1, le=2**31 - 1, description="The number of an import.")]
LabelSetName = Annotated[str, Path(max_length=200, description="The name of a label set.")]
OfImport = Annotated[int | None, Query(alias="import", ge=1, le=2**31 - 1, description="Only rows of this import.")]
OfReason = Annotated[Name | None, Query(description="Only rows with this reason.", examples=["bad_time"])]
#: Held while a label set is derived, which reads all events: one at a time.
_deriving = threading.Lock()


@tables.get("", dependencies=[allow(Scope.VIEWER)])
def list_tables(request: Request) -> Tables:
    """List the tables of the store with their numbers of rows."""
    return Tables(items=store_tables(settings_of(request)))


@label_sets.get("", dependencies=[allow(Scope.VIEWER)])
def list_label_sets(request: Request) -> LabelSets:
    """List the label sets."""
    with reading(settings_of(request)) as session:
        rows = session.exec(select(records.LabelSet).order_by(records.LabelSet.name)).all()
    return LabelSets(items=[LabelSet.model_validate(row) for row in rows])


@label_sets.get("/{name:path}", dependencies=[allow(Scope.VIEWER)])
def show_label_set(request: Request, name: LabelSetName) -> LabelSet:
    """Show a label set."""
    with reading(settings_of(request)) as session:
        row = session.get(records.LabelSet, name)
        names = session.exec(select(records.LabelSet.name)).all()
    if row is None:
        raise LabelSetNotFound(f"There are no labels {name!r}.{did_you_mean(name, names)}")
    return LabelSet.model_validate(row)


@label_sets.put("/{name:path}", dependencies=[allow(Scope.OPERATOR)], responses=changes())
def derive_label_set(request: Request, name: LabelSetName, wanted: LabelRequest) -> LabelSet:
    """Derive labels from events, replacing a label set of the same name. It reads all events, which takes a while."""
    if not _deriving.acquire(blocking=False):
        raise HTTPException(409, "Another label set is being derived. Try again when it is done.")
    try:
        with request_errors(in_body=True):
            return LabelSet.model_validate(label(settings_of(request), name, wanted.labeler, wanted.options))
    finally:
        _deriving.release()


@imports.get("", dependencies=[allow(Scope.VIEWER)])
def list_imports(
    request: Request,
    pages: Pages,
    state: Annotated[
        Literal["running", "succeeded", "failed", "interrupted"] | None, Query(description="Only those in this state.")
    ] = None,
) -> Page[Import]:
    """List imports, newest first."""
    settings, position = settings_of(request), pages.after(int)
    before = None if position is None else position[0]
    rows = import_records.list_imports(settings, pages.limit + 1, state=state, before=before)
    importing = is_importing(settings)
    return pages.page(rows, lambda row: _import(row, importing=importing), lambda row: [row.id])


@imports.get("/{number}", dependencies=[allow(Scope.VIEWER)])
def show_import(request: Request, number: ImportNumber) -> Import:
    """Show an import: how many rows were kept, and why the others were not."""
    settings = settings_of(request)
    row = import_records.find_import(settings, number)
    return _import(row, importing=is_importing(settings))


@quarantine.get("", dependencies=[allow(Scope.ANALYST)])
def list_quarantine(
    request: Request,
    pages: Pages,
    import_id: OfImport = None,
    reason: OfReason = None,
) -> Page[QuarantinedRow]:
    """List the rows that could not be imported, unchanged, by import and line."""
    settings, after = settings_of(request), pages.after(int, int)
    rows = find_rows(settings, import_id, reason)
    if after is None:
        record(settings, "data.quarantine", "all imports" if import_id is None else f"import {import_id}")
    else:
        same_import = (pl.col("import_id") == after[0]) & (pl.col("line") > after[1])
        rows = rows.filter((pl.col("import_id") > after[0]) | same_import)
    quarantined = rows.head(pages.limit + 1).collect().to_dicts()
    return pages.page(quarantined, lambda row: QuarantinedRow(**row), lambda row: [row["import_id"], row["line"]])


@quarantine.get("/reasons", dependencies=[allow(Scope.VIEWER)])
def list_reasons(request: Request, import_id: OfImport = None) -> Reasons:
    """List why rows are in quarantine, with what to do about it."""
    counts = count_reasons(settings_of(request), import_id)
    explained = [(reason, rows, explanation(reason)) for reason, rows in counts.items()]
    return Reasons(
        items=[Reason(reason=reason, rows=rows, meaning=text.meaning, fix=text.fix) for reason, rows, text in explained]
    )


@quarantine.get(
    "/file",
    dependencies=[allow(Scope.ANALYST)],
    response_class=FileResponse,
    responses={200: {"description": "The file.", "content": {"text/csv": {}}}},
)
def send_rows(
    request: Request,
    import_id: Annotated[int, Query(alias="import", ge=1, le=2**31 - 1, description="The import.")],
    reason: OfReason = None,
) -> FileResponse:
    """Send the rows of an import that are in quarantine as CSV, with the reasons, for correction."""
    settings = settings_of(request)
    with request_errors(in_body=True):
        return quarantine_file(settings, import_id, reason)


@quarantine.post("/retry", status_code=201, dependencies=[allow(Scope.OPERATOR)], responses=once(Upload))
def retry_rows(
    request: Request, response: Response, wanted: RetryRows, idempotency_key: IdempotencyKey = None
) -> Upload:
    """Make an upload of rows in quarantine, to import them with a corrected mapping; then they leave quarantine."""
    with request_errors(in_body=True):
        upload, created = upload_rows(settings_of(request), wanted.import_id, wanted.reason, idempotency_key)
    return answer_upload(response, upload, created=created)


@quarantine.delete("", dependencies=[allow(Scope.OPERATOR)], responses=changes())
def drop_quarantine(
    request: Request,
    import_id: Annotated[int, Query(alias="import", ge=1, le=2**31 - 1, description="The import.")],
    reason: OfReason = None,
) -> Dropped:
    """Delete the rows of an import from quarantine permanently, after they were corrected and imported."""
    settings = settings_of(request)
    import_records.find_import(settings, import_id)
    return Dropped(rows=drop_rows(settings, import_id, reason))


def quarantine_file(settings: Settings, number: int, reason: str | None) -> FileResponse:
    """Return rows in quarantine as a CSV file.

    Raises:
        ImportNotFound: there is no such import.
        DataError: it has no such rows.
    """
    import_records.find_import(settings, number)
    rows = find_rows(settings, number, reason).collect()
    if rows.is_empty():
        raise DataError(f"Import {number} has no such rows in quarantine.")
    record(settings, "data.quarantine", f"import {number}", rows=rows.height, reason=reason)
    folder = FilePath(tempfile.mkdtemp(prefix="segadmin-"))
    path = folder / f"quarantine-{number}.csv"
    find_sink(settings, path).write(as_file(rows, formulas=True).lazy(), path)
    return FileResponse(path, media_type="text/csv", filename=path.name, background=BackgroundTask(rmtree, folder))


def _import(row: records.Import, *, importing: bool) -> Import:
    facts: dict[str, Any] = mask_all(row.model_dump())
    return Import(**facts | {"state": state_of(row, importing=importing)})
