"""Watching a job to its end, with a bar for every stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from segadmin.errors import ServerUnavailable
from segadmin.jobs.control import JobView
from segadmin.storage.records import JobState, Step, StepState
from segadmin_api.cli.curves import drawn
from segadmin_api.cli.output import echo, terminal
from segadmin_api.formatting import percent, result_lines, stages, time_left, took, waits

#: Returns a job as it is now.
Look = Callable[[int], JobView]
_LOOK_SECONDS = 0.5
#: Outside a terminal: so long between two lines that say how far the job is.
_LINE_SECONDS = 20.0
#: Nothing started for this long: say what may be missing.
_PATIENCE_SECONDS = 8.0


def watch(look: Look, job_id: int, *, quiet: bool = False, every: float = _LINE_SECONDS) -> int:
    """Show a job until it is over and return its exit code: 0 when it succeeded.

    On a terminal there is a bar for each stage; elsewhere a line when a stage begins or ends, and one with percentage,
    speed and time left.

    Args:
        look: returns the job as it is now, such as :meth:`segadmin_api.cli.sources.Jobs.view`.
        job_id: which one.
        quiet: leave stdout alone.
        every: seconds from one line with the percentage to the next.

    Raises:
        ServerUnavailable: the server went away meanwhile; the job does not depend on that.
    """
    console = terminal(stderr=quiet)
    seen = look(job_id)
    try:
        seen = (
            _watch_bars(look, seen, console) if console.is_terminal else _watch_lines(look, seen, console, Lines(every))
        )
    except ServerUnavailable as error:
        goes_on = f"Job {job_id} is saved, and goes on there. Watch it again: segadmin jobs watch {job_id}"
        raise ServerUnavailable(f"{error} {goes_on}") from error
    return _outcome(seen, console)


@dataclass
class Lines:
    """What is printed of a job where there is no terminal."""

    every: float  #: seconds from one line with the percentage to the next
    _shown: dict[str, StepState] = field(default_factory=dict)
    _last: tuple[float, float] | None = None  #: when there was such a line, and how much was done
    _hinted: list[str] = field(default_factory=list)

    def of(self, seen: JobView, moment: float) -> list[str]:
        """Return the lines that are due at ``moment``, in seconds on a monotonic clock."""
        lines, done = list(_changes(seen, self._shown)), seen.progress.done
        hints = [] if seen.job.state.over else [f"job {seen.job.id}: {hint.plain}" for hint in _hint(seen)]
        lines += [hint for hint in hints if hint not in self._hinted]
        self._hinted = hints
        since, before = self._last or (moment, done)
        if moment - since >= self.every and not seen.job.state.over:
            lines.append(_progress_line(seen, max(done - before, 0.0) / (moment - since)))
            since, before = moment, done
        self._last = since, before
        return lines


def _watch_bars(look: Look, seen: JobView, console: Console) -> JobView:
    """Draw the stages until the job is over, and return it as it is then."""
    with Live(console=console, refresh_per_second=4, transient=False) as live:
        while not seen.job.state.over:
            live.update(_draw(seen))
            time.sleep(_LOOK_SECONDS)
            seen = look(seen.job.id or 0)
        live.update(_draw(seen))
    return seen


def _watch_lines(look: Look, seen: JobView, console: Console, lines: Lines) -> JobView:
    """Print lines until the job is over, and return it as it is then."""
    while True:
        for line in lines.of(seen, time.monotonic()):
            console.print(line, highlight=False, soft_wrap=True)
        if seen.job.state.over:
            return seen
        time.sleep(_LOOK_SECONDS)
        seen = look(seen.job.id or 0)


def _changes(seen: JobView, shown: dict[str, StepState]) -> Iterator[str]:
    """Yield a line for each stage whose state is not the one in ``shown``, which is updated."""
    for stage in stages(seen):
        if shown.get(stage.name) == stage.state or stage.state in {StepState.WAITING, StepState.READY}:
            continue
        shown[stage.name] = stage.state
        words = f"job {seen.job.id}: {stage.name} {stage.state}"
        if stage.state == StepState.RUNNING:
            yield " · ".join(filter(None, (words, f"{seen.progress.done:.0%} done", time_left(seen))))
        else:
            yield f"{words} {stage.took}".rstrip()
        if stage.state == StepState.SUCCEEDED:
            yield from _curves(stage.steps)


def _progress_line(seen: JobView, speed: float) -> str:
    """Return how far the job is, how fast, how long it will take and what it does.

    Args:
        seen: the job.
        speed: how much of it was done in a second, of late; shown where no step says how fast it is.
    """
    running = [stage for stage in stages(seen) if stage.state == StepState.RUNNING]
    doing = [f"{stage.name} {stage.done:.0%}" + (f" ({stage.note})" if stage.note else "") for stage in running]
    has_rate = any("/s" in stage.note for stage in running)
    facts = (
        f"job {seen.job.id}: {seen.progress.done:.0%} done",
        "" if has_rate or not running else f"{percent(speed * 60)} a minute",
        time_left(seen) or "time left not known yet",
        *doing,
    )
    return " · ".join(filter(None, facts))


def _outcome(seen: JobView, console: Console) -> int:
    job = seen.job
    if job.state == JobState.SUCCEEDED:
        console.print(f"Job {job.id} succeeded in {took(job.created_at, job.finished_at)}.", highlight=False)
        for line in result_lines(seen):
            console.print(line, highlight=False, soft_wrap=True)
        return 0
    echo(f"Error: job {job.id} {job.state}: {job.error}", err=True)
    echo(f"Look: segadmin jobs show {job.id} · run again: segadmin jobs retry {job.id}", err=True)
    return 1


def _draw(seen: JobView) -> Group:
    progress = Progress(
        TextColumn("{task.description:<11}"),
        BarColumn(bar_width=28),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[time]:>8}"),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    )
    for stage in stages(seen):
        progress.add_task(
            _mark(stage.state) + stage.name,
            total=100,
            completed=round(100 * stage.done),
            time=stage.took,
            note=stage.note,
        )
    facts = (
        f"job {seen.job.id}",
        seen.job.kind,
        str(seen.job.state),
        took(seen.job.created_at, None),
        f"{seen.progress.done:.0%} done",
        time_left(seen),
    )
    head = Text(" · ".join(filter(None, facts)))
    return Group(head, progress, *map(Text, _curves(seen.steps)), *_hint(seen))


def _curves(steps: Sequence[Step]) -> list[str]:
    """Return the validation log-loss of what is fitted, or was."""
    return [f"  {step.stage:<11}{line}" for step in steps for line in drawn(step.curve)]


def _hint(seen: JobView) -> list[Text]:
    """Say what may be missing where nothing has started for a while."""
    from segadmin.settings import get_settings
    from segadmin.storage.records import utcnow

    if seen.waits_for:
        return [Text(f"It {waits(seen)}.", "yellow")]
    moment = utcnow()
    ready = [step for step in seen.steps if step.state == StepState.READY and (step.not_before or moment) <= moment]
    if not ready or any(step.state == StepState.RUNNING for step in seen.steps):
        return []
    times = [seen.job.created_at, ready[0].rung_at, *(step.finished_at for step in seen.steps)]
    if (moment - max(filter(None, times))).total_seconds() <= _PATIENCE_SECONDS:
        return []
    queue = ready[0].queue
    taken = f"No worker of the queue {queue!r} has taken the step {ready[0].stage!r} yet. Is one running?"
    where = "" if get_settings().server is None else "On the server: "
    commands = f"segadmin status · segadmin up --detach, or: segadmin worker --queues {queue}"
    return [Text(f"{taken} {where}{commands}", "yellow")]


def _mark(state: StepState) -> str:
    marks = {StepState.SUCCEEDED: "✓ ", StepState.FAILED: "✗ ", StepState.CANCELLED: "✗ ", StepState.SKIPPED: "– "}
    return marks.get(state, "▸ " if state == StepState.RUNNING else "  ")
