"""Where commands read jobs from, and control them: the database of this machine, or a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from segadmin.jobs import control
from segadmin.jobs.control import JobLine, JobView
from segadmin.jobs.progress import Progress
from segadmin.jobs.selection import JobSelection
from segadmin.jobs.step_log import LogLine, log_lines
from segadmin.settings import Settings
from segadmin.storage.records import Job, Lock, Step
from segadmin_api.cli.remote import connected
from segadmin_worker.client import dispatcher

if TYPE_CHECKING:
    from segadmin_api.schemas import jobs as schemas


#: Jobs that are read at one time.
_PAGE = 1000


class Jobs(Protocol):
    """What commands do with jobs; the errors are those of :mod:`segadmin.jobs.control`."""

    def list_jobs(self, limit: int, selection: JobSelection, before: int | None) -> Sequence[JobLine]:
        """Return the newest jobs of some kinds and states."""

    def view(self, job: int) -> JobView:
        """Return one job."""

    def logs(self, job: int, step: int | None, stage: str | None, limit: int) -> Sequence[LogLine]:
        """Return the last lines of the steps of a job."""

    def cancel(self, job: int) -> None:
        """Cancel a job."""

    def retry(self, job: int, *, from_start: bool) -> list[str]:
        """Retry a job; return the stages whose outputs are lost."""


class LocalJobs:
    """The jobs of this machine's database."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def list_jobs(self, limit: int, selection: JobSelection, before: int | None) -> Sequence[JobLine]:
        """Return the newest jobs of some kinds and states."""
        return control.list_jobs(self._settings, limit, selection, before)

    def view(self, job: int) -> JobView:
        """Return one job."""
        return control.view(self._settings, job)

    def logs(self, job: int, step: int | None, stage: str | None, limit: int) -> Sequence[LogLine]:
        """Return the last lines of the steps of a job."""
        return log_lines(self._settings, job, step=step, stage=stage, limit=limit)

    def cancel(self, job: int) -> None:
        """Cancel a job."""
        control.cancel(self._settings, dispatcher(self._settings), job)

    def retry(self, job: int, *, from_start: bool) -> list[str]:
        """Retry a job."""
        retried = control.retry(self._settings, dispatcher(self._settings), job, from_start=from_start)
        return [output.stage for output in retried.lost]


class RemoteJobs:
    """The jobs of a server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def list_jobs(self, limit: int, selection: JobSelection, before: int | None) -> Sequence[JobLine]:
        """Return the newest jobs of some kinds and states."""
        lines: list[JobLine] = []
        wanted, cursor = {"kind": selection.kinds, "state": selection.states}, None
        with connected(self._settings) as client:
            while len(lines) < limit:
                most = min(limit - len(lines), _PAGE)
                page = client.list_jobs(**wanted, before=before, limit=most, cursor=cursor)
                lines += map(_line, page.items)
                cursor = page.next
                if cursor is None:
                    break
        return lines

    def view(self, job: int) -> JobView:
        """Return one job."""
        with connected(self._settings) as client:
            return view_of(client.show_job(job))

    def logs(self, job: int, step: int | None, stage: str | None, limit: int) -> Sequence[LogLine]:
        """Return the last lines of the steps of a job."""
        with connected(self._settings) as client:
            lines = client.show_job_logs(job, step=step, stage=stage, limit=limit).items
        return [LogLine(**line.model_dump()) for line in lines]

    def cancel(self, job: int) -> None:
        """Cancel a job."""
        with connected(self._settings) as client:
            client.cancel_job(job)

    def retry(self, job: int, *, from_start: bool) -> list[str]:
        """Retry a job."""
        with connected(self._settings) as client:
            return [output.stage for output in client.retry_job(job, from_start=from_start).lost]


def jobs_of(settings: Settings) -> Jobs:
    """Return where commands find jobs."""
    return RemoteJobs(settings) if settings.server else LocalJobs(settings)


def view_of(details: schemas.JobDetails) -> JobView:
    """Return a job of a server as one of this machine."""
    line = _line(details)
    steps = [Step(**step.model_dump() | {"job_id": details.id}) for step in details.steps]
    return JobView(line.job, line.progress, line.waits_for, steps)


def _line(job: schemas.Job) -> JobLine:
    facts: dict[str, Any] = job.model_dump(exclude={"subject", "progress", "seconds_left", "waits_for", "steps"})
    waits_for = None if job.waits_for is None else Lock(**job.waits_for.model_dump())
    return JobLine(Job(**facts), Progress(job.progress, job.seconds_left), waits_for)
