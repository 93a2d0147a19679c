"""The page of an export: it waits for the job, and then offers the file."""

from __future__ import annotations

from segadmin.jobs.control import JobView
from segadmin.workflows.export import ExportOutput
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import served, text_of


def page(view: JobView, reader: Reader) -> str:
    """Return the page of an export job."""
    job = view.job
    file = ExportOutput.read(view.steps[0].result).file if job.state == "succeeded" else None
    return served(
        "export.html",
        text_of(reader, "export of snapshot %(number)s", number=job.options["snapshot"]),
        "/snapshots",
        reader,
        job=job,
        rows=None if file is None else file.rows,
        progress=view.progress.done,
        refresh=not job.state.over,
    )


def waits(reader: Reader) -> str:
    """Return what a page says of an export that no worker knows of yet."""
    return text_of(reader, "It is saved, and starts when the broker is back.")
