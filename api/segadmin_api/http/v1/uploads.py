"""``/v1/uploads`` and ``/v1/mappings``: files to import, what their import would do, and saved mappings."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response

from segadmin.errors import UploadNotFound
from segadmin.events import saved_mappings
from segadmin.events.mapping import Mapping as FieldMapping
from segadmin.events.saved_mappings import mapping_text, named_mapping, parse_mapping
from segadmin.events.shipped import shipped_mappings
from segadmin.events.upload_import import (
    UploadPreview,
    preview_upload,
    propose_choice,
    request_of,
    store_preview,
    stored_preview,
)
from segadmin.events.uploads import Choice, Upload, choose, list_uploads, remove_upload
from segadmin.settings import Settings
from segadmin.storage.audit import record
from segadmin.storage.records import Scope
from segadmin.workflows.uploads import ask_for_import, job_of, stored_upload
from segadmin_api.http.forms import PageRoute
from segadmin_api.http.problems import problem_responses, request_errors
from segadmin_api.http.uploads import reading_file, receive_upload
from segadmin_api.http.v1.routing import REFUSALS, IdempotencyKey, allow, changes, enqueues, once, router, settings_of
from segadmin_api.schemas import uploads as schemas
from segadmin_api.schemas.jobs import Enqueued
from segadmin_worker.client import dispatcher

#: Bodies of other routes are read whole; a file is not.
files = APIRouter(prefix="/v1/uploads", tags=["uploads"], route_class=PageRoute, responses=problem_responses(REFUSALS))
uploads = router("/uploads", "uploads")
mappings = router("/mappings", "uploads")
UploadId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="An upload.")]
MappingName = Annotated[str, Path(max_length=200, description="The name of a mapping.")]
IfNoneMatch = Annotated[
    str | None, Header(alias="If-None-Match", pattern=r"^\*$", description="`*`: only if there is none of this name.")
]
_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_FORM: dict[str, Any] = {
    "schema": {"type": "object", "properties": {"file": _BINARY["schema"]}, "required": ["file"]},
}
_REFUSALS = {
    400: "The body is not a form with a file, or not complete.",
    413: "The file is larger than `SEGADMIN_WEB_UPLOAD_MIB`.",
    415: "The body is compressed by a `Content-Encoding`.",
}


@files.post(
    "",
    status_code=201,
    dependencies=[allow(Scope.OPERATOR)],
    responses={**once(schemas.Upload), **problem_responses(_REFUSALS)},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": _BINARY, "multipart/form-data": _FORM},
        }
    },
)
async def add_upload(
    request: Request,
    response: Response,
    name: Annotated[
        str, Query(max_length=4000, description="The name of the file, if the body is the file itself.")
    ] = "",
    idempotency_key: IdempotencyKey = None,
) -> schemas.Upload:
    """Upload a file: as the body, with its `name`, or in a form. It is kept for a day, or until it is imported."""
    with request_errors(in_body=True):
        upload, _, created = await receive_upload(request, settings_of(request), name, key=idempotency_key)
    return answer_upload(response, upload, created=created)


@uploads.get("", dependencies=[allow(Scope.OPERATOR)])
def list_all(request: Request) -> schemas.Uploads:
    """List the uploads that wait to be imported, newest first."""
    settings = settings_of(request)
    return schemas.Uploads(items=[_with_job(settings, upload) for upload in list_uploads(settings)])


@uploads.get("/{upload}", dependencies=[allow(Scope.OPERATOR)])
def show_upload(request: Request, upload: UploadId) -> schemas.Upload:
    """Show an upload."""
    settings = settings_of(request)
    return _with_job(settings, stored_upload(settings, upload))


@uploads.delete("/{upload}", status_code=204, dependencies=[allow(Scope.OPERATOR)], responses=changes())
def delete_upload(request: Request, upload: UploadId) -> None:
    """Remove an upload that is not to be imported."""
    settings = settings_of(request)
    stored_upload(settings, upload)
    remove_upload(settings, upload)
    record(settings, "uploads.remove", f"upload {upload}")


@uploads.get("/{upload}/preview", dependencies=[allow(Scope.OPERATOR)])
def show_preview(request: Request, upload: UploadId) -> schemas.PreviewedUpload:
    """Show what the import of an upload would do, as it was chosen last."""
    settings = settings_of(request)
    stored = stored_upload(settings, upload)
    with reading_file():
        return schemas.PreviewedUpload(upload=_with_job(settings, stored), result=stored_preview(settings, stored))


@uploads.post("/{upload}/preview", dependencies=[allow(Scope.OPERATOR)], responses=changes())
def preview(request: Request, upload: UploadId, wanted: schemas.PreviewRequest) -> schemas.PreviewedUpload:
    """Choose how an upload is imported, or let a mapping be proposed, and show what its import would do.

    It reads the first 10,000 rows, or `rows`. What cannot be read is no error here: `result.problem` says why.
    """
    settings = settings_of(request)
    stored = stored_upload(settings, upload)
    with request_errors(in_body=True), reading_file():
        stored, result = choose_and_preview(settings, stored, wanted)
    return schemas.PreviewedUpload(upload=_with_job(settings, stored), result=result)


@uploads.post("/{upload}/import", status_code=201, dependencies=[allow(Scope.OPERATOR)], responses=enqueues())
def import_upload(request: Request, response: Response, upload: UploadId) -> Enqueued:
    """Import an upload as it was chosen last, by a job; once, however often it is asked for, also after its end."""
    settings = settings_of(request)
    with request_errors(in_body=True, in_path=(UploadNotFound,)):
        done = ask_for_import(settings, dispatcher(settings), upload)
    if not done.created:
        response.status_code = 200
    response.headers["Location"] = f"/v1/jobs/{done.job.id}"
    return Enqueued(job=done.job.id or 0, kind=done.job.kind, created=done.created, dispatched=done.dispatched)


@mappings.get("", dependencies=[allow(Scope.VIEWER)])
def list_mappings(request: Request) -> schemas.Mappings:
    """List the mappings: the saved ones, then those that come with segadmin."""
    saved = saved_mappings.list_mappings(settings_of(request))
    items = [schemas.Mapping(name=row.name, text=row.text, shipped=False, updated_at=row.updated_at) for row in saved]
    shipped = [
        schemas.Mapping(name=each.name, title=each.title, text=each.text, shipped=True, updated_at=None)
        for each in shipped_mappings()
    ]
    return schemas.Mappings(items=[*items, *shipped])


@mappings.put("/{name}", dependencies=[allow(Scope.OPERATOR)], responses=changes())
def save_mapping(
    request: Request, name: MappingName, wanted: schemas.MappingRequest, if_none_match: IfNoneMatch = None
) -> schemas.Mapping:
    """Save a mapping under a name; one that was saved under it before is replaced."""
    settings, replace = settings_of(request), if_none_match is None
    with request_errors(in_body=True):
        row = saved_mappings.save_mapping(settings, name, parse_mapping(wanted.text), replace=replace)
    return schemas.Mapping(name=row.name, text=row.text, shipped=False, updated_at=row.updated_at)


@mappings.delete("/{name}", status_code=204, dependencies=[allow(Scope.OPERATOR)], responses=changes())
def remove_mapping(request: Request, name: MappingName) -> None:
    """Remove a saved mapping; imports keep what they were made with."""
    saved_mappings.remove_mapping(settings_of(request), name)


def choose_and_preview(
    settings: Settings, upload: Upload, wanted: schemas.PreviewRequest
) -> tuple[Upload, UploadPreview]:
    """Choose how an upload is imported; return it with its preview.

    Raises:
        ConfigurationError, DataError: it cannot be imported so, and what was chosen before is kept.
    """
    choice = _choice(settings, wanted)
    if wanted.mapping is None:
        choice, result = propose_choice(settings, upload, wanted.table, choice)
    else:
        request_of(settings, upload, choice)
        result = preview_upload(settings, upload, choice, wanted.rows)
    upload = choose(settings, upload, choice)
    return upload, store_preview(settings, upload, result)


def _choice(settings: Settings, wanted: schemas.PreviewRequest) -> Choice:
    text = wanted.mapping or ""
    if text and "\n" not in text and "=" not in text and "[" not in text:
        text = named_mapping(settings, text)
    mapping = parse_mapping(text).model_dump(mode="json", exclude_defaults=True)
    options = dict(wanted.source_options)
    segments = tuple(wanted.segments)
    return Choice(wanted.table, mapping, options, wanted.label_set, segments, wanted.source, wanted.again)


def answer_upload(response: Response, upload: Upload, *, created: bool) -> schemas.Upload:
    """Return an upload as the answer to the request that made it, or to one that was repeated."""
    if not created:
        response.status_code = 200
    response.headers["Location"] = f"/v1/uploads/{upload.id}"
    return shown(upload, None)


def shown(upload: Upload, job: int | None) -> schemas.Upload:
    """Return an upload as answers show it."""
    choice = upload.choice
    return schemas.Upload(
        id=upload.id,
        name=upload.name,
        bytes=upload.bytes,
        sha256=upload.sha256,
        created_at=upload.created_at,
        expires_at=upload.expires_at,
        actor=upload.actor,
        choice=schemas.Choice(
            table=choice.table,
            mapping=mapping_text(FieldMapping.of(choice.mapping)),
            source_options=choice.options,
            label_set=choice.label_set,
            segments=list(choice.segments),
            source=choice.source,
            again=choice.again,
        ),
        job=job,
    )


def _with_job(settings: Settings, upload: Upload) -> schemas.Upload:
    job = job_of(settings, upload.id)
    return shown(upload, job.id if job is not None else None)
