"""How jobs, model versions and times are put into words, in a terminal as on a page."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from segadmin.contracts.option_text import option_text
from segadmin.jobs.control import JobLine, JobView
from segadmin.models.versions import VersionLine
from segadmin.storage.records import Step, StepState
from segadmin.text.coverage import coverage
from segadmin.urls import mask_url


def ago(moment: datetime | None) -> str:
    """Return how long ago ``moment`` was, in a word or two."""
    if moment is None:
        return ""
    seconds = int((datetime.now(moment.tzinfo) - moment).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{max(seconds, 0)} s ago"


def took(start: datetime | None, end: datetime | None) -> str:
    """Return a duration such as ``1:23:45`` or ``12.3 s``; empty while it has not started."""
    if start is None:
        return ""
    seconds = ((end or datetime.now(start.tzinfo)) - start).total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s"
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def duration(seconds: float) -> str:
    """Return a rounded duration such as ``45 s``, ``3 min`` or ``2 h 10 min``."""
    if seconds < 60:
        return f"{math.ceil(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def percent(share: float) -> str:
    """Return a share of two digits at least, such as ``0.35 %`` or ``120 %``."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def time_left(line: JobLine) -> str:
    """Return how long a job will still take, such as ``about 3 min left``; empty where that is not known."""
    left = line.progress.seconds_left
    return "" if left is None else f"about {duration(left)} left"


def waits(line: JobLine) -> str:
    """Return what a job waits for where another one keeps it from going on, else nothing."""
    if line.waits_for is None:
        return ""
    what, _, labels = line.waits_for.name.partition(":")
    return f"waits for job {line.waits_for.job_id}, which is changing the {what} of {labels!r}"


def subject(options: dict[str, Any]) -> str:
    """Return the options that tell jobs apart, in a few words."""
    model = options.get("backbone_options", {}).get("model") or options.get("backbone") or options.get("model")
    parts = [model, options.get("textualizer"), options.get("labels")]
    return " · ".join(str(part) for part in parts if part)


def told(options: dict[str, Any]) -> dict[str, str]:
    """Return what was asked of a job, without what was left open, and without a login in a URL."""

    def words(value: Any) -> str:
        if isinstance(value, dict):
            return ", ".join(f"{name}={words(one)}" for name, one in value.items())
        return ", ".join(map(words, value)) if isinstance(value, list) else str(value)

    return {name: mask_url(words(value)) for name, value in options.items() if value not in (None, {}, [])}


def option_value(value: Any) -> str:
    """Return a value of an option in a few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


#: The columns of a list of jobs, and of one of model versions; ``>`` is for those on the right.
JOBS = (">job", "kind", "state", ">done", "asked", ">took", "what")
VERSIONS = (">version", "labels", "state", "made of", ">AUROC", ">best baseline", "trained")


def job_row(line: JobLine) -> tuple[str, ...]:
    """Return a job under the columns of :data:`JOBS`."""
    job = line.job
    return (
        str(job.id),
        job.kind,
        job.state,
        f"{line.progress.done:.0%}",
        ago(job.created_at),
        took(job.started_at, job.finished_at),
        job.error or waits(line) or subject(job.options),
    )


def version_row(line: VersionLine) -> tuple[str, ...]:
    """Return a model version under the columns of :data:`VERSIONS`."""
    version, auroc = line.version, line.tested.metrics["auroc"] if line.tested else None
    return (
        str(version.id),
        version.label_set or "–",
        version.state,
        f"{line.name} · {version.textualizer}",
        "–" if auroc is None else f"{auroc:.4f}",
        line.best_baseline or "–",
        ago(version.created_at),
    )


@dataclass(frozen=True)
class StageLine:
    """A stage of a job, its steps taken together."""

    name: str
    steps: Sequence[Step]

    @property
    def state(self) -> StepState:
        """The state that says most."""
        states = {step.state for step in self.steps}
        for state in (StepState.FAILED, StepState.CANCELLED, StepState.RUNNING):
            if state in states:
                return state
        if len(states) == 1:
            return states.pop()
        return StepState.RUNNING if StepState.SUCCEEDED in states else StepState.READY

    @property
    def done(self) -> float:
        """How much is done, 0 to 1; of a stage that was skipped, nothing."""
        if self.state == StepState.SKIPPED:
            return 0.0
        return sum(1.0 if step.state.done else step.progress for step in self.steps) / len(self.steps)

    @property
    def took(self) -> str:
        """From the first step's begin to the last one's end; empty while it has not started."""
        starts = [step.started_at for step in self.steps if step.started_at]
        if not starts:
            return ""
        ends = [step.finished_at for step in self.steps]
        return took(min(starts), None if None in ends else max(end for end in ends if end))

    @property
    def note(self) -> str:
        """What went wrong, or what a running step is at."""
        for step in self.steps:
            if step.state == StepState.FAILED or (step.state == StepState.READY and step.error):
                return step.error or ""
        return next((step.note for step in self.steps if step.state == StepState.RUNNING and step.note), "")


def stages(seen: JobView) -> list[StageLine]:
    """Return the stages of a job, in their order."""
    found: dict[str, list[Step]] = {}
    for step in seen.steps:
        found.setdefault(step.stage, []).append(step)
    return [StageLine(name, steps) for name, steps in found.items()]


def came_to(seen: JobView) -> list[str]:
    """Return what a job that succeeded has brought, a sentence each, with the command that goes on from there."""
    said: list[str] = []
    for step in seen.steps:
        result = step.result
        if step.stage == "gate" and "promoted" in result:
            state = "is champion" if result["promoted"] else "stays a challenger"
            said.append(f"Version {result['model_version_id']} {state}: {result['reason']}.")
        elif step.stage == "pretrain" and "report" in result:
            version, report = result["model_version_id"], result["report"]
            said.append(
                f"Version {version} has read: of held-out users' texts, the loss fell from "
                f"{report['held_out_loss_before']:.3f} to {report['held_out_loss']:.3f}. Teach it: "
                f"segadmin enqueue retrain --from {version}"
            )
        elif step.stage == "choose" and "best" in result:
            best, options = result["best"], result["backbone_options"].items()
            words = " ".join(
                shlex.join(["--backbone-option", f"{name}={option_text(value)}"]) for name, value in options
            )
            said.append(
                f"Trial {best['trial']} of {len(result['trials'])} was best: validation log-loss {best['value']:.4f}. "
                f"Train with it: segadmin enqueue retrain -b {result['backbone']} {words}"
            )
    if seen.job.kind == "textualize":
        said.append(coverage(seen.steps))
    return said
