"""The form of a schedule: what was written in it, what is wrong with it, and the schedule that it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from segadmin.errors import ConfigurationError, SegadminError, did_you_mean
from segadmin.jobs import intervals, schedules
from segadmin.jobs.registry import offered_kinds, workflows
from segadmin.jobs.requests import chosen_options, current_names, default_options, field_problems
from segadmin.settings import Settings
from segadmin.storage.records import Schedule
from segadmin.timezones import zone
from segadmin.urls import mask_secrets
from segadmin.workflows.live import objective_options
from segadmin_api.request_forms import FormField, form_of, read_form, with_errors

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
    options: Mapping[str, str] = field(default_factory=dict)  #: field of the request → its text

    @classmethod
    def of(cls, schedule: Schedule) -> ScheduleForm:
        """Return the form of a schedule that exists."""
        interval = intervals.interval_of(schedule.cron)
        every = f"{interval.total_seconds():g}s" if interval is not None else ""
        freshness = "" if schedule.freshness_seconds is None else f"{schedule.freshness_seconds:g}s"
        cron = "" if every else schedule.cron
        return cls(schedule.name, schedule.kind, cron, every, freshness, schedule.timezone)


@dataclass
class CheckedSchedule:
    """A form with what is wrong with each field; without problems, what to save."""

    form: ScheduleForm
    problems: dict[str, str] = field(default_factory=dict)  #: field → why it cannot be used
    cron: str = ""
    freshness: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    fields: Sequence[FormField] = ()  #: of the request, as they were filled, with what is wrong with each

    @property
    def is_usable(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems and not any(each.error for each in self.fields)

    def take(self, name: str, read: Callable[[], Value]) -> Value | None:
        """Return what ``read`` returns; ``None`` if that fails, which is a problem of the field ``name``."""
        try:
            return read()
        except SegadminError as error:
            self.problems[name] = mask_secrets(str(error))
            return None


def fields_of(kind: str, options: Mapping[str, Any] | None = None) -> list[FormField]:
    """Return the fields of the request of a kind with ``options`` in them; none for an unknown kind."""
    if kind not in workflows():
        return []
    return form_of(workflows()[kind].request, current_names(kind, dict(options or {})))


def has_changed(kind: str, fields: Sequence[FormField]) -> bool:
    """Return whether any of some fields is wrong or does not have its default."""
    initial = {each.name: each.value for each in fields_of(kind)}
    return any(each.error or each.value != initial.get(each.name) for each in fields)


def check_form(settings: Settings, form: ScheduleForm, *, was_objective: bool = False) -> CheckedSchedule:
    """Check every field of a form, and its job as if it were enqueued now.

    Args:
        settings: of the server.
        form: as it was sent.
        was_objective: it changes a schedule that has a freshness objective already.
    """
    checked = CheckedSchedule(form)
    checked.take("name", lambda: _check_name(form.name))
    checked.take("kind", lambda: _check_kind(form.kind))
    checked.take("timezone", lambda: zone(form.timezone))
    checked.cron = checked.take("cron", lambda: _slots(form)) or ""
    checked.freshness = checked.take("freshness", lambda: _objective(form))
    if not checked.problems.keys() & {"timezone", "cron"}:
        checked.take("cron", lambda: schedules.check_slots(checked.cron, form.timezone))
    if "kind" not in checked.problems:
        checked.options = checked.take("options", lambda: _options(checked, was_objective)) or {}
    if checked.is_usable:
        job = (form.kind, dict(checked.options))
        checked.take("options", lambda: schedules.check_schedule(settings, checked.cron, form.timezone, *job))
    return checked


def kinds() -> Sequence[str]:
    """Return the kinds of jobs that a schedule can have."""
    return offered_kinds()


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


def _options(checked: CheckedSchedule, was_objective: bool) -> Mapping[str, Any]:
    """Return the options of the jobs, complete; none if the text of a field cannot be used."""
    form = checked.form
    options, problems, filled = read_form(workflows()[form.kind].request, form.options)
    checked.fields = filled
    problems = field_problems(form.kind, options) | problems
    if whole := problems.pop("", ""):
        raise ConfigurationError(whole)
    checked.fields = with_errors(filled, problems)
    if problems:
        return {}
    if not form.freshness:
        return default_options(form.kind, options)
    # A form sends every field. What has its default was not chosen, so that a new objective may choose otherwise.
    given = options if was_objective else chosen_options(form.kind, options)
    return default_options(form.kind, objective_options(form.kind, dict(given)))
