"""``/exports``: files of users, asked for on the pages of snapshots, segments and movement."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse

from segadmin.errors import JobNotFound
from segadmin.jobs import control
from segadmin.jobs.enqueue import ask
from segadmin.storage.records import Scope
from segadmin_api.dashboard import exports
from segadmin_api.http.forms import Form, RequiresForm, go_to
from segadmin_api.http.html import html_response
from segadmin_api.http.pages.routes import Number, forms_router, pages_router, settings_of
from segadmin_api.http.readers import PageReader
from segadmin_api.http.v1.exports import send_file
from segadmin_worker.client import dispatcher

router, forms = pages_router(Scope.ANALYST), forms_router()
_TEXTS = ("segment", "before", "after", "cause", "file_format")


@router.get("/exports/{job}")
def show_export(request: Request, job: Number, reader: PageReader) -> HTMLResponse:
    """Show how far an export is, and then where its file is."""
    view = control.view(settings_of(request), job)
    if view.job.kind != "export":
        raise JobNotFound(f"Job {job} is no export, but of the kind {view.job.kind}.")
    return html_response(exports.page(view, reader))


@router.get("/exports/{job}/file")
def send_export(request: Request, job: Number) -> FileResponse:
    """Send the file of an export."""
    return send_file(request, job)


@forms.post("/exports")
def export(
    request: Request, form: Annotated[Form, Depends(RequiresForm(Scope.ANALYST))], reader: PageReader
) -> RedirectResponse:
    """Enqueue an export; a form that is sent twice makes one."""
    settings = settings_of(request)
    options: dict[str, Any] = {name: form.text(name) for name in _TEXTS if form.text(name)}
    options |= {name: form.text(name) for name in ("snapshot", "moved_since") if form.text(name)}
    options["with_user_ids"] = form.text("with_user_ids") == "1"
    key = f"page {form.text('nonce')}"[:200] if form.text("nonce") else None
    done = ask(settings, dispatcher(settings), "export", options, idempotency_key=key)
    return go_to(f"/exports/{done.job.id}", "" if done.dispatched else exports.waits(reader))
