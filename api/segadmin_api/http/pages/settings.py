"""``/settings``: what the server runs with; for administrators."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse

from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.records import Scope
from segadmin_api.dashboard import server_settings
from segadmin_api.dashboard.server_settings import Disk, ServerView
from segadmin_api.effective_settings import effective_settings
from segadmin_api.http.diagnosis import diagnose
from segadmin_api.http.forms import Form, RequiresForm
from segadmin_api.http.html import html_response
from segadmin_api.http.pages.routes import forms_router, pages_router, settings_of
from segadmin_api.http.readers import PageReader, on_page, reader_of
from segadmin_api.schemas.data import Finding
from segadmin_worker import state

router, forms = pages_router(Scope.ADMIN), forms_router()
AdminForm = Annotated[Form, Depends(RequiresForm(Scope.ADMIN))]
#: Packages whose versions are shown.
_PACKAGES = ("segadmin", "polars", "deltalake", "celery", "fastapi", "torch", "transformers")


@router.get("/settings")
def show_settings(request: Request, reader: PageReader) -> HTMLResponse:
    """Show the settings, versions, services and the disk."""
    return html_response(server_settings.page(_view(settings_of(request)), reader))


@forms.post("/settings/doctor")
def run_checks(request: Request, form: AdminForm) -> HTMLResponse:
    """Run the checks of ``segadmin doctor``, measure the folders, and show both."""
    settings = settings_of(request)
    view = _view(settings, diagnose(settings), measured=True)
    return html_response(server_settings.page(view, on_page(reader_of(request), "/settings")))


def _view(settings: Settings, findings: list[Finding] | None = None, *, measured: bool = False) -> ServerView:
    status = state.read(settings)
    services = status.urls if status is not None and status.process is not None else {}
    return ServerView(effective_settings(settings), _versions(settings), _disk(settings, measured), services, findings)


def _versions(settings: Settings) -> Mapping[str, str]:
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions | {"database": f"{database.shown(settings)}, revision {database.revision(settings)}"}


def _disk(settings: Settings, measured: bool) -> Disk | None:
    folder = settings.store_path
    if not folder.is_dir():
        return None
    usage = shutil.disk_usage(folder)
    folders = {}
    if measured:
        parts = sorted(path for path in folder.iterdir() if path.is_dir())
        folders = {f"{folder.name}/{path.name}": _size(path) for path in parts}
        folders |= {path.name: path.stat().st_size for path in settings.database_files if path.exists()}
        folders |= {"run": _size(settings.run_path)}
    return Disk(usage.free, usage.total, folders)


def _size(folder: Path) -> int:
    """Return the bytes of all files of a folder; those that go meanwhile do not count."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size  # noqa: PTH118  (many files)
            except OSError:
                continue
    return total
