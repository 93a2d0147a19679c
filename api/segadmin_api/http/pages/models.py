"""``/models`` and ``/drift``: model versions, and how far the data have moved from those of their training."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Query, Request, Response
from fastapi.responses import HTMLResponse
from sqlmodel import Session, col, select

from segadmin.errors import DataError, JobError, SegadminError, Stale
from segadmin.models import registry
from segadmin.models.canary import running_canary
from segadmin.models.card import card_of
from segadmin.models.champion_changes import champion_change
from segadmin.models.versions import VersionLine, champions, evaluations_of, find_version, list_lines
from segadmin.monitoring.reports import report_history
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.records import ModelState, ModelVersion, Scope, Step
from segadmin_api.dashboard import compare, drift, model, models
from segadmin_api.dashboard.model import ModelView, Refused
from segadmin_api.http import champion_forms
from segadmin_api.http.forms import Form, RequiresForm
from segadmin_api.http.html import html_response
from segadmin_api.http.pages.routes import Number, forms_router, pages_router, settings_of
from segadmin_api.http.readers import PageReader, on_page, reader_of

#: Versions on a page.
_VERSIONS = 100
router, forms = pages_router(), forms_router()
Version = Annotated[str, Path(pattern="^(champion|[0-9]{1,9})$")]
OperatorForm = Annotated[Form, Depends(RequiresForm(Scope.OPERATOR))]
Compared = Annotated[str, Query(pattern="^(champion|[0-9]{1,9})$")]


@router.get("/models")
def list_models(
    request: Request,
    reader: PageReader,
    labels: Annotated[str, Query(max_length=200)] = "",
    state: Annotated[str, Query(max_length=16)] = "",
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
) -> HTMLResponse:
    """Show the model versions, or those of a filter."""
    settings = settings_of(request)
    wanted = ModelState(state) if state in set(ModelState) else None
    lines = list_lines(settings, labels or None, state=wanted, before=before, limit=_VERSIONS)
    with reading(settings) as session:
        names = session.exec(select(ModelVersion.label_set).distinct().order_by(ModelVersion.label_set)).all()
        current = champions(session)
    page = models.list_page(
        lines,
        reader,
        champions=current,
        label_sets=[name for name in names if name],
        shown=models.ModelFilter(labels, wanted or ""),
        newest=before is None,
        full=len(lines) == _VERSIONS,
    )
    return html_response(page)


@router.get("/models/compare")
def compare_models(request: Request, reader: PageReader, one: Compared, other: Compared = "champion") -> HTMLResponse:
    """Compare two versions, with intervals."""
    settings = settings_of(request)
    with reading(settings) as session:
        versions = [find_version(session, name) for name in (one, other)]
        tested = [VersionLine(version, evaluations_of(session, version)).tested for version in versions]
    cards = [card_of(settings, str(version.id)) for version in versions]
    comparison, problem = None, ""
    try:
        comparison = registry.compare_versions(settings, str(versions[0].id), str(versions[1].id))
    except DataError as error:
        problem = str(error)
    pair = compare.VersionPair((cards[0], cards[1]), (tested[0], tested[1]), comparison, problem)
    return html_response(compare.page(pair, reader))


@router.get("/models/{version}")
def show_model(request: Request, version: Version, reader: PageReader, labels: str | None = None) -> HTMLResponse:
    """Show a version, or the champion (of ``labels``): its card, how it learnt, and what can be done about it."""
    return html_response(model.page(_view(settings_of(request), version, labels), reader))


@forms.post("/models/{version}/promote")
def promote(request: Request, version: Number, form: OperatorForm) -> Response:
    """Make a version champion in place of the one that the page has shown."""
    settings = settings_of(request)

    def change(expected: int | None) -> registry.Promotion:
        return registry.promote_version(settings, str(version), form.text("reason"), expected=expected)

    return _answer(request, version, form, "promote", change)


@forms.post("/models/{version}/rollback")
def roll_back(request: Request, version: Number, form: OperatorForm) -> Response:
    """Make the champion before this version champion again, if this one still is."""
    settings = settings_of(request)
    with reading(settings) as session:
        label_set = find_version(session, str(version)).label_set

    def change(expected: int | None) -> registry.Promotion:
        return registry.roll_back_champion(settings, label_set, form.text("reason"), expected=expected)

    return _answer(request, version, form, "rollback", change)


@router.get("/drift")
def list_drift(request: Request, reader: PageReader, labels: str | None = None) -> HTMLResponse:
    """Show the drift reports over time, of all label sets or of ``labels``."""
    with reading(settings_of(request)) as session:
        return html_response(drift.page(report_history(session, labels), online=True, reader=reader))


def _answer(request: Request, version: int, form: Form, action: str, change: champion_forms.Change) -> Response:
    """Change the champion and go to its page; or show the page again with what is in the way."""
    settings, reader = settings_of(request), reader_of(request)
    try:
        return champion_forms.done(settings, champion_forms.changed(form, reader, change), reader)
    except (Stale, JobError, DataError, champion_forms.Incomplete) as error:
        problem = champion_forms.problem(settings, version, error, reader)
        view = _view(settings, str(version))
        refused = Refused(action, problem, form.text("reason"))
        page = model.page(view, on_page(reader, f"/models/{version}"), refused)
        return html_response(page, champion_forms.status_of(error))


def _view(settings: Settings, version: str, labels: str | None = None) -> ModelView:
    with reading(settings) as session:
        row = find_version(session, version, labels)
        tested = VersionLine(row, evaluations_of(session, row)).tested
        steps = session.exec(select(Step).where(Step.job_id == row.job_id).order_by(col(Step.id))).all()
        champion, canary = champion_change(session, row.label_set), running_canary(session, row.label_set)
        before = _champion_before(session, row.label_set)
    return ModelView(card_of(settings, str(row.id)), row, tested, steps, champion, before, canary)


def _champion_before(session: Session, label_set: str) -> int | None:
    try:
        return registry.champion_before(session, label_set).id
    except SegadminError:
        return None
