"""``/data/upload`` and ``/data/uploads``: a file is uploaded, looked at, and imported."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, HTTPException, Path, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from segadmin.errors import SegadminError, StorageError, UploadNotFound, UploadTooLarge
from segadmin.events import saved_mappings
from segadmin.events.mapping import Mapping
from segadmin.events.saved_mappings import list_mappings, named_mapping, parse_mapping
from segadmin.events.shipped import shipped_mappings
from segadmin.events.upload_import import preview_upload, propose_choice, request_of, store_preview, stored_preview
from segadmin.events.uploads import Choice, Upload, choose, list_uploads, remove_upload
from segadmin.jobs import control
from segadmin.settings import Settings
from segadmin.storage.audit import record
from segadmin.storage.records import JobState, Scope
from segadmin.urls import mask_secrets
from segadmin.workflows.data import IngestOutput
from segadmin.workflows.uploads import KIND, ask_for_import, job_of, stored_upload
from segadmin_api.dashboard import uploads
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import text_of
from segadmin_api.http.forms import Form, RequiresForm, SessionEnded, go_to, saved_notice
from segadmin_api.http.html import html_response
from segadmin_api.http.pages.routes import Number, forms_router, pages_router, settings_of
from segadmin_api.http.readers import PageReader, reader_of
from segadmin_api.http.security import Requires, authorize
from segadmin_api.http.sessions import CSRF_FIELD, Session, read_session
from segadmin_api.http.uploads import most_bytes, reading_file, receive_upload
from segadmin_worker.client import dispatcher

router, forms = pages_router(Scope.OPERATOR), forms_router()
UploadId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
Operator = Annotated[Form, Depends(RequiresForm(Scope.OPERATOR))]


@dataclass(frozen=True)
class RequiresUpload(Requires):
    """A dependency of the form with a file: as ``RequiresForm``, without reading the body; returns the session."""

    async def __call__(self, request: Request) -> Session:  # type: ignore[override]
        """Return the session, whose token the form must hold before the file."""
        session = await run_in_threadpool(read_session, request.app.state.settings, request)
        if session is None:
            raise SessionEnded("/data/upload", None)
        authorize(request, session.key, self.scope)
        request.state.session = session
        return session


@router.get("/data/upload")
def show_uploads(request: Request, reader: PageReader) -> HTMLResponse:
    """Show the form for a file, and the files that wait."""
    return html_response(_upload_page(settings_of(request), reader))


@forms.post("/data/upload")
async def add_upload(
    request: Request, session: Annotated[Session, Depends(RequiresUpload(Scope.OPERATOR))]
) -> Response:
    """Store a file, and go on to the page on which its import is chosen."""
    settings, reader = settings_of(request), reader_of(request)

    def check(fields: object) -> None:
        if not isinstance(fields, dict) or not session.owns(fields.get(CSRF_FIELD, "")):
            raise HTTPException(403, "The form has no valid token. Load the page again.")

    try:
        upload, fields, _ = await receive_upload(request, settings, check=check)
    except (SegadminError, HTTPException) as error:
        status = 413 if isinstance(error, UploadTooLarge) else getattr(error, "status_code", 422)
        if status in {403, 415} or isinstance(error, StorageError):
            raise
        problem = error.detail if isinstance(error, HTTPException) else str(error)
        page = await run_in_threadpool(_upload_page, settings, reader, mask_secrets(problem))
        return html_response(page, status)
    await run_in_threadpool(_propose, settings, upload, fields.get("table", "events"))
    return go_to(f"/data/uploads/{upload.id}")


@router.get("/data/uploads/{upload}")
def show_upload(request: Request, upload: UploadId, reader: PageReader) -> Response:
    """Show how a file is read, and what its import would do."""
    settings = settings_of(request)
    try:
        stored = stored_upload(settings, upload)
    except UploadNotFound:
        if (job := job_of(settings, upload)) is not None:  # it was imported meanwhile
            return go_to(f"/data/results/{job.id}")
        raise
    return html_response(_wizard(settings, stored, reader))


@forms.post("/data/uploads/{upload}/propose")
def propose(request: Request, upload: UploadId, form: Operator) -> Response:
    """Read the file as another table, or by a mapping that there is."""
    settings, stored = settings_of(request), stored_upload(settings_of(request), upload)
    table, name = form.text("table", "events"), form.text("mapping")
    if not name:
        _propose(settings, stored, table)
        return go_to(f"/data/uploads/{upload}")
    mapping = parse_mapping(named_mapping(settings, name))
    return _chosen(request, stored, replace(stored.choice, table=table, mapping=_json(mapping)), {})


@forms.post("/data/uploads/{upload}/mapping")
def change_mapping(request: Request, upload: UploadId, form: Operator) -> Response:
    """Read the file as the fields of the form say."""
    stored = stored_upload(settings_of(request), upload)
    values = {name: texts[0] for name, texts in form.fields.items()}
    try:
        choice = uploads.choice_of(values, stored.choice)
    except SegadminError as error:
        return _again(request, stored, values, error)
    return _chosen(request, stored, choice, values)


@forms.post("/data/uploads/{upload}/text")
def change_text(request: Request, upload: UploadId, form: Operator) -> Response:
    """Read the file by a mapping that was written as text."""
    stored, text = stored_upload(settings_of(request), upload), form.text("text")
    values = {**uploads.form_values(stored.choice, stored_preview(settings_of(request), stored)), "text": text}
    try:
        mapping = parse_mapping(text)
    except SegadminError as error:
        return _again(request, stored, values, error)
    return _chosen(request, stored, replace(stored.choice, mapping=_json(mapping)), values)


@forms.post("/data/uploads/{upload}/save")
def save_mapping(request: Request, upload: UploadId, form: Operator) -> Response:
    """Save the mapping of a file under a name."""
    settings, reader = settings_of(request), reader_of(request)
    stored = stored_upload(settings, upload)
    try:
        mapping = Mapping.of(stored.choice.mapping)
        row = saved_mappings.save_mapping(settings, form.text("name"), mapping, replace=bool(form.text("replace")))
    except SegadminError as error:
        return _again(request, stored, None, error)
    return go_to(f"/data/uploads/{upload}", text_of(reader, "The mapping is saved as %(name)s.", name=row.name))


@forms.post("/data/uploads/{upload}/import")
def import_upload(request: Request, upload: UploadId, form: Operator) -> Response:
    """Import a file by a job, once; the next page shows what becomes of it."""
    settings, reader = settings_of(request), reader_of(request)
    try:
        done = ask_for_import(settings, dispatcher(settings), upload)
    except SegadminError as error:
        if isinstance(error, StorageError | UploadNotFound):
            raise
        return _again(request, stored_upload(settings, upload), None, error)
    return go_to(f"/data/results/{done.job.id}", saved_notice(reader, done))


@forms.post("/data/uploads/{upload}/remove")
def delete_upload(request: Request, upload: UploadId, form: Operator) -> RedirectResponse:
    """Remove a file that is not to be imported."""
    settings, reader = settings_of(request), reader_of(request)
    name = stored_upload(settings, upload).name
    remove_upload(settings, upload)
    record(settings, "uploads.remove", f"upload {upload}")
    return go_to("/data/upload", text_of(reader, "%(name)s is removed.", name=name))


@forms.post("/data/mappings/remove")
def delete_mapping(request: Request, form: Operator) -> RedirectResponse:
    """Remove a saved mapping."""
    name = form.text("name")
    saved_mappings.remove_mapping(settings_of(request), name)
    return go_to("/data/upload", text_of(reader_of(request), "%(name)s is removed.", name=name))


@router.get("/data/results/{job}")
def show_result(request: Request, job: Number, reader: PageReader) -> Response:
    """Show what becomes of an import; when it has succeeded, its page."""
    settings = settings_of(request)
    view = control.view(settings, job)
    if view.job.kind != KIND:
        return go_to(f"/jobs/{job}")
    if view.job.state == JobState.SUCCEEDED:
        output = IngestOutput.read(view.steps[0].result)
        notice = "" if output.fresh else text_of(reader, "The same file was imported before; nothing was added.")
        return go_to(f"/data/imports/{(output.model_extra or {})['id']}", notice)
    upload = view.job.options["upload"]
    is_there = any(each.id == upload for each in list_uploads(settings))
    return html_response(uploads.result_page(reader, view, upload if is_there else ""))


def _chosen(request: Request, upload: Upload, choice: Choice, values: dict[str, str]) -> Response:
    """Store a choice with its preview, and show them; a choice that cannot be used is shown again."""
    settings = settings_of(request)
    try:
        request_of(settings, upload, choice)
    except SegadminError as error:
        return _again(request, upload, values or None, error)
    with reading_file():
        result = preview_upload(settings, upload, choice)
    store_preview(settings, choose(settings, upload, choice), result)
    return go_to(f"/data/uploads/{upload.id}")


def _again(request: Request, upload: Upload, values: dict[str, str] | None, error: SegadminError) -> HTMLResponse:
    """Show the form again, with what was sent and why it cannot be used."""
    if isinstance(error, StorageError):
        raise error
    problem = mask_secrets(str(error))
    return html_response(_wizard(settings_of(request), upload, reader_of(request), values, problem), 422)


def _propose(settings: Settings, upload: Upload, table: str) -> None:
    with reading_file():
        choice, result = propose_choice(settings, upload, table if table in uploads.TABLES else "events")
        store_preview(settings, choose(settings, upload, choice), result)


def _wizard(
    settings: Settings, upload: Upload, reader: Reader, values: dict[str, str] | None = None, problem: str = ""
) -> str:
    with reading_file():
        result = stored_preview(settings, upload)
    names = [row.name for row in list_mappings(settings)] + [shipped.name for shipped in shipped_mappings()]
    job = job_of(settings, upload.id)
    return uploads.wizard_page(upload, result, reader, mappings=names, job=job, values=values, problem=problem)


def _upload_page(settings: Settings, reader: Reader, problem: str = "") -> str:
    waiting = [(upload, job_of(settings, upload.id)) for upload in list_uploads(settings)]
    most = most_bytes(settings)
    return uploads.upload_page(waiting, list_mappings(settings), reader, most=most, problem=problem)


def _json(mapping: Mapping) -> dict[str, object]:
    return mapping.model_dump(mode="json", exclude_defaults=True)
