"""The resources of the HTTP API, one module each."""

from __future__ import annotations

from fastapi import APIRouter

from segadmin_api.http.v1 import (
    access,
    data,
    drift,
    exports,
    jobs,
    merges,
    models,
    plugins,
    progress,
    schedules,
    snapshots,
    uploads,
    users,
)


def routers() -> list[APIRouter]:
    """Return the routers of all resources."""
    return [
        jobs.jobs,
        progress.progress,
        models.models,
        snapshots.snapshots,
        snapshots.segments,
        exports.exports,
        users.users,
        merges.merges,
        merges.profile,
        uploads.files,
        uploads.uploads,
        uploads.mappings,
        data.label_sets,
        data.imports,
        data.quarantine,
        schedules.schedules,
        plugins.plugins,
        plugins.backbones,
        drift.drift,
        access.audit,
        access.keys,
        access.whoami,
    ]
