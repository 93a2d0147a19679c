"""``segadmin schedule``: jobs that repeat."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from segadmin.errors import ConfigurationError
from segadmin.jobs import intervals, schedules
from segadmin.jobs.registry import offered_kinds
from segadmin.jobs.requests import default_options
from segadmin.settings import Settings
from segadmin.storage.records import Job, MissedSlots, Schedule
from segadmin.timezones import zone
from segadmin.urls import mask_all
from segadmin.workflows.live import objective_options
from segadmin.workflows.objectives import ObjectiveState, objectives
from segadmin.workflows.update_policies import policy_of
from segadmin_api.cli.enqueue import options_of
from segadmin_api.cli.output import JsonOption, echo, group, parse_options, show_json, table
from segadmin_api.cli.remote import answer
from segadmin_api.cli.remote_records import as_record, as_records
from segadmin_api.formatting import ago
from segadmin_api.freshness_words import objective_facts, objective_line, seconds
from segadmin_api.policy_words import policy_facts, policy_line
from segadmin_worker.client import dispatcher

if TYPE_CHECKING:
    from segadmin_api.client import Client

Name = Annotated[str, typer.Argument(help="Which one.")]
app = group("Jobs that repeat on a cron expression; beat enqueues each slot exactly once.")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What to call it; an existing one is replaced.")],
    kind: Annotated[str, typer.Argument(help=f"The kind of job: {', '.join(offered_kinds())}.")],
    cron: Annotated[str | None, typer.Option(help="Minute, hour, day of month, month, day of week.")] = None,
    every: Annotated[
        str | None,
        typer.Option(metavar="30s", help="Instead of --cron: a job so often, unless the last one is not over."),
    ] = None,
    freshness: Annotated[
        str | None,
        typer.Option(metavar="30s", help="Objective: within this time an event is in a snapshot. Refreshes follow."),
    ] = None,
    timezone: Annotated[str, typer.Option(help="Whose clock the expression means, such as Asia/Shanghai.")] = "UTC",
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", metavar="KEY=VALUE", help="Option of the job.")
    ] = None,
) -> None:
    """Enqueue a job at every slot of a cron expression, or a refresh whenever events came in.

    The job is checked as `segadmin enqueue` checks it. After the kind come its options, as there:
    `segadmin schedule add nightly --cron "0 3 * * *" refresh --labels spend3`.
    """
    slots, objective = _slots(cron, every, freshness), _objective(freshness)
    given = options_of(kind, context.args) | parse_options(option or [], "--option")
    options = default_options(kind, given if objective is None else objective_options(kind, given))
    replaced: list[Schedule] = []

    def here(settings: Settings) -> Schedule:
        schedules.check_schedule(settings, slots, timezone, kind, options)
        remember = lambda current: replaced.extend([current] if current else [])  # noqa: E731
        return schedules.add(
            settings, name, slots, kind, options, timezone=timezone, freshness=objective, check=remember
        )

    def there(client: Client) -> Schedule:
        replaced.extend(as_records(Schedule, (each for each in client.list_schedules().items if each.name == name)))
        row = client.save_schedule(name, kind, given, cron=slots, timezone=timezone, freshness_seconds=objective)
        return as_record(Schedule, row)

    saved = answer(here, there)
    if saved.cron:
        echo(f"{name}: {kind} at {saved.cron!r} ({timezone}); next {saved.next_slot:%Y-%m-%d %H:%M} UTC.")
    if objective is not None:
        echo(f"{name}: {kind} whenever events came in; objective: an event is in a snapshot within {objective:g} s.")
    for before in replaced:
        paused = ", which was paused" if before.paused else ""
        echo(f"It replaces the schedule of the same name: {before.kind} {_when(before)}{paused}.")


def _slots(cron: str | None, interval: str | None, freshness: str | None) -> str:
    """Return when a schedule has slots; empty: it has none.

    Raises:
        ConfigurationError: nothing says when its job runs, or two options do.
    """
    if cron is not None and interval is not None:
        raise ConfigurationError("Give --cron or --every, not both.")
    if not (cron or interval or freshness):
        raise ConfigurationError("When? Give --cron '0 3 * * *', --every 10s, or --freshness 30s.")
    return intervals.every(interval) if interval is not None else cron or ""


def _objective(freshness: str | None) -> float | None:
    return None if freshness is None else intervals.seconds_of(freshness, "--freshness")


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the schedules, the next one due first."""
    listed = answer(schedules.list_schedules, lambda client: as_records(Schedule, client.list_schedules().items))
    if as_json:
        show_json(mask_all([schedule.model_dump(mode="json") for schedule in listed]))
        return
    table(
        "",
        ["name", "cron", "time zone", "job", "next (UTC)", ">freshness", "last job"],
        [
            (
                schedule.name,
                schedule.cron,
                schedule.timezone,
                schedule.kind,
                "paused" if schedule.paused else _next(schedule),
                seconds(schedule.freshness_seconds) if schedule.freshness_seconds else "",
                schedule.last_job_id,
            )
            for schedule in listed
        ],
        empty='No schedules yet. Add one: segadmin schedule add nightly --cron "0 3 * * *" refresh',
    )


def _when(schedule: Schedule) -> str:
    """Return when the jobs of a schedule run."""
    words = [f"at {schedule.cron!r} ({schedule.timezone})"] if schedule.cron else []
    if schedule.freshness_seconds is not None:
        words.append(f"whenever events came in; objective: in a snapshot within {schedule.freshness_seconds:g} s")
    return ", and ".join(words)


def _next(schedule: Schedule) -> str:
    """Return when the next job of a schedule is enqueued."""
    return f"{schedule.next_slot:%Y-%m-%d %H:%M}" if schedule.cron else "with new events"


@app.command()
def show(name: Name, as_json: JsonOption = False) -> None:
    """Show a schedule: its next slots, its latest jobs, and the slots that were missed."""
    view, states = answer(lambda settings: _view(settings, name), lambda client: _view_there(client, name))
    schedule, clock = view.schedule, zone(view.schedule.timezone)
    if as_json:
        facts = {
            name: [record.model_dump(mode="json", exclude={"asked"}) for record in getattr(view, name)]
            for name in ("jobs", "missed")
        }
        facts["freshness"] = [objective_facts(state) for state in states]
        policy = policy_of(schedule)
        facts["update_policy"] = [policy_facts(policy)] if policy else []
        show_json(mask_all(schedule.model_dump(mode="json") | {"upcoming": view.upcoming, **facts}))
        return
    echo(f"{name}: {schedule.kind} {_when(schedule)}")
    for option, value in schedule.options.items():
        if value not in (None, {}, []):
            shown = mask_all(value)
            echo(f"  {option}: {shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)}")
    if schedule.paused:
        echo(f"  paused; go on: segadmin schedule resume {name}")
    elif view.upcoming:
        slots = [(f"{slot:%Y-%m-%d %H:%M}", f"{slot.astimezone(clock):%Y-%m-%d %H:%M %Z}") for slot in view.upcoming]
        table("", ["next (UTC)", "there"], slots)
    if (policy := policy_of(schedule)) is not None:
        echo(f"  {policy_line(policy)}")
    for state in states:
        echo(f"  {objective_line(state)}{f' → {state.fix}' if state.fix else ''}")
    jobs = [(job.id, job.state, ago(job.created_at), job.error) for job in view.jobs]
    table("", ["job", "state", "asked", "error"], jobs, empty="No slot has come yet.")
    missed = [
        (f"{gap.first:%Y-%m-%d %H:%M}", f"{gap.last:%Y-%m-%d %H:%M}", gap.slots, gap.job_id) for gap in view.missed
    ]
    if missed:
        table("", ["missed from (UTC)", "to", ">slots", "made up for by job"], missed)


Viewed = tuple[schedules.ScheduleView, list[ObjectiveState]]


def _view(settings: Settings, name: str) -> Viewed:
    """Return a schedule, and how far its objective is met."""
    view = schedules.view(settings, name)
    return view, [state for state in objectives(settings) if state.schedule == name]


def _view_there(client: Client, name: str) -> Viewed:
    item = client.show_schedule(name)
    missed = [as_record(MissedSlots, gap, schedule=name) for gap in item.missed]
    view = schedules.ScheduleView(as_record(Schedule, item), item.upcoming, as_records(Job, item.jobs), missed)
    return view, as_records(ObjectiveState, item.freshness)


@app.command()
def pause(name: Name) -> None:
    """Let the slots of a schedule pass by."""
    answer(lambda settings: schedules.pause(settings, name), lambda client: client.pause_schedule(name))
    echo(f"{name} is paused. Go on: segadmin schedule resume {name}")


@app.command()
def resume(name: Name) -> None:
    """Go on from the next slot; those that passed meanwhile are not made up for."""
    schedule = answer(
        lambda settings: schedules.resume(settings, name),
        lambda client: as_record(Schedule, client.resume_schedule(name)),
    )
    echo(f"{name} goes on; next {_next(schedule)}{' UTC' if schedule.cron else ''}.")


@app.command()
def run(name: Name) -> None:
    """Enqueue the job of a schedule now, out of turn."""
    job, kind = answer(lambda settings: _run(settings, name), lambda client: _run_there(client, name))
    echo(f"Enqueued job {job} ({kind}). Watch it: segadmin jobs watch {job}")


def _run(settings: Settings, name: str) -> tuple[int, str]:
    done = schedules.run(settings, dispatcher(settings), name)
    return done.job.id or 0, done.job.kind


def _run_there(client: Client, name: str) -> tuple[int, str]:
    done = client.run_schedule(name)
    return done.job, done.kind


@app.command()
def remove(name: Name) -> None:
    """Delete a schedule; the jobs that it enqueued stay."""
    answer(lambda settings: schedules.remove(settings, name), lambda client: client.remove_schedule(name))
    echo(f"Removed {name}.")
