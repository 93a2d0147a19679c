"""``segadmin schedule``: jobs that repeat."""

from __future__ import annotations

from typing import Annotated

import typer

from segadmin.jobs import schedules
from segadmin.jobs.request import REQUESTS, check_kind
from segadmin.settings import get_settings
from segadmin_api.cli.output import JsonOption, group, parse_options, show_json, table

app = group("Jobs that repeat on a cron expression; beat enqueues each slot exactly once.")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What to call it; an existing one is replaced.")],
    kind: Annotated[str, typer.Argument(help=f"The kind of job: {', '.join(REQUESTS)}.")],
    cron: Annotated[str, typer.Option(help="Minute, hour, day of month, month, day of week.")],
    timezone: Annotated[str, typer.Option(help="Whose clock the expression means, such as Asia/Shanghai.")] = "UTC",
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", metavar="KEY=VALUE", help="Option of the job.")
    ] = None,
) -> None:
    """Enqueue a job at every slot of a cron expression."""
    options = check_kind(kind, parse_options(option or [], "--option"))
    saved = schedules.add(get_settings(), name, cron, kind, options, timezone=timezone)
    typer.echo(f"{name}: {kind} at {cron!r} ({timezone}); next {saved.next_slot:%Y-%m-%d %H:%M} UTC.")


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the schedules, the next one due first."""
    found = schedules.list_schedules(get_settings())
    if as_json:
        show_json([one.model_dump(mode="json") for one in found])
        return
    table(
        "",
        ["name", "cron", "time zone", "job", "next (UTC)", "last job"],
        [
            (one.name, one.cron, one.timezone, one.kind, f"{one.next_slot:%Y-%m-%d %H:%M}", one.last_job_id)
            for one in found
        ],
        empty='No schedules yet. Add one: segadmin schedule add nightly --cron "0 3 * * *" refresh',
    )


@app.command()
def remove(name: Annotated[str, typer.Argument(help="Which one.")]) -> None:
    """Delete a schedule; the jobs that it enqueued stay."""
    schedules.remove(get_settings(), name)
    typer.echo(f"Removed {name}.")
