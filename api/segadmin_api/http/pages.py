"""``GET /jobs`` and ``GET /models``: what goes on, for people to look at in a browser."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from segadmin.jobs import control
from segadmin.learn import card
from segadmin.learn.search_page import sections
from segadmin.learn.tune import looked_up
from segadmin.learn.versions import list_lines
from segadmin_api.dashboard import jobs, models
from segadmin_api.dashboard.frame import NAVIGATION
from segadmin_api.http.security import known_reader

#: So many jobs are listed, the newest.
_MOST = 50
Reader = Annotated[str, Depends(known_reader)]
router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/")
def first() -> RedirectResponse:
    """Go where most is to be seen."""
    return RedirectResponse("/jobs")


@router.get("/jobs")
def list_jobs(request: Request, _: Reader) -> HTMLResponse:
    """Show the newest jobs."""
    return _page(jobs.list_page(control.list_jobs(request.app.state.settings, _MOST)))


@router.get("/jobs/{job}")
def show_job(request: Request, job: int, _: Reader) -> HTMLResponse:
    """Show a job with its curves."""
    settings = request.app.state.settings
    seen = control.view(settings, job)
    more = sections(looked_up(settings, job)) if seen.job.kind == "tune" and find_spec("optuna") else ()
    return _page(jobs.page(seen, more, online=True))


@router.get("/models")
def list_models(request: Request, _: Reader) -> HTMLResponse:
    """Show the model versions."""
    return _page(models.list_page(list_lines(request.app.state.settings)))


@router.get("/models/{version}")
def show_model(request: Request, version: int, _: Reader) -> HTMLResponse:
    """Show a version's card."""
    return _page(card.page(request.app.state.settings, str(version), above=NAVIGATION))


def _page(html: str) -> HTMLResponse:
    # What a name or a note holds is escaped; where that were forgotten once, a browser would still run nothing.
    policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; form-action 'none'"
    return HTMLResponse(html, headers={"Content-Security-Policy": policy, "Cache-Control": "no-store"})
