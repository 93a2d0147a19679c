"""``/data/quarantine``: the rows that could not be imported. Analysts may see them, as they hold what users did."""

from __future__ import annotations

import re
from typing import Annotated

import polars as pl
from fastapi import Depends, HTTPException, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse

from segadmin.events.quarantine import count_reasons, drop_rows, find_rows
from segadmin.events.quarantine_retry import upload_rows
from segadmin.storage.audit import record
from segadmin.storage.records import Scope
from segadmin_api.dashboard import data
from segadmin_api.dashboard.render import counted_of, text_of
from segadmin_api.http.forms import Form, RequiresForm, go_to
from segadmin_api.http.html import html_response
from segadmin_api.http.pages.routes import forms_router, pages_router, settings_of
from segadmin_api.http.problems import request_errors
from segadmin_api.http.readers import PageReader, reader_of
from segadmin_api.http.v1.data import quarantine_file

#: Rows on a page.
_ROWS = 50
router, forms = pages_router(Scope.ANALYST), forms_router()
OfImport = Annotated[str, Query(alias="import", pattern="^[0-9]{0,9}$")]
OfReason = Annotated[str, Query(max_length=200)]
Operator = Annotated[Form, Depends(RequiresForm(Scope.OPERATOR))]
_POSITION = re.compile("([0-9]{1,9})-([0-9]{1,18})")


@router.get("/data/quarantine")
def list_rows(
    request: Request,
    reader: PageReader,
    import_id: OfImport = "",
    reason: OfReason = "",
    after: Annotated[str, Query(max_length=40)] = "",
) -> HTMLResponse:
    """Show rows by import and line, of an import or with a reason, and what the reasons mean."""
    settings, number = settings_of(request), int(import_id) if import_id else None
    rows = find_rows(settings, number, reason or None)
    if position := _POSITION.fullmatch(after):
        last_import, last_line = map(int, position.groups())
        same = (pl.col("import_id") == last_import) & (pl.col("line") > last_line)
        rows = rows.filter((pl.col("import_id") > last_import) | same)
    else:
        record(settings, "data.quarantine", "all imports" if number is None else f"import {number}")
    shown = rows.head(_ROWS + 1).collect().to_dicts()
    end = shown[_ROWS - 1] if len(shown) > _ROWS else None
    page = data.quarantine_page(
        shown[:_ROWS],
        count_reasons(settings, number),
        reader,
        number=number,
        reason=reason,
        after=f"{end['import_id']}-{end['line']}" if end else "",
        first=not position,
    )
    return html_response(page)


@router.get("/data/quarantine/file")
def send_rows(
    request: Request,
    import_id: Annotated[int, Query(alias="import", ge=1, le=2**31 - 1)],
    reason: OfReason = "",
) -> FileResponse:
    """Send rows as CSV, with the reasons."""
    with request_errors(in_body=True):
        return quarantine_file(settings_of(request), import_id, reason or None)


@forms.post("/data/quarantine/retry")
def retry(request: Request, form: Operator) -> RedirectResponse:
    """Make a file of the rows, whose mapping is corrected on the next page."""
    upload, _ = upload_rows(settings_of(request), _number(form), form.text("reason") or None)
    return go_to(f"/data/uploads/{upload.id}")


@forms.post("/data/quarantine/drop")
def drop(request: Request, form: Operator) -> RedirectResponse:
    """Delete the rows."""
    rows = drop_rows(settings_of(request), _number(form), form.text("reason") or None)
    reader = reader_of(request)
    return go_to("/data/quarantine", text_of(reader, "Deleted %(rows)s.", rows=counted_of(reader, rows, "row")))


def _number(form: Form) -> int:
    text = form.text("import")
    if not re.fullmatch("[0-9]{1,9}", text):
        raise HTTPException(422, f"{text!r} is no number of an import.")
    return int(text)
