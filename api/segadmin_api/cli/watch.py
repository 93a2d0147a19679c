"""Watching a job to its end, with a bar for every stage."""

from __future__ import annotations

import time
from collections.abc import Sequence

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from segadmin.jobs.control import JobView, view
from segadmin.records import JobState, Step, StepState
from segadmin.settings import Settings
from segadmin_api.cli.curves import drawn
from segadmin_api.wording import came_to, stages, took, waits

_LOOK_SECONDS = 0.5
#: Nothing started for this long: say what may be missing.
_PATIENCE_SECONDS = 15.0


def watch(settings: Settings, job_id: int, *, quiet: bool = False) -> int:
    """Show a job until it is over and return its exit code: 0 when it succeeded.

    On a terminal there is a bar a stage; elsewhere a line whenever a stage begins or ends.
    """
    console = Console(stderr=quiet)
    seen = view(settings, job_id)
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4, transient=False) as live:
            while not seen.job.state.over:
                live.update(_draw(seen))
                time.sleep(_LOOK_SECONDS)
                seen = view(settings, job_id)
            live.update(_draw(seen))
    else:
        seen = _watch_lines(settings, seen, console)
    return _outcome(seen, console)


def _watch_lines(settings: Settings, seen: JobView, console: Console) -> JobView:
    said: dict[str, str] = {}
    while True:
        for stage in stages(seen):
            if said.get(stage.name) != stage.state and stage.state not in {StepState.WAITING, StepState.READY}:
                said[stage.name] = stage.state
                time_taken = "" if stage.state == StepState.RUNNING else stage.took
                console.print(f"job {seen.job.id}: {stage.name} {stage.state} {time_taken}".rstrip(), highlight=False)
                for line in _curves(stage.steps) if stage.state == StepState.SUCCEEDED else ():
                    console.print(line, highlight=False)
        if seen.job.state.over:
            return seen
        time.sleep(_LOOK_SECONDS)
        seen = view(settings, seen.job.id or 0)


def _outcome(seen: JobView, console: Console) -> int:
    job = seen.job
    if job.state == JobState.SUCCEEDED:
        console.print(f"Job {job.id} succeeded in {took(job.created_at, job.finished_at)}.", highlight=False)
        for line in came_to(seen):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        return 0
    typer.echo(f"Error: job {job.id} {job.state}: {job.error}", err=True)
    typer.echo(f"Look: segadmin jobs show {job.id} · run again: segadmin jobs retry {job.id}", err=True)
    return 1


def _draw(seen: JobView) -> Group:
    progress = Progress(
        TextColumn("{task.description:<11}"),
        BarColumn(bar_width=28),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[time]:>8}"),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    for stage in stages(seen):
        progress.add_task(
            _mark(stage.state) + stage.name,
            total=100,
            completed=round(100 * stage.done),
            time=stage.took,
            note=stage.note,
        )
    head = Text(f"job {seen.job.id} · {seen.job.kind} · {seen.job.state} · {took(seen.job.created_at, None)}")
    return Group(head, progress, *map(Text, _curves(seen.steps)), *_hint(seen))


def _curves(steps: Sequence[Step]) -> list[str]:
    """Return the validation log-loss of what is fitted, or was."""
    return [f"  {step.stage:<11}{line}" for step in steps for line in drawn(step.curve)]


def _hint(seen: JobView) -> list[Text]:
    """Say what may be missing where nothing has started for a while."""
    from segadmin.records import utcnow

    if seen.waits_for:
        return [Text(f"It {waits(seen)}.", "yellow")]
    waited = (utcnow() - seen.job.created_at).total_seconds()
    if seen.job.state == JobState.QUEUED and waited > _PATIENCE_SECONDS:
        return [Text("No worker has taken it yet. Is one running? segadmin status · segadmin up --detach", "yellow")]
    return []


def _mark(state: StepState) -> str:
    marks = {StepState.SUCCEEDED: "✓ ", StepState.FAILED: "✗ ", StepState.CANCELLED: "✗ ", StepState.SKIPPED: "– "}
    return marks.get(state, "▸ " if state == StepState.RUNNING else "  ")
