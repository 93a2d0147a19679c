"""``/v1/label-sets``, ``/v1/imports`` and ``/v1/quarantine``: what is in the store."""

from __future__ import annotations

import threading
from typing import Annotated, Any

import polars as pl
from fastapi import HTTPException, Path, Query, Request
from sqlmodel import col, select

from segadmin.errors import ImportNotFound, LabelSetNotFound, did_you_mean
from segadmin.events.interrupted import state_of
from segadmin.events.quarantine import find_rows
from segadmin.labels.labeling import label
from segadmin.storage import records
from segadmin.storage.audit import record
from segadmin.storage.database import reading
from segadmin.storage.import_lock import is_importing
from segadmin.storage.records import Scope
from segadmin.urls import mask_all
from segadmin_api.http.problems import request_errors
from segadmin_api.http.v1.paging import Pages
from segadmin_api.http.v1.routing import allow, changes, router, settings_of
from segadmin_api.schemas.data import Import, LabelRequest, LabelSet, LabelSets, QuarantinedRow
from segadmin_api.schemas.jobs import Name
from segadmin_api.schemas.pages import Page

label_sets = router("/label-sets", "label sets")
imports = router("/imports", "imports")
quarantine = router("/quarantine", "imports")
ImportNumber = Annotated[int, Path(ge=1, le=2**31 - 1, description="The number of an import.")]
LabelSetName = Annotated[str, Path(max_length=200, description="The name of a label set.")]
#: Held while a label set is derived, which reads all events: one at a time.
_deriving = threading.Lock()


@label_sets.get("", dependencies=[allow(Scope.VIEWER)])
def list_label_sets(request: Request) -> LabelSets:
    """List the label sets."""
    with reading(settings_of(request)) as session:
        rows = session.exec(select(records.LabelSet).order_by(records.LabelSet.name)).all()
    return LabelSets(items=[LabelSet.model_validate(row) for row in rows])


@label_sets.get("/{name}", dependencies=[allow(Scope.VIEWER)])
def show_label_set(request: Request, name: LabelSetName) -> LabelSet:
    """Show a label set."""
    with reading(settings_of(request)) as session:
        row = session.get(records.LabelSet, name)
        names = session.exec(select(records.LabelSet.name)).all()
    if row is None:
        raise LabelSetNotFound(f"There are no labels {name!r}.{did_you_mean(name, names)}")
    return LabelSet.model_validate(row)


@label_sets.put("/{name}", dependencies=[allow(Scope.OPERATOR)], responses=changes())
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
def list_imports(request: Request, pages: Pages) -> Page[Import]:
    """List imports, newest first."""
    settings, position = settings_of(request), pages.after(int)
    query = select(records.Import).order_by(col(records.Import.id).desc()).limit(pages.limit + 1)
    if position is not None:
        query = query.where(col(records.Import.id) < position[0])
    with reading(settings) as session:
        rows = session.exec(query).all()
    importing = is_importing(settings)
    return pages.page(rows, lambda row: _import(row, importing=importing), lambda row: [row.id])


@imports.get("/{number}", dependencies=[allow(Scope.VIEWER)])
def show_import(request: Request, number: ImportNumber) -> Import:
    """Show an import: how many rows were kept, and why the others were not."""
    settings = settings_of(request)
    with reading(settings) as session:
        row = session.get(records.Import, number)
    if row is None:
        raise ImportNotFound(f"There is no import {number}. See: segadmin data list")
    return _import(row, importing=is_importing(settings))


@quarantine.get("", dependencies=[allow(Scope.ANALYST)])
def list_quarantine(
    request: Request,
    pages: Pages,
    import_id: Annotated[
        int | None, Query(alias="import", ge=1, le=2**31 - 1, description="Only rows of this import.")
    ] = None,
    reason: Annotated[Name | None, Query(description="Only rows with this reason.", examples=["bad_time"])] = None,
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


def _import(row: records.Import, *, importing: bool) -> Import:
    facts: dict[str, Any] = mask_all(row.model_dump())
    return Import(**facts | {"state": state_of(row, importing=importing)})
