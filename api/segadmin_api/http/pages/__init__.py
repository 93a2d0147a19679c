"""The pages of the web application: a module for each entry of the navigation, with its routes and forms."""

from __future__ import annotations

from fastapi import APIRouter

from segadmin_api.http.pages import (
    audit,
    canaries,
    data,
    exports,
    files,
    jobs,
    keys,
    models,
    moved,
    new_jobs,
    openapi,
    overview,
    plugins,
    quarantine,
    schedules,
    segments,
    settings,
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
        overview.forms,
        segments.router,
        segments.forms,
        users.router,
        users.forms,
        moved.router,
        snapshots.router,
        canaries.router,  # before the models, whose paths would match
        canaries.forms,
        exports.router,
        exports.forms,
        models.router,
        models.forms,
        new_jobs.router,
        new_jobs.forms,
        jobs.router,
        jobs.forms,
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
        schedules.forms,
        plugins.router,
        plugins.forms,
        keys.router,
        keys.forms,
        audit.router,
        settings.router,
        settings.forms,
        openapi.router,
    ]
