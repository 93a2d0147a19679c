"""``/v1/exports``: the users of a snapshot as a file, written by a job."""

from __future__ import annotations

from fastapi import HTTPException, Request, Response
from fastapi.responses import FileResponse

from segadmin.errors import JobNotFound
from segadmin.files import inside
from segadmin.jobs import control
from segadmin.jobs.enqueue import ask
from segadmin.storage.audit import record
from segadmin.storage.records import JobState, Scope
from segadmin.workflows.export import ExportOutput
from segadmin_api.http.problems import problem_responses, request_errors
from segadmin_api.http.v1.jobs import JobNumber
from segadmin_api.http.v1.routing import IdempotencyKey, allow, enqueues, router, settings_of
from segadmin_api.schemas.jobs import Enqueued
from segadmin_api.schemas.snapshots import ExportRequest
from segadmin_worker.client import dispatcher

exports = router("/exports", "snapshots")
_MEDIA_TYPES = {"csv": "text/csv", "jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}


@exports.post("", status_code=201, dependencies=[allow(Scope.ANALYST)], responses=enqueues())
def export_snapshot(
    request: Request, response: Response, wanted: ExportRequest, idempotency_key: IdempotencyKey = None
) -> Enqueued:
    """Ask for a file of the users of a snapshot; `GET /v1/exports/{job}/file` sends it when the job succeeded."""
    settings = settings_of(request)
    options = wanted.model_dump(mode="json", exclude_defaults=True)
    with request_errors(in_body=True):
        done = ask(settings, dispatcher(settings), "export", options, idempotency_key=idempotency_key)
    if not done.created:
        response.status_code = 200
    response.headers["Location"] = f"/v1/jobs/{done.job.id}"
    return Enqueued(job=done.job.id or 0, kind=done.job.kind, created=done.created, dispatched=done.dispatched)


@exports.get(
    "/{job}/file",
    dependencies=[allow(Scope.ANALYST)],
    response_class=FileResponse,
    responses={
        200: {"description": "The file.", "content": {kind: {} for kind in _MEDIA_TYPES.values()}},
        **problem_responses({409: "The job did not succeed, or not yet."}),
    },
)
def send_file(request: Request, job: JobNumber) -> FileResponse:
    """Send the file of an export. Files are gone after an erasure of users: export again."""
    settings, view = settings_of(request), control.view(settings_of(request), job)
    if view.job.kind != "export":
        raise JobNotFound(f"Job {job} is no export, but of the kind {view.job.kind}.")
    if view.job.state != JobState.SUCCEEDED:
        raise HTTPException(409, f"Job {job} is {view.job.state}; it has no file.")
    file = ExportOutput.read(view.steps[0].result).file
    path = inside(settings.store_path, file.path)
    if not path.is_file():
        raise HTTPException(404, f"The file of job {job} is gone. Export again.")
    user_ids = bool(view.job.options.get("with_user_ids"))
    record(settings, "snapshots.export", f"snapshot {view.job.options['snapshot']}", rows=file.rows, user_ids=user_ids)
    return FileResponse(path, media_type=_MEDIA_TYPES[path.suffix[1:]], filename=path.name)
