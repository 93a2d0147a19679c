"""``import-upload``: imports a file that was uploaded, and removes the upload."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field
from sqlmodel import col, select

from segadmin.counts import counted
from segadmin.errors import InvalidTransition, UploadNotFound
from segadmin.events.mapping import Mapping
from segadmin.events.uploads import Choice, Replaced, Upload, find_upload, remove_upload
from segadmin.jobs import control
from segadmin.jobs.attempt import Attempt, StageResult
from segadmin.jobs.dispatch import Dispatch
from segadmin.jobs.enqueue import UPLOAD_KEY, Enqueued, enqueue
from segadmin.jobs.registry import Option, Request, Stage, Workflow, register
from segadmin.jobs.requests import check_request
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.records import Import, ImportState, Job, JobState
from segadmin.workflows.data import IngestOutput

KIND = "import-upload"


class ImportUpload(Request):
    """Options of ``import-upload``: the choice of whoever asked for it, whatever is chosen later."""

    upload: Annotated[str, Option(positional=True)] = Field(
        pattern="^[0-9a-f]{32}$", description="The upload, as `GET /v1/uploads` lists it."
    )
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="Digest of its content.")
    name: str = Field("", max_length=200, description="What the file is called.")
    table: Literal["events", "items", "labels"] = Field("events", description="What to import.")
    mapping: Annotated[Mapping, Option(metavar="FILE.toml", read=Mapping.read)] = Field(
        Mapping(), description="The mapping (columns, kinds, units, rules)."
    )
    source_options: Annotated[dict[str, str], Option("source-option")] = Field({}, description="Option of the source.")
    label_set: str = Field("", description="The name of the label set, for labels.")
    segments: tuple[str, ...] = Field((), description="The segments in order, for labels.")
    source: Annotated[str | None, Option(default="by suffix")] = Field(None, description="Source plugin to read with.")
    again: bool = Field(False, description="Import even if the same file was imported before.")
    replaced_import: int | None = Field(
        None, ge=1, le=2**31 - 1, description="Then delete the rows of this import from quarantine."
    )
    replaced_reason: str | None = Field(None, description="Of those rows, only the ones with this reason.")

    def completed(self, settings: Settings) -> Self:
        """Return the request, if its upload can be imported so."""
        from segadmin.events.upload_import import request_of

        request_of(settings, find_upload(settings, self.upload), self.choice)
        return self

    @property
    def choice(self) -> Choice:
        """How the upload is to be imported."""
        mapping = self.mapping.model_dump(mode="json", exclude_defaults=True)
        options = dict(self.source_options)
        return Choice(self.table, mapping, options, self.label_set, self.segments, self.source, self.again)


def request_options(upload: Upload) -> dict[str, Any]:
    """Return the options of the job that imports an upload as it was chosen last."""
    choice, replaced = upload.choice, upload.replaced
    options: dict[str, Any] = {
        "upload": upload.id,
        "sha256": upload.sha256,
        "name": upload.name,
        "table": choice.table,
        "mapping": choice.mapping,
        "source_options": choice.options,
        "label_set": choice.label_set,
        "segments": list(choice.segments),
        "source": choice.source,
        "again": choice.again,
    }
    if replaced is not None:
        options |= {"replaced_import": replaced.import_id, "replaced_reason": replaced.reason}
    return options


def stored_upload(settings: Settings, upload_id: str) -> Upload:
    """Return an upload.

    Raises:
        UploadNotFound: it is gone; the message names the job that has imported it, if one has.
    """
    try:
        return find_upload(settings, upload_id)
    except UploadNotFound:
        job = job_of(settings, upload_id)
        if job is None or job.state != JobState.SUCCEEDED:
            raise
        message = f"The upload was imported by job {job.id}. See: segadmin jobs show {job.id}"
        raise UploadNotFound(message) from None


def ask_for_import(settings: Settings, dispatch: Dispatch, upload_id: str) -> Enqueued:
    """Enqueue the import of an upload, once: a second request returns the job of the first, also after its end.

    A job that failed or was cancelled runs again if nothing else was chosen meanwhile, otherwise there is a new one.

    Raises:
        ConfigurationError, DataError: it cannot be imported so; see :func:`segadmin.events.upload_import.request_of`.
        UploadNotFound: it is gone.
    """
    earlier = job_of(settings, upload_id)
    if earlier is not None and (not earlier.state.over or earlier.state == JobState.SUCCEEDED):
        return Enqueued(earlier, created=False)
    upload = stored_upload(settings, upload_id)
    options = check_request(settings, KIND, request_options(upload))
    key = f"{UPLOAD_KEY}{upload.id}:{upload.choice.digest}"
    done = enqueue(settings, dispatch, KIND, options, idempotency_key=key, audited=True)
    if done.created or not done.job.state.over or done.job.state == JobState.SUCCEEDED:
        return done
    assert done.job.id is not None
    try:
        return Enqueued(control.retry(settings, dispatch, done.job.id).job, created=False)
    except InvalidTransition:  # somebody else was faster
        return done


def job_of(settings: Settings, upload_id: str) -> Job | None:
    """Return the newest job that imports an upload; ``None`` if there is none."""
    jobs = select(Job).where(col(Job.idempotency_key).startswith(f"{UPLOAD_KEY}{upload_id}:"))
    with reading(settings) as session:
        return session.exec(jobs.order_by(col(Job.id).desc()).limit(1)).first()


def import_upload(attempt: Attempt) -> StageResult:
    """Import the file, and remove the upload; a second attempt goes on where the first one was."""
    from segadmin.events.ingest import import_file
    from segadmin.events.upload_import import request_of
    from segadmin.storage.compaction import join_live_events
    from segadmin.storage.store import open_store

    request, settings = ImportUpload.model_validate(attempt.options), attempt.settings
    record = _imported_before(attempt, request) if attempt.number > 1 else None
    fresh = record is not None
    if record is None:
        wanted = request_of(settings, find_upload(settings, request.upload), request.choice)
        record, fresh = import_file(settings, wanted, lambda rows: attempt.progress(0.5, counted(rows, "row")))
        if fresh and request.table == "events":
            join_live_events(settings, open_store(settings).buckets)
    if request.replaced_import is not None:
        _drop_replaced(settings, Replaced(request.replaced_import, request.replaced_reason), record)
    attempt.reach("imported")
    remove_upload(settings, request.upload)
    return StageResult(IngestOutput(fresh=fresh, **record.model_dump(mode="json")))


def _imported_before(attempt: Attempt, request: ImportUpload) -> Import | None:
    """Return the import of an earlier attempt that was killed before it could say so.

    It had removed the upload; or the upload is to be imported again, and was by this job.
    """
    table = f"labels:{request.label_set or 'default'}" if request.table == "labels" else request.table
    imports = select(Import).where(
        Import.sha256 == request.sha256, Import.table == table, Import.state == ImportState.SUCCEEDED
    )
    with reading(attempt.settings) as session:
        if not _is_gone(attempt.settings, request.upload):
            if not request.again:
                return None
            imports = imports.where(col(Import.created_at) >= session.get_one(Job, attempt.job_id).created_at)
        return session.exec(imports.order_by(col(Import.id).desc()).limit(1)).first()


def _is_gone(settings: Settings, upload: str) -> bool:
    try:
        find_upload(settings, upload)
    except UploadNotFound:
        return True
    return False


def _drop_replaced(settings: Settings, replaced: Replaced, record: Import) -> None:
    """Delete the rows in quarantine that were imported again."""
    from segadmin.events.quarantine import drop_rows

    if record.id != replaced.import_id:
        drop_rows(settings, replaced.import_id, replaced.reason)


register(
    Workflow(
        KIND,
        ImportUpload,
        (Stage("ingest", import_upload),),
        "Import a file that was uploaded to the web application, and remove the upload.",
        is_offered=False,
    )
)
