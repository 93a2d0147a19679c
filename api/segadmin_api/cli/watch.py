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
from segadmin.text.coverage import coverage
from segadmin_api.cli.curves import drawn
from segadmin_api.cli.output import took, waits

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
        for stage, steps in _by_stage(seen).items():
            state = _stage_state(steps)
            if said.get(stage) != state and state not in {StepState.WAITING, StepState.READY}:
                said[stage] = state
                time_taken = "" if state == StepState.RUNNING else _stage_time(steps)
                console.print(f"job {seen.job.id}: {stage} {state} {time_taken}".rstrip(), highlight=False)
                for line in _curves(steps) if state == StepState.SUCCEEDED else ():
                    console.print(line, highlight=False)
        if seen.job.state.over:
            return seen
        time.sleep(_LOOK_SECONDS)
        seen = view(settings, seen.job.id or 0)


def _outcome(seen: JobView, console: Console) -> int:
    job = seen.job
    if job.state == JobState.SUCCEEDED:
        console.print(f"Job {job.id} succeeded in {took(job.created_at, job.finished_at)}.", highlight=False)
        for verdict in (step.result for step in seen.steps if step.stage == "gate" and "promoted" in step.result):
            version, reason = verdict["model_version_id"], verdict["reason"]
            state = "is champion" if verdict["promoted"] else "stays a challenger"
            console.print(f"Version {version} {state}: {reason}.", highlight=False, markup=False, soft_wrap=True)
        for read in (step.result for step in seen.steps if step.stage == "pretrain" and "report" in step.result):
            version, report = read["model_version_id"], read["report"]
            console.print(
                f"Version {version} has read: of held-out users' texts, the loss fell from "
                f"{report['held_out_loss_before']:.3f} to {report['held_out_loss']:.3f}. Teach it: "
                f"segadmin enqueue retrain --from {version}",
                highlight=False,
                soft_wrap=True,
            )
        for chosen in (step.result for step in seen.steps if step.stage == "choose" and "best" in step.result):
            best, options = chosen["best"], chosen["backbone_options"].items()
            words = " ".join(f"--backbone-option {name}={value}" for name, value in options)
            console.print(
                f"Trial {best['trial']} of {len(chosen['trials'])} was best: validation log-loss {best['value']:.4f}. "
                f"Train with it: segadmin enqueue retrain -b {chosen['backbone']} {words}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
        if job.kind == "textualize":
            console.print(coverage(seen.steps))
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
    for stage, steps in _by_stage(seen).items():
        share = sum(1.0 if step.state.done else step.progress for step in steps) / len(steps)
        progress.add_task(
            _mark(_stage_state(steps)) + stage,
            total=100,
            completed=round(100 * share),
            time=_stage_time(steps),
            note=_stage_note(steps),
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


def _by_stage(seen: JobView) -> dict[str, list[Step]]:
    stages: dict[str, list[Step]] = {}
    for step in seen.steps:
        stages.setdefault(step.stage, []).append(step)
    return stages


def _stage_state(steps: Sequence[Step]) -> StepState:
    """Return the state that says most about a stage's steps together."""
    states = {step.state for step in steps}
    for state in (StepState.FAILED, StepState.CANCELLED, StepState.RUNNING):
        if state in states:
            return state
    if len(states) == 1:
        return states.pop()
    return StepState.RUNNING if StepState.SUCCEEDED in states else StepState.READY


def _mark(state: StepState) -> str:
    marks = {StepState.SUCCEEDED: "✓ ", StepState.FAILED: "✗ ", StepState.CANCELLED: "✗ ", StepState.SKIPPED: "– "}
    return marks.get(state, "▸ " if state == StepState.RUNNING else "  ")


def _stage_time(steps: Sequence[Step]) -> str:
    starts = [step.started_at for step in steps if step.started_at]
    if not starts:
        return ""
    ends = [step.finished_at for step in steps]
    end = None if None in ends else max(end for end in ends if end)
    return took(min(starts), end)


def _stage_note(steps: Sequence[Step]) -> str:
    for step in steps:
        if step.state == StepState.FAILED or (step.state == StepState.READY and step.error):
            return step.error or ""
    return next((step.note for step in steps if step.state == StepState.RUNNING and step.note), "")
