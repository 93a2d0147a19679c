"""The pages of the web application: a module for each entry of the navigation, with its routes and forms."""

from __future__ import annotations

from fastapi import APIRouter

from segadmin_api.http.pages import (
    audit,
    data,
    exports,
    files,
    jobs,
    models,
    moved,
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
        segments.forms,
        users.router,
        users.forms,
        moved.router,
        snapshots.router,
        exports.router,
        exports.forms,
        models.router,
        jobs.router,
        data.router,
        schedules.router,
        audit.router,
        openapi.router,
    ]
