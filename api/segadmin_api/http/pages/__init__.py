"""The pages of the web application: a module for each entry of the navigation, with its routes and forms."""

from __future__ import annotations

from fastapi import APIRouter

from segadmin_api.http.pages import (
    audit,
    data,
    files,
    jobs,
    models,
    openapi,
    overview,
    quarantine,
    schedules,
    segments,
    snapshots,
    uploads,
    user_data,
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
        jobs.router,
        data.router,
        data.forms,
        uploads.router,
        uploads.forms,
        quarantine.router,
        quarantine.forms,
        user_data.merges,
        user_data.erasures,
        user_data.forms,
        schedules.router,
        audit.router,
        openapi.router,
    ]
