"""``/data``: imports, the profile of the store, and label sets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlmodel import select

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError
from segadmin.events import import_records
from segadmin.events.quarantine import count_reasons, find_rows
from segadmin.jobs.enqueue import ask
from segadmin.labels.labeling import label
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.import_lock import is_importing
from segadmin.storage.lake import Lake
from segadmin.storage.records import LabelSet, Scope
from segadmin.workflows.profile import latest_profile, pending_profile
from segadmin_api.dashboard import data
from segadmin_api.dashboard.render import counted_of
from segadmin_api.http.forms import Form, RequiresForm, go_to, saved_notice
from segadmin_api.http.html import html_response
from segadmin_api.http.pages.routes import Number, forms_router, pages_router, settings_of
from segadmin_api.http.readers import PageReader, reader_of
from segadmin_worker.client import dispatcher

#: Imports on a page, and rows of each reason on the page of an import.
_IMPORTS, _SAMPLES = 100, 5
router, forms = pages_router(), forms_router()
Before = Annotated[int | None, Query(ge=1, le=2**31 - 1)]
State = Literal["", "running", "succeeded", "failed", "interrupted"]


@router.get("/data")
def list_imports(request: Request, reader: PageReader, state: State = "", before: Before = None) -> HTMLResponse:
    """Show the newest imports, or the newest of those in a state, or older than the import ``before``."""
    settings = settings_of(request)
    rows = import_records.list_imports(settings, _IMPORTS + 1, state=state or None, before=before)
    shown, older = rows[:_IMPORTS], rows[_IMPORTS - 1].id if len(rows) > _IMPORTS else None
    importing = is_importing(settings)
    page = data.imports_page(shown, reader, importing=importing, state=state, older=older, newest=before is None)
    return html_response(page)


@router.get("/data/imports/{number}")
def show_import(request: Request, number: Number, reader: PageReader) -> HTMLResponse:
    """Show an import; to analysts also some of its rows in quarantine."""
    settings = settings_of(request)
    row = import_records.find_import(settings, number)
    waiting = count_reasons(settings, number) if row.reasons else {}
    samples = _samples(settings, number, waiting) if reader.may(Scope.ANALYST) else {}
    page = data.import_page(row, reader, importing=is_importing(settings), waiting=waiting, samples=samples)
    return html_response(page)


def _samples(settings: Settings, number: int, reasons: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    samples = {reason: find_rows(settings, number, reason).head(_SAMPLES).collect().to_dicts() for reason in reasons}
    return {reason: [{**row, "row": data.short(row["row"])} for row in rows] for reason, rows in samples.items()}


@router.get("/data/profile")
def show_profile(request: Request, reader: PageReader) -> HTMLResponse:
    """Show what the store holds, as a job has counted it last."""
    settings = settings_of(request)
    is_empty = not Lake.of(settings).exists("events")
    pending = pending_profile(settings)
    return html_response(data.profile_page(latest_profile(settings), reader, pending=pending, is_empty=is_empty))


@forms.post("/data/profile")
def renew_profile(request: Request, form: Annotated[Form, Depends(RequiresForm(Scope.OPERATOR))]) -> RedirectResponse:
    """Let a job count what the store holds, unless one does already."""
    settings, reader = settings_of(request), reader_of(request)
    if pending_profile(settings) is not None:
        return go_to("/data/profile")
    done = ask(settings, dispatcher(settings), "profile", {})
    return go_to("/data/profile", saved_notice(reader, done))


@router.get("/data/labels")
def list_label_sets(request: Request, reader: PageReader) -> HTMLResponse:
    """Show the label sets."""
    settings = settings_of(request)
    with reading(settings) as session:
        rows = session.exec(select(LabelSet).order_by(LabelSet.name)).all()
    return html_response(data.labels_page(rows, load_plugins(settings).names("labeler"), reader))


@forms.post("/data/labels")
def derive_labels(request: Request, form: Annotated[Form, Depends(RequiresForm(Scope.OPERATOR))]) -> RedirectResponse:
    """Derive a label set from events."""
    settings, reader = settings_of(request), reader_of(request)
    derived = label(settings, form.text("name"), form.text("labeler"), _options(form.text("options")))
    return go_to("/data/labels", f"{derived.name}: {counted_of(reader, derived.rows, 'label')}")


def _options(text: str) -> dict[str, str]:
    """Return the options of the lines ``name = value``."""
    options = {}
    for line in filter(str.strip, text.splitlines()):
        name, sign, value = line.partition("=")
        if not sign:
            raise ConfigurationError(f"{line.strip()!r} is not name = value.")
        options[name.strip()] = value.strip()
    return options
