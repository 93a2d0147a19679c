"""The pages of the web application: a module for each entry of the navigation, with its routes and forms."""

from __future__ import annotations

from fastapi import APIRouter

from segadmin_api.http.pages import (
    audit,
    data,
    files,
    jobs,
    models,
    new_jobs,
    openapi,
    overview,
    schedules,
    segments,
    snapshots,
    users,
)


def routers() -> list[APIRouter]:
    """Return the routers of all pages; the first that matches a path handles it."""
    return [
        files.router,
        overview.router,
        segments.router,
        users.router,
        snapshots.router,
        models.router,
        new_jobs.router,
        new_jobs.forms,
        jobs.router,
        jobs.forms,
        data.router,
        schedules.router,
        audit.router,
        openapi.router,
    ]
