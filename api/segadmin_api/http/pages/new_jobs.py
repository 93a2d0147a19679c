"""``/jobs/new``: the kinds of jobs, and a form for each, which is made from its request model.

The address of a form holds an idempotency key of its own: a double click, a reload, or going back and sending it once
more gives the job of the first time.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import replace
from typing import Annotated, Any

from fastapi import HTTPException, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlmodel import select

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import BackboneUnavailable, ConfigurationError, DataError, KeyReused, PluginNotFound
from segadmin.jobs.enqueue import Enqueued, ask
from segadmin.jobs.estimate import estimate
from segadmin.jobs.registry import Workflow, offered_kinds, workflow_of, workflows
from segadmin.jobs.requests import current_names, field_problems
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.records import Job, LabelSet, Scope
from segadmin.urls import mask_secrets
from segadmin_api.dashboard import job_forms
from segadmin_api.dashboard.job_forms import NewJob
from segadmin_api.dashboard.render import text_of
from segadmin_api.http.forms import Form, go_to
from segadmin_api.http.html import html_response
from segadmin_api.http.pages.jobs import OperatorForm
from segadmin_api.http.pages.routes import forms_router, pages_router, settings_of
from segadmin_api.http.readers import PageReader, reader_of
from segadmin_api.http.v1.job_checks import check_kind, kind_problem, option_problems
from segadmin_api.request_forms import form_of, read_form, with_errors
from segadmin_worker.client import dispatcher

router = pages_router(Scope.OPERATOR)
forms = forms_router()
Kind = Annotated[str, Path(max_length=200)]
#: The form of the keys of forms; without one, the page has none yet.
_KEY = "^(|[0-9a-f]{32})$"
#: How the fields of the request begin, besides those of the form itself.
PREFIX = "option."
#: What a request itself can be wrong in; other errors are a page of their own.
_OF_REQUEST = (BackboneUnavailable, ConfigurationError, DataError, PluginNotFound)


@router.get("/jobs/new")
def list_kinds(request: Request, reader: PageReader) -> HTMLResponse:
    """Show the kinds of jobs, and what each does."""
    load_plugins(settings_of(request))
    kinds = [(workflows()[kind], not kind_problem(request, kind)) for kind in offered_kinds()]
    return html_response(job_forms.kinds_page(kinds, reader))


@router.get("/jobs/new/{kind}")
def show_form(
    request: Request,
    kind: Kind,
    reader: PageReader,
    job: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    key: Annotated[str, Query(pattern=_KEY)] = "",
) -> Response:
    """Show the form of a kind, filled with its defaults or with the options of a ``job``."""
    settings = settings_of(request)
    workflow = _workflow(request, settings, kind)
    if not key:
        target = request.url.include_query_params(key=_new_key())
        return RedirectResponse(f"{target.path}?{target.query}", 303)
    options = {} if job is None else _options_of(settings, kind, job)
    new = NewJob(workflow, form_of(workflow.request, options), key, suggestions=suggestions(settings))
    return html_response(job_forms.form_page(new, reader))


@forms.post("/jobs/new/{kind}")
def enqueue(request: Request, kind: Kind, form: OperatorForm) -> Response:
    """Enqueue the job of a form, or estimate it; if something is wrong, show the form again with what was filled in."""
    settings = settings_of(request)
    workflow = _workflow(request, settings, kind)
    given = {name.removeprefix(PREFIX): form.text(name) for name in form.fields if name.startswith(PREFIX)}
    options, problems, filled = read_form(workflow.request, given)
    new = NewJob(
        workflow,
        filled,
        _key_of(form),
        priority=form.text("priority", "5"),
        suggestions=suggestions(settings),
    )
    try:
        refused = option_problems(request, options)
        problems = field_problems(kind, options) | problems | refused
        if problems:
            again = replace(new, fields=with_errors(filled, problems), problem=problems.get("", ""))
            return _again(request, again, 403 if refused else 422)
        if form.text("do") == "estimate":
            return _again(request, replace(new, cost=estimate(settings, kind, options)), 200)
        done = ask(
            settings,
            dispatcher(settings),
            kind,
            options,
            idempotency_key=_stored(new.key),
            priority=_priority(new.priority),
        )
    except KeyReused as error:
        earlier = _earlier(settings, _stored(new.key))
        return _again(request, replace(new, key=_new_key(), problem=str(error), earlier=earlier), 409)
    except _OF_REQUEST as error:
        return _again(request, _with_error(new, options, mask_secrets(str(error))))
    return _enqueued(request, done)


def _enqueued(request: Request, done: Enqueued) -> RedirectResponse:
    """Return the way to the page of a job, with what became of it."""
    reader, number = reader_of(request), done.job.id
    if not done.created:
        notice = text_of(reader, "This form was sent already. This is its job; nothing new was enqueued.")
    elif not done.dispatched:
        notice = text_of(reader, "Saved as job %(number)s; it starts when the broker is back.", number=number)
    else:
        notice = text_of(reader, "Job %(number)s is enqueued.", number=number)
    return go_to(f"/jobs/{number}", notice)


def _again(request: Request, new: NewJob, status: int = 422) -> HTMLResponse:
    return html_response(job_forms.form_page(new, reader_of(request)), status)


def _with_error(new: NewJob, options: dict[str, Any], error: str) -> NewJob:
    """Return the form with an error: beside the field whose value it quotes, if that is one alone."""
    quoted = [name for name, value in options.items() if isinstance(value, str) and value and repr(value) in error]
    if len(quoted) == 1:
        return replace(new, fields=with_errors(new.fields, {quoted[0]: error}))
    return replace(new, problem=error)


def _workflow(request: Request, settings: Settings, kind: str) -> Workflow:
    """Return the workflow of a kind.

    Raises:
        HTTPException: 404 if there is none, 403 if the key may not ask for it.
    """
    load_plugins(settings)
    try:
        workflow = workflow_of(kind)
    except ConfigurationError as error:
        raise HTTPException(404, str(error)) from None
    check_kind(request, kind)
    return workflow


def _options_of(settings: Settings, kind: str, number: int) -> dict[str, Any]:
    """Return the options of a job, as far as its kind still has them; nothing of a job of another kind."""
    with reading(settings) as session:
        job = session.get(Job, number)
    if job is None or job.kind != kind:
        return {}
    return current_names(kind, dict(job.options))


def _earlier(settings: Settings, key: str) -> int | None:
    with reading(settings) as session:
        return session.exec(select(Job.id).where(Job.idempotency_key == key)).first()


def suggestions(settings: Settings) -> dict[str, list[str]]:
    """Return the names that there are for some fields."""
    plugins = load_plugins(settings)
    with reading(settings) as session:
        labels = list(session.exec(select(LabelSet.name).order_by(LabelSet.name)).all())
    return {
        "labels": labels,
        "auxiliary_labels": labels,
        "backbone": plugins.names("backbone"),
        "textualizer": plugins.names("textualizer"),
        "modality": plugins.names("modality"),
    }


def _priority(text: str) -> int:
    """Return the priority; what is none is refused by its bounds."""
    if text.isdecimal() and len(text) == 1:
        return int(text)
    raise ConfigurationError(f"The priority {text!r} is not a number from 0 to 9.")


def _new_key() -> str:
    return uuid.uuid4().hex


def _key_of(form: Form) -> str:
    """Return the key of a form, or a new one for what was made by hand."""
    key = form.text("key")
    return key if key and re.fullmatch(_KEY, key) else _new_key()


def _stored(key: str) -> str:
    """Return the idempotency key of the job of a form."""
    return f"form {key}"
