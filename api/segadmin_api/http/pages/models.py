"""``/models`` and ``/drift``: model versions, and how far the data have moved from those of their training."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Request
from fastapi.responses import HTMLResponse

from segadmin.models.card import card_of
from segadmin.models.versions import list_lines
from segadmin.monitoring.reports import report_history
from segadmin.storage.database import reading
from segadmin_api.dashboard import drift, model_card, models
from segadmin_api.http.html import html_response
from segadmin_api.http.pages.routes import pages_router, settings_of
from segadmin_api.http.readers import PageReader

router = pages_router()
Version = Annotated[str, Path(pattern="^(champion|[0-9]{1,9})$")]


@router.get("/models")
def list_models(request: Request, reader: PageReader) -> HTMLResponse:
    """Show the model versions."""
    return html_response(models.list_page(list_lines(settings_of(request)), reader))


@router.get("/models/{version}")
def show_model(request: Request, version: Version, reader: PageReader, labels: str | None = None) -> HTMLResponse:
    """Show the card of a version, or of the champion (of ``labels``)."""
    card = card_of(settings_of(request), version, labels)
    return html_response(model_card.page(card, online=True, reader=reader))


@router.get("/drift")
def list_drift(request: Request, reader: PageReader, labels: str | None = None) -> HTMLResponse:
    """Show the drift reports over time, of all label sets or of ``labels``."""
    with reading(settings_of(request)) as session:
        return html_response(drift.page(report_history(session, labels), online=True, reader=reader))
