"""``segadmin jobs``: list, show and control jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from segadmin.counts import counted
from segadmin.jobs import control, quarantine
from segadmin.jobs.selection import JobSelection
from segadmin.jobs.step_log import KEPT, MOST
from segadmin.settings import get_settings
from segadmin.storage.records import JobState, QuarantinedMessage, Step
from segadmin.text.coverage import coverage
from segadmin.urls import mask_all
from segadmin_api.cli.curves import drawn
from segadmin_api.cli.output import JsonOption, echo, group, nothing, show_json, table, write_page
from segadmin_api.cli.remote import answer
from segadmin_api.cli.remote_records import as_records
from segadmin_api.cli.sources import jobs_of
from segadmin_api.formatting import (
    JOBS,
    ago,
    job_row,
    option_texts,
    option_value,
    result_lines,
    subject,
    time_left,
    took,
    waits,
)

app = group("List, show, watch, cancel and retry jobs.")
Number = Annotated[int, typer.Argument(metavar="JOB", help="The job's number.")]


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of jobs, newest first.")] = 20,
    kind: Annotated[str | None, typer.Option(help="Only jobs of this kind, such as refresh.")] = None,
    state: Annotated[JobState | None, typer.Option(help="Only jobs in this state.")] = None,
    before: Annotated[
        int | None, typer.Option(min=1, metavar="JOB", help="Only jobs older than this one, for the next page.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first."""
    selection = JobSelection((kind,) if kind else (), (state,) if state else ())
    views = jobs_of(get_settings()).list_jobs(limit, selection, before)
    if as_json:
        show_json([_facts(view) for view in views])
        return
    table(
        "",
        JOBS,
        map(job_row, views),
        empty=nothing(
            "No jobs yet. Enqueue one: segadmin enqueue retrain, or try: segadmin demo",
            kind=kind,
            state=state,
            before=before,
        ),
    )
    if len(views) == limit:
        only = "".join(f" --{name} {value}" for name, value in (("kind", kind), ("state", state)) if value)
        echo(f"Older ones: segadmin jobs list --before {views[-1].job.id}{only}")


@app.command()
def trials(
    job: Number,
    out: Annotated[Path | None, typer.Option(help="Write an HTML page with charts to this file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the trials of a hyperparameter search (`enqueue tune`), best first, and the importance of each option."""
    from segadmin.workflows.tune import trials_of
    from segadmin_api.dashboard.search_page import option_names, page

    search = answer(lambda settings: trials_of(settings, job), lambda client: client.show_trials(job))
    if as_json:
        show_json(search.model_dump(mode="json"))
        return
    names = option_names(search.trials)
    ordered = sorted(search.trials, key=lambda trial: (trial.value is None, trial.value or 0.0))
    table(
        "trials, the best first",
        [">trial", "state", ">log-loss", *(f">{name}" for name in names), "why"],
        [
            (
                str(trial.trial),
                trial.state,
                "–" if trial.value is None else f"{trial.value:.4f}",
                *(option_value(trial.options.get(name, "–")) for name in names),
                trial.why,
            )
            for trial in ordered
        ],
        empty="No trial has begun yet.",
    )
    highest = max(search.importance.values(), default=1.0)
    for name, share in search.importance.items():
        echo(f"  {name:<16} {share:6.1%} {'█' * round(30 * share / highest)}")
    if out is not None:
        write_page(out, page(job, search))


@app.command()
def show(
    job: Number,
    out: Annotated[Path | None, typer.Option(help="Write an HTML page with its learning curves to this file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a job and its steps."""
    view = jobs_of(get_settings()).view(job)
    if out is not None:
        from segadmin_api.dashboard.jobs import page, search_of

        search = answer(
            lambda settings: search_of(settings, view.job),
            lambda client: client.show_trials(job) if view.job.kind == "tune" else None,
        )
        write_page(out, page(view, search))
        return
    if as_json:
        show_json(_facts(view) | {"steps": [mask_all(step.model_dump(mode="json")) for step in view.steps]})
        return
    _print_job(view)
    _print_steps(view.steps)


def _print_job(view: control.JobView) -> None:
    """Print the state of a job, its options, and what came of it or what it waits for."""
    heading = [f"job {view.job.id}", view.job.kind, view.job.state, f"{view.progress.done:.0%}", time_left(view)]
    heading += [f"requested {ago(view.job.created_at)}", took(view.job.started_at, view.job.finished_at)]
    echo(" · ".join(filter(None, heading)))
    for name, value in option_texts(view.job.options).items():
        echo(f"  {name}: {value}")
    if view.job.error and not view.job.has_warning:
        echo(f"  error: {view.job.error}")
    results = result_lines(view) if view.job.state == JobState.SUCCEEDED else []
    for line in results:
        echo(f"  {line}")
    if view.waits_for:
        echo(f"  {waits(view)}")
    if (text := coverage(view.steps)) and text not in results:
        echo(f"  text: {text}")


def _print_steps(steps: Sequence[Step]) -> None:
    """Print the learning curves and trackers of steps, and a table of them."""
    for step in steps:
        for line in drawn(step.curve):
            echo(f"  {step.stage}, validation log-loss: {line}")
        for name, location in step.result.get("trackers", {}).items() if step.stage in {"finetune", "evaluate"} else ():
            echo(f"  {name}: {location}")
    table(
        "",
        ["step", "stage", "buckets", "state", ">attempt", "took", "worker", "note"],
        [
            (
                step.id,
                step.stage,
                _buckets(step),
                step.state,
                f"{step.attempt}/{step.max_attempts}" if step.attempt else "",
                took(step.started_at, step.finished_at),
                step.worker,
                step.error or ("" if step.state.done else step.note),
            )
            for step in steps
        ],
    )


@app.command()
def logs(
    job: Number,
    step: Annotated[int | None, typer.Option(min=1, help="Only this step; `jobs show` has their numbers.")] = None,
    stage: Annotated[str | None, typer.Option(help="Only the steps of this stage.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="Maximum number of lines, the last ones.")] = KEPT,
    as_json: JsonOption = False,
) -> None:
    """Show what the steps of a job have logged; of each step, the last few hundred lines are kept."""
    lines = jobs_of(get_settings()).logs(job, step, stage, limit)
    if as_json:
        show_json([asdict(line) for line in lines])
        return
    for line in lines:
        facts = " ".join(f"{name}={value}" for name, value in line.facts.items())
        where = f"{line.stage}/{line.step}" + (f" attempt {line.attempt}" if line.attempt > 1 else "")
        echo(" ".join(filter(None, (f"{line.time:%Y-%m-%d %H:%M:%S}", line.level, f"{where}:", line.message, facts))))
        if line.error:
            echo(line.error)
    if not lines:
        echo(f"No log of job {job} is kept: no step has begun, an older version ran it, or users were erased since.")


@app.command()
def watch(job: Number) -> None:
    """Watch a job until it ends; exit code 0 if it succeeded."""
    from segadmin_api.cli.watch import watch as watch_job

    raise typer.Exit(watch_job(jobs_of(get_settings()).view, job))


@app.command()
def cancel(job: Number) -> None:
    """Cancel a job; a running step stops within seconds, and completed steps are kept."""
    jobs_of(get_settings()).cancel(job)
    echo(f"Job {job} is cancelled. To go on with it: segadmin jobs retry {job}")


@app.command()
def retry(
    job: Number,
    from_start: Annotated[bool, typer.Option("--from-start", help="Also repeat the steps that succeeded.")] = False,
) -> None:
    """Run the failed or cancelled steps of a job again; results of the others are kept.

    Steps whose output is gone or damaged run again too, and all steps after them.
    """
    lost = jobs_of(get_settings()).retry(job, from_start=from_start)
    if lost:
        stages = ", ".join(dict.fromkeys(lost))
        counts = counted(len(lost), "output is gone or damaged", "outputs are gone or damaged")
        echo(f"{counts}. Runs again: {stages}, and every stage after that.")
    echo(f"Job {job} continues. Watch it: segadmin jobs watch {job}")


@app.command("quarantine")
def quarantine_(
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of messages, newest first.")] = 20,
    clear: Annotated[bool, typer.Option("--clear", help="Delete all of these messages.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List messages from the broker that segadmin did not send; they were never run."""
    if clear:
        deleted = answer(quarantine.clear, lambda client: client.clear_quarantined_messages().rows)
        echo(f"Deleted {counted(deleted, 'message')}.")
        return
    messages = answer(
        lambda settings: quarantine.list_messages(settings, limit),
        lambda client: as_records(QuarantinedMessage, client.list_quarantined_messages(limit=min(limit, 1000)).items),
    )
    if as_json:
        show_json([message.model_dump(mode="json") for message in messages])
        return
    table(
        "",
        ["when", "queue", "why", ">bytes", "message"],
        [
            (ago(message.created_at), message.queue, message.reason, message.size, message.message[:200])
            for message in messages
        ],
        empty="No message is in quarantine.",
    )


def _facts(line: control.JobLine) -> dict[str, Any]:
    waits_for = line.waits_for and line.waits_for.model_dump(mode="json")
    left = line.progress.seconds_left
    facts: dict[str, Any] = mask_all(line.job.model_dump(mode="json", exclude={"asked"}))
    return facts | {
        "subject": subject(line.job),
        "progress": round(line.progress.done, 4),
        "seconds_left": None if left is None else round(left),
        "waits_for": waits_for,
    }


def _buckets(step: Step) -> str:
    return f"{step.bucket_from}-{step.bucket_to}" if step.bucket_from >= 0 else ""
