"""Formats jobs, model versions and times as text, for the terminal and for web pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from segadmin.counts import counted
from segadmin.evaluation.bootstrap import LEAST_USERS
from segadmin.evaluation.membership import MembershipAttack
from segadmin.jobs.control import JobLine, JobView
from segadmin.labels.parts import EqualTexts, Part
from segadmin.models.versions import VersionLine
from segadmin.storage.records import Canary, Job, Step, StepState
from segadmin.urls import mask_all
from segadmin_api.mapping_words import mapping_words
from segadmin_api.results import job_subject, result_sentences, waits_sentence

if TYPE_CHECKING:
    from segadmin.models.card import Cascade


#: From so many minutes on, a duration is in days.
_LONG_MINUTES = 2 * 1440


def ago(moment: datetime | None) -> str:
    """Return the time since ``moment``, such as ``3 min ago``; empty for ``None``."""
    if moment is None:
        return ""
    seconds = int((datetime.now(moment.tzinfo) - moment).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{max(seconds, 0)} s ago"


def took(start: datetime | None, end: datetime | None) -> str:
    """Return the elapsed time such as ``1:23:45`` or ``12.3 s``; empty before the start."""
    if start is None:
        return ""
    seconds = ((end or datetime.now(start.tzinfo)) - start).total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s"
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def duration(seconds: float) -> str:
    """Return a duration in seconds, rounded, such as ``45 s``, ``3 min``, ``2 h 10 min`` or ``3 d 4 h``."""
    if seconds < 60:
        return f"{math.ceil(seconds)} s"
    minutes = round(seconds / 60)
    if minutes >= _LONG_MINUTES:
        return f"{minutes // 1440} d {minutes % 1440 // 60} h"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def percent(share: float) -> str:
    """Return a share of two digits at least, such as ``0.35 %`` or ``120 %``."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def equal_texts_line(counts: EqualTexts | None) -> str:
    """Return how many texts several users have, and what was done about them; empty if nobody counted."""
    if counts is None:
        return ""
    if not counts.texts and not counts.common_texts:
        return "none: no two users have the same text"
    parts = [
        f"{counted(counts.texts, 'text')} of several users in {counted(counts.rows, 'row')}",
        f"{counted(counts.left_out, 'row')} left out because another part has the text",
    ]
    if counts.repeated:
        parts.append(f"{counted(counts.repeated, 'test row')} repeat the text of another user's training row")
    if counts.common_texts:
        common = f"{counted(counts.common_texts, 'common text')} in {counted(counts.common_rows, 'row')}"
        parts.append(f"{common} not separated")
    return "; ".join(parts)


def corrections_line(parts: Mapping[str, int]) -> str:
    """Return how many training rows are corrections, by the rows of each part; empty if none is."""
    if not (rows := parts.get(Part.CORRECTED, 0)):
        return ""
    return f"{counted(rows, 'training row')} by people; no corrected user is in validation or test"


def membership_line(attack: MembershipAttack | None) -> str:
    """Return how well training rows can be distinguished from held-out rows; empty if it was not measured."""
    if attack is None:
        return ""
    rows = f"{counted(attack.trained, 'training row')}, {counted(attack.held_out, f'{attack.part} row')}"
    value, low, high = attack.auc.value, attack.auc.low, attack.auc.high
    if low is None or high is None:
        return f"AUC {value:.4f} ({rows}; an interval needs {LEAST_USERS} users of each)"
    return f"AUC {value:.4f} [{low:.4f}, {high:.4f}] (95 %; {rows})"


def cascade_line(cascade: Cascade | None) -> str:
    """Return how a cascade divides its users; empty for other backbones."""
    if cascade is None:
        return ""
    return (
        f"fast models decide from a probability of {cascade.threshold:.3f}; the language model reads "
        f"{cascade.language_model_fraction:.1%} of the validation users"
    )


#: What to do if the membership attack succeeds.
MEMBERSHIP_ADVICE = (
    "The model reveals whom it was trained on. Train for fewer epochs or rounds, with more weight decay or "
    "phrase_dropout, with more users in each leaf of a tree, or on more users"
)


def time_left(line: JobLine) -> str:
    """Return the remaining time of a job, such as ``about 3 min left``; empty if unknown."""
    left = line.progress.seconds_left
    return "" if left is None else f"about {duration(left)} left"


def waits(line: JobLine) -> str:
    """Return which other job blocks this one, or an empty string."""
    waiting = waits_sentence(line)
    return "" if waiting is None else str(waiting)


def subject(job: Job) -> str:
    """Return what a job is about, see :func:`segadmin_api.results.job_subject`."""
    return " · ".join(map(str, job_subject(job)))


def option_texts(options: dict[str, Any]) -> dict[str, str]:
    """Return the options of a job as text, without unset ones and with secrets masked."""

    def text(value: Any) -> str:
        if isinstance(value, dict):
            return ", ".join(f"{name}={text(item)}" for name, item in value.items())
        if isinstance(value, bool):
            return str(value).lower()  # as it is written in options
        if isinstance(value, float):
            return f"{value:.10g}"  # 92.43, and not the nearest number that a computer has
        return ", ".join(map(text, value)) if isinstance(value, list) else str(value)

    shown = mask_all(options)
    if isinstance(mapping := shown.get("mapping"), dict):
        shown["mapping"] = mapping_words(mapping)
    return {name: text(value) for name, value in shown.items() if value not in (None, {}, [], "")}


def option_value(value: Any) -> str:
    """Return the value of an option as short text; floats with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


#: The columns of the lists of jobs and of model versions; ``>`` marks right-aligned ones.
JOBS = (">job", "kind", "state", ">done", "requested", ">took", "what")
VERSIONS = (">version", "labels", "state", "made of", ">AUROC", ">best baseline", "trained")


def job_row(line: JobLine) -> tuple[str, ...]:
    """Return the cells of a job, one per column of :data:`JOBS`."""
    job = line.job
    return (
        str(job.id),
        job.kind,
        job.state,
        f"{line.progress.done:.0%}",
        ago(job.created_at),
        took(job.started_at, job.finished_at),
        f"{'warning: ' if job.has_warning else ''}{job.error}" if job.error else waits(line) or subject(job),
    )


def version_row(line: VersionLine) -> tuple[str, ...]:
    """Return the cells of a model version, one per column of :data:`VERSIONS`."""
    version, auroc = line.version, line.tested.metrics["auroc"] if line.tested else None
    return (
        str(version.id),
        version.label_set or "–",
        version.state if line.canary is None else f"canary, {line.canary:.1%}",
        f"{line.name} · {version.textualizer}",
        "–" if auroc is None else f"{auroc:.4f}",
        line.best_baseline or "–",
        ago(version.created_at),
    )


def canary_line(canary: Canary) -> str:
    """Return a sentence about a canary that is running."""
    return (
        f"version {canary.challenger_id} scores {canary.share:.1%} of the users of {canary.label_set!r} beside version "
        f"{canary.champion_id}, from {canary.since:%Y-%m-%d} until {canary.until:%Y-%m-%d} of the events' time"
    )


@dataclass(frozen=True)
class StageLine:
    """A stage of a job, summarized over its steps."""

    name: str
    steps: Sequence[Step]

    @property
    def state(self) -> StepState:
        """The most significant state of the steps."""
        states = {step.state for step in self.steps}
        for state in (StepState.FAILED, StepState.CANCELLED, StepState.RUNNING):
            if state in states:
                return state
        if len(states) == 1:
            return states.pop()
        return StepState.RUNNING if StepState.SUCCEEDED in states else StepState.READY

    @property
    def done(self) -> float:
        """The completed fraction, 0 to 1; 0 for a skipped stage."""
        if self.state == StepState.SKIPPED:
            return 0.0
        return sum(1.0 if step.state.done else step.progress for step in self.steps) / len(self.steps)

    @property
    def after(self) -> tuple[str, ...]:
        """The stages that it comes after."""
        return tuple(self.steps[0].after)

    @property
    def memory_bytes(self) -> int | None:
        """The most memory that one of the steps took; ``None``: not measured."""
        return max((step.memory_bytes for step in self.steps if step.memory_bytes), default=None)

    @property
    def took(self) -> str:
        """Elapsed time from the start of the first step to the end of the last; empty before the start."""
        starts = [step.started_at for step in self.steps if step.started_at]
        if not starts:
            return ""
        ends = [step.finished_at for step in self.steps]
        return took(min(starts), None if None in ends else max(end for end in ends if end))

    @property
    def note(self) -> str:
        """The error of a step, or the note of a running step."""
        for step in self.steps:
            if step.state == StepState.FAILED or (step.state == StepState.READY and step.error):
                return step.error or ""
        return next((step.note for step in self.steps if step.state == StepState.RUNNING and step.note), "")


def stages(view: JobView) -> list[StageLine]:
    """Return the stages of a job in order."""
    steps_by_stage: dict[str, list[Step]] = {}
    for step in view.steps:
        steps_by_stage.setdefault(step.stage, []).append(step)
    return [StageLine(name, steps) for name, steps in steps_by_stage.items()]


def result_lines(view: JobView) -> list[str]:
    """Return the results of a job that succeeded, one sentence each, with the next command."""
    return list(map(str, result_sentences(view)))
