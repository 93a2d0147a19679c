"""The resources of the HTTP API, one module each."""

from __future__ import annotations

from fastapi import APIRouter

from segadmin_api.http.v1 import (
    access,
    canaries,
    corrections,
    data,
    drift,
    exports,
    feeds,
    jobs,
    merges,
    models,
    plugins,
    progress,
    schedules,
    segments,
    server,
    snapshots,
    uploads,
    users,
)


def routers() -> list[APIRouter]:
    """Return the routers of all resources."""
    return [
        jobs.jobs,
        progress.progress,
        canaries.canaries,  # before the models, whose paths would match
        models.models,
        snapshots.snapshots,
        segments.segments,
        exports.exports,
        corrections.users,
        corrections.corrections,
        corrections.review,
        users.users,
        merges.merges,
        merges.profile,
        uploads.files,
        uploads.uploads,
        uploads.mappings,
        data.tables,
        data.label_sets,
        data.imports,
        data.quarantine,
        schedules.schedules,
        feeds.feeds,
        plugins.plugins,
        plugins.backbones,
        drift.drift,
        access.audit,
        access.keys,
        access.whoami,
        server.server_settings,
        server.doctor,
        server.broker,
    ]
