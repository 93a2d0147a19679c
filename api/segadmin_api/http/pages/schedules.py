"""``/schedules``: jobs that repeat, and the forms that make and change them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated

from fastapi import Depends, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError, ScheduleNotFound, SegadminError, Stale
from segadmin.jobs import schedules as engine
from segadmin.jobs.registry import workflow_of, workflows
from segadmin.settings import Settings
from segadmin.storage.records import Schedule, Scope
from segadmin.urls import mask_secrets
from segadmin.workflows.objectives import objectives
from segadmin_api.dashboard import schedules
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import name_of, text_of
from segadmin_api.dashboard.schedules import FormState, ScheduleRow
from segadmin_api.http.forms import Form, RequiresForm, go_to
from segadmin_api.http.html import html_response
from segadmin_api.http.pages.new_jobs import PREFIX, suggestions
from segadmin_api.http.pages.notices import enqueued
from segadmin_api.http.pages.routes import forms_router, pages_router, settings_of
from segadmin_api.http.readers import PageReader, on_page, reader_of
from segadmin_api.http.v1.job_checks import check_asked, kind_problem, option_problems
from segadmin_api.http.v1.schedules import check_etag
from segadmin_api.request_forms import with_errors
from segadmin_api.schedule_etag import schedule_etag
from segadmin_api.schedule_form import ScheduleForm, check_form, fields_of
from segadmin_worker.client import dispatcher

router, forms = pages_router(), forms_router()
OperatorForm = Annotated[Form, Depends(RequiresForm(Scope.OPERATOR))]
Name = Annotated[str, Query(max_length=200)]
Kind = Annotated[str, Query(max_length=200)]


@router.get("/schedules")
def list_schedules(request: Request, reader: PageReader) -> HTMLResponse:
    """Show the schedules."""
    return html_response(schedules.list_page(_rows(settings_of(request)), reader))


@router.get("/schedules/show")
def show_schedule(request: Request, reader: PageReader, name: Name) -> HTMLResponse:
    """Show a schedule: its next slots, its latest jobs, and the slots that were missed."""
    settings = settings_of(request)
    view = engine.view(settings, name)
    [row] = [row for row in _rows(settings) if row.schedule.name == name]
    return html_response(schedules.page(row, view, reader))


@router.get("/schedules/new")
def new_schedule(request: Request, reader: PageReader, kind: Kind = "refresh") -> HTMLResponse:
    """Show the form of a new schedule, with the options of a kind of job."""
    settings = settings_of(request)
    load_plugins(settings)  # they may bring kinds
    _known(kind)
    form = ScheduleForm(kind=kind, timezone=reader.zone)
    state = FormState(form, fields=fields_of(kind), suggestions=suggestions(settings))
    return html_response(schedules.form_page(state, reader))


@router.get("/schedules/edit")
def edit_schedule(request: Request, reader: PageReader, name: Name, kind: Kind = "") -> HTMLResponse:
    """Show the form of a schedule that exists; with ``kind``, for jobs of another kind."""
    settings = settings_of(request)
    load_plugins(settings)
    schedule = engine.view(settings, name).schedule
    check_asked(request, schedule)
    form = ScheduleForm.of(schedule)
    is_other = kind not in {"", form.kind}
    if is_other:
        _known(kind)
        form = replace(form, kind=kind)
    fields = fields_of(form.kind, {} if is_other else schedule.options)
    state = FormState(form, schedule_etag(schedule), fields=fields, suggestions=suggestions(settings))
    return html_response(schedules.form_page(state, reader))


@forms.post("/schedules/save")
def save(request: Request, form: OperatorForm) -> Response:
    """Make a schedule, or change the one that the page has shown."""
    settings, reader = settings_of(request), reader_of(request)
    written, etag = _written(form), form.text("etag")
    load_plugins(settings)
    if problem := kind_problem(request, written.kind):
        return _with_options(request, written, form, {"kind": problem}, 403)
    if form.text("do") == "options":
        return _with_options(request, written, form, {}, 200)
    if form.text("options_of", written.kind) != written.kind and written.kind in workflows():
        kind = name_of(reader, written.kind, "job")
        problem = text_of(reader, "These are the options of %(kind)s. Check them, and save again.", kind=kind)
        return _with_options(request, written, form, {"kind": problem}, 422)
    checked = check_form(settings, written, was_objective=bool(etag) and _has_objective(settings, written.name))
    refused = option_problems(request, checked.options)
    checked.fields = with_errors(checked.fields, refused) if refused else checked.fields

    def check(row: Schedule | None) -> None:
        if not etag and row is not None:
            raise Stale(
                text_of(reader, "There is a schedule of this name already. Take another name, or change that one.")
            )
        if etag:
            _check(row, etag, reader)
            check_asked(request, row)

    if checked.is_usable:
        try:
            engine.add(
                settings,
                written.name,
                checked.cron,
                written.kind,
                dict(checked.options),
                timezone=written.timezone,
                freshness=checked.freshness,
                check=check,
            )
        except Stale as error:
            checked.problems["name"] = str(error)
    if not checked.is_usable:
        reader = on_page(reader, "/schedules/new")
        state = FormState(written, etag, checked.problems, checked.fields, suggestions(settings))
        page = schedules.form_page(state, reader)
        is_stale = etag and "name" in checked.problems
        return html_response(page, 403 if refused else 412 if is_stale else 422)
    return go_to("/schedules", text_of(reader, "The schedule %(name)s is saved.", name=written.name))


@forms.post("/schedules/pause")
def pause(request: Request, form: OperatorForm) -> Response:
    """Let the slots of a schedule pass by."""
    done = text_of(reader_of(request), "The schedule %(name)s is paused.", name=form.text("name"))
    return _change(request, form, done, engine.pause)


@forms.post("/schedules/resume")
def resume(request: Request, form: OperatorForm) -> Response:
    """Go on from the next slot."""
    done = text_of(reader_of(request), "The schedule %(name)s goes on from its next slot.", name=form.text("name"))
    return _change(request, form, done, engine.resume, check=partial(check_asked, request))


@forms.post("/schedules/delete")
def delete(request: Request, form: OperatorForm) -> Response:
    """Delete a schedule; the jobs that it enqueued stay."""
    done = text_of(reader_of(request), "The schedule %(name)s is deleted.", name=form.text("name"))
    return _change(request, form, done, engine.remove, back="/schedules", check=partial(check_asked, request))


@forms.post("/schedules/run")
def run(request: Request, form: OperatorForm) -> Response:
    """Enqueue the job of a schedule now, out of turn; a form that is sent twice makes one."""
    settings, reader, name = settings_of(request), reader_of(request), form.text("name")
    load_plugins(settings)
    is_current = _checked(form, reader)

    def check(row: Schedule | None) -> None:
        is_current(row)
        check_asked(request, row)

    key = f"page {form.text('nonce')}"[:200] if form.text("nonce") else None
    try:
        done = engine.run(settings, dispatcher(settings), name, check=check, idempotency_key=key)
    except ScheduleNotFound:
        raise
    except SegadminError as error:
        return _refused(settings, reader, error)
    return go_to(form.back, enqueued(done, reader))


def _change(
    request: Request,
    form: Form,
    notice: str,
    change: Callable[..., object],
    *,
    back: str | None = None,
    check: engine.Check = lambda _row: None,
) -> Response:
    """Change a schedule if it is still as the page has shown it, and ``check`` allows it."""
    settings, reader, name = settings_of(request), reader_of(request), form.text("name")
    is_current = _checked(form, reader)

    def check_all(row: Schedule | None) -> None:
        is_current(row)
        check(row)

    try:
        change(settings, name, check=check_all)
    except Stale as error:
        return _refused(settings, reader, error)
    return go_to(back or form.back, notice)


def _checked(form: Form, reader: Reader) -> engine.Check:
    """Return what refuses to change a schedule that is not as the page has shown it."""
    return lambda row: _check(row, form.text("etag"), reader)


def _check(row: Schedule | None, etag: str, reader: Reader) -> None:
    try:
        check_etag(row, etag)
    except Stale:
        if row is None:
            raise Stale(text_of(reader, "The schedule was deleted since this page was shown.")) from None
        now = f"{row.kind}, {row.cron or '–'} {row.timezone}"
        state = text_of(reader, "paused") if row.paused else ""
        raise Stale(
            text_of(
                reader,
                "The schedule was changed since this page was shown; it is now: %(now)s. Look at it and decide again.",
                now=", ".join(filter(None, [now, state])),
            )
        ) from None


def _refused(settings: Settings, reader: Reader, error: SegadminError) -> Response:
    page = schedules.list_page(_rows(settings), on_page(reader, "/schedules"), problem=mask_secrets(str(error)))
    return html_response(page, 412 if isinstance(error, Stale) else 422)


def _with_options(
    request: Request, written: ScheduleForm, form: Form, problems: Mapping[str, str], status: int
) -> Response:
    """Show a form again with the options of its kind of job; nothing else that was written in it is lost."""
    settings, reader = settings_of(request), on_page(reader_of(request), "/schedules/new")
    state = FormState(written, form.text("etag"), problems, fields_of(written.kind), suggestions(settings))
    return html_response(schedules.form_page(state, reader), status)


def _written(form: Form) -> ScheduleForm:
    names = ("name", "kind", "cron", "every", "freshness", "timezone")
    options = {name.removeprefix(PREFIX): form.text(name) for name in form.fields if name.startswith(PREFIX)}
    return ScheduleForm(**{name: form.text(name) for name in names}, options=options)


def _known(kind: str) -> None:
    """Raise 404 if there is no such kind."""
    try:
        workflow_of(kind)
    except ConfigurationError as error:
        raise HTTPException(404, str(error)) from None


def _has_objective(settings: Settings, name: str) -> bool:
    rows = engine.list_schedules(settings)
    return any(row.name == name and row.freshness_seconds is not None for row in rows)


def _rows(settings: Settings) -> list[ScheduleRow]:
    late = set(engine.overdue(settings))
    states = {state.schedule: state for state in objectives(settings)}
    return [
        ScheduleRow(row, schedule_etag(row), states.get(row.name), row.name in late)
        for row in engine.list_schedules(settings)
    ]
