"""Files that a job of a server writes, and that are saved here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from segadmin.errors import ConfigurationError

if TYPE_CHECKING:
    from segadmin_api.client import Client
    from segadmin_api.schemas.jobs import JobDetails

_FORMATS = ("csv", "jsonl", "parquet")


def save_export(client: Client, out: Path, snapshot: int, **selection: Any) -> int:
    """Let a server export users of a snapshot, save the file as ``out``, and return the number of users.

    Raises:
        ConfigurationError: no server writes files with this ending.
        typer.Exit: the job failed, which is printed.
    """
    form = out.suffix.removeprefix(".")
    if form not in _FORMATS:
        raise ConfigurationError(f"{out} has no ending that a server writes. Take one of: .csv, .jsonl, .parquet.")
    job = finished(client, client.export_snapshot(snapshot, file_format=form, **selection).job)
    client.save_export(job.id, out)
    rows: int = job.steps[0].result["file"]["rows"]
    return rows


def finished(client: Client, job: int) -> JobDetails:
    """Watch a job of a server to its end, on stderr, and return it.

    Raises:
        typer.Exit: it did not succeed, which is printed.
    """
    from segadmin_api.cli.sources import view_of
    from segadmin_api.cli.watch import watch

    if code := watch(lambda number: view_of(client.show_job(number)), job, quiet=True):
        raise typer.Exit(code)
    return client.show_job(job)
