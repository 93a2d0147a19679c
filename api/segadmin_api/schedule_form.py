"""The form of a schedule: what was written in it, what is wrong with it, and the schedule that it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from segadmin.contracts.option_text import option_text
from segadmin.errors import ConfigurationError, SegadminError, did_you_mean
from segadmin.jobs import intervals, schedules
from segadmin.jobs.registry import offered_kinds, workflows
from segadmin.jobs.requests import chosen_options, default_options
from segadmin.settings import Settings
from segadmin.storage.records import Schedule
from segadmin.timezones import zone
from segadmin.urls import mask_secrets
from segadmin.workflows.live import objective_options

Value = TypeVar("Value")
#: Longest name of a schedule.
_MOST_CHARACTERS = 200


@dataclass(frozen=True)
class ScheduleForm:
    """The fields, as they were written."""

    name: str = ""
    kind: str = "refresh"
    cron: str = ""
    every: str = ""
    freshness: str = ""
    timezone: str = "UTC"
    options: str = ""  #: lines of ``key=value``

    @classmethod
    def of(cls, schedule: Schedule) -> ScheduleForm:
        """Return the form of a schedule that exists."""
        interval = intervals.interval_of(schedule.cron)
        every = f"{interval.total_seconds():g}s" if interval is not None else ""
        freshness = "" if schedule.freshness_seconds is None else f"{schedule.freshness_seconds:g}s"
        try:
            options = chosen_options(schedule.kind, schedule.options)
        except SegadminError:  # of another version; they are checked when the form is sent
            options = schedule.options
        lines = "\n".join(f"{name}={_text(value)}" for name, value in options.items())
        cron = "" if every else schedule.cron
        return cls(schedule.name, schedule.kind, cron, every, freshness, schedule.timezone, lines)


@dataclass
class CheckedSchedule:
    """A form with what is wrong with each field; without problems, what to save."""

    form: ScheduleForm
    problems: dict[str, str] = field(default_factory=dict)  #: field → why it cannot be used
    cron: str = ""
    freshness: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def take(self, name: str, read: Callable[[], Value]) -> Value | None:
        """Return what ``read`` returns; ``None`` if that fails, which is a problem of the field ``name``."""
        try:
            return read()
        except SegadminError as error:
            self.problems[name] = mask_secrets(str(error))
            return None


def check_form(settings: Settings, form: ScheduleForm) -> CheckedSchedule:
    """Check every field of a form, and its job as if it were enqueued now."""
    checked = CheckedSchedule(form)
    checked.take("name", lambda: _check_name(form.name))
    checked.take("kind", lambda: _check_kind(form.kind))
    checked.take("timezone", lambda: zone(form.timezone))
    checked.cron = checked.take("cron", lambda: _slots(form)) or ""
    checked.freshness = checked.take("freshness", lambda: _objective(form))
    if not checked.problems.keys() & {"timezone", "cron"}:
        checked.take("cron", lambda: schedules.check_slots(checked.cron, form.timezone))
    if "kind" not in checked.problems:
        checked.options = checked.take("options", lambda: _options(form)) or {}
    if not checked.problems:
        job = (form.kind, dict(checked.options))
        checked.take("options", lambda: schedules.check_schedule(settings, checked.cron, form.timezone, *job))
    return checked


def kinds() -> Sequence[str]:
    """Return the kinds of jobs that a schedule can have."""
    return offered_kinds()


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else option_text(value)


def _check_name(name: str) -> None:
    if not name or len(name) > _MOST_CHARACTERS or not name.isprintable():
        raise ConfigurationError(f"Give a name of up to {_MOST_CHARACTERS} visible characters.")


def _check_kind(kind: str) -> None:
    if kind not in workflows():
        raise ConfigurationError(f"There is no kind of job {kind!r}.{did_you_mean(kind, kinds())}")


def _slots(form: ScheduleForm) -> str:
    if form.cron and form.every:
        raise ConfigurationError("Give a cron expression or an interval, not both.")
    if not (form.cron or form.every or form.freshness):
        raise ConfigurationError("When? Give a cron expression such as 0 3 * * *, an interval, or a freshness.")
    return intervals.every(form.every) if form.every else form.cron


def _objective(form: ScheduleForm) -> float | None:
    return intervals.seconds_of(form.freshness, "freshness") if form.freshness else None


def _options(form: ScheduleForm) -> Mapping[str, Any]:
    given: dict[str, Any] = {}
    for line in filter(None, map(str.strip, form.options.splitlines())):
        key, sign, value = line.partition("=")
        if not sign or not key.strip():
            raise ConfigurationError(f"{line!r} is not key=value.")
        given[key.strip()] = value.strip()
    return default_options(form.kind, objective_options(form.kind, given) if form.freshness else given)
