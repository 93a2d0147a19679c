"""The pages of schedules: all of them, one with what came of it, and the form of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from secrets import token_urlsafe

from segadmin.jobs.schedules import ScheduleView
from segadmin.storage.records import Schedule, Scope
from segadmin.workflows.objectives import ObjectiveState
from segadmin.workflows.update_policies import ScheduledPolicy, policy_of
from segadmin_api.dashboard.assets import Assets
from segadmin_api.dashboard.messages import message_text
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import served, text_of
from segadmin_api.formatting import option_texts
from segadmin_api.job_scopes import needed_scope, needs_admin
from segadmin_api.request_forms import FormField, split_fields
from segadmin_api.schedule_form import ScheduleForm, has_changed, kinds

#: Choosing another kind of job brings its options.
_HTMX = Assets(scripts=("vendor/htmx.min.js",))


@dataclass(frozen=True)
class ScheduleRow:
    """A schedule in the list, and the ETag that its forms hold."""

    schedule: Schedule
    etag: str
    objective: ObjectiveState | None
    overdue: bool
    nonce: str = field(default_factory=lambda: token_urlsafe(12))  #: of the form that runs it

    @property
    def options(self) -> Mapping[str, str]:
        """The options of its jobs as text."""
        return option_texts(self.schedule.options)

    @property
    def scope(self) -> Scope:
        """Who may run, change and delete it."""
        return needed_scope(self.schedule)

    @property
    def policy(self) -> ScheduledPolicy | None:
        """Whether and when its jobs train the model again."""
        return policy_of(self.schedule)


@dataclass(frozen=True)
class FormState:
    """A form that is shown."""

    form: ScheduleForm
    etag: str = ""  #: of the schedule that it changes; empty: it makes one
    problems: Mapping[str, str] = field(default_factory=dict)  #: field → why it was refused
    fields: Sequence[FormField] = ()  #: of the request of its jobs
    suggestions: Mapping[str, Sequence[str]] = field(
        default_factory=dict
    )  #: field of the request → values that there are


def list_page(rows: Sequence[ScheduleRow], reader: Reader, *, problem: str = "") -> str:
    """Return the page of schedules, the next one due first."""
    title = text_of(reader, "schedules")
    return served("schedules.html", title, "/schedules", reader, rows=rows, problem=problem)


def page(row: ScheduleRow, view: ScheduleView, reader: Reader) -> str:
    """Return the page of a schedule."""
    return served("schedule.html", row.schedule.name, "/schedules", reader, row=row, view=view)


def form_page(state: FormState, reader: Reader) -> str:
    """Return the page with the form of a schedule."""
    title = text_of(reader, "change the schedule") if state.etag else text_of(reader, "new schedule")
    fields = [replace(each, error=message_text(reader.language, each.error)) for each in state.fields]
    common, others = split_fields(fields)
    return served(
        "schedule_form.html",
        title,
        "/schedules",
        reader,
        state=state,
        form=state.form,
        assets=_HTMX,
        kinds=[kind for kind in kinds() if reader.may(Scope.ADMIN) or not needs_admin(kind, {})],
        groups=[common, others] if fields else [],
        is_open=has_changed(state.form.kind, others),
    )
