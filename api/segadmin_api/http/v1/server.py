"""``/v1/settings`` and ``/v1/doctor``: how the server is set up, and whether that works. For administrators."""

from __future__ import annotations

from fastapi import Request

from segadmin.storage.records import Scope
from segadmin_api.effective_settings import effective_settings
from segadmin_api.http.diagnosis import diagnose
from segadmin_api.http.v1.routing import allow, changes, router, settings_of
from segadmin_api.schemas.data import Findings, ServerSettings, Setting

server_settings = router("/settings", "server")
doctor = router("/doctor", "server")


@server_settings.get("", dependencies=[allow(Scope.ADMIN)])
def list_settings(request: Request) -> ServerSettings:
    """List the settings of the server and where each comes from; secrets are masked."""
    return ServerSettings(items=[Setting.model_validate(row) for row in effective_settings(settings_of(request))])


@doctor.post("", dependencies=[allow(Scope.ADMIN)], responses=changes())
def run_doctor(request: Request) -> Findings:
    """Run the checks of `segadmin doctor` on the machine of the server; it takes seconds."""
    return Findings(items=diagnose(settings_of(request)))
