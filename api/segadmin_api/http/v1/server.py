"""``/v1/settings``, ``/v1/doctor`` and ``/v1/broker``: how the server is set up, and whether that works."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request

from segadmin.jobs import quarantine
from segadmin.storage.records import Scope
from segadmin_api.effective_settings import effective_settings
from segadmin_api.http.diagnosis import diagnose
from segadmin_api.http.v1.routing import allow, changes, router, settings_of
from segadmin_api.schemas.data import Findings, Message, Messages, ServerSettings, Setting
from segadmin_api.schemas.jobs import Name
from segadmin_api.schemas.quarantine import Dropped

broker = router("/broker", "server")
server_settings = router("/settings", "server")
doctor = router("/doctor", "server")


@server_settings.get("", dependencies=[allow(Scope.ADMIN)])
def list_settings(request: Request) -> ServerSettings:
    """List the settings of the server and where each comes from; secrets are masked."""
    return ServerSettings(items=[Setting.model_validate(row) for row in effective_settings(settings_of(request))])


@broker.get("/quarantine", dependencies=[allow(Scope.OPERATOR)])
def list_messages(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> Messages:
    """List the newest messages from the broker that segadmin did not send; they were never run."""
    messages = quarantine.list_messages(settings_of(request), limit)
    return Messages(items=list(map(Message.model_validate, messages)))


@broker.delete("/quarantine", dependencies=[allow(Scope.OPERATOR)], responses=changes())
def clear_messages(request: Request) -> Dropped:
    """Delete all messages from the broker that segadmin did not send."""
    return Dropped(rows=quarantine.clear(settings_of(request)))


@doctor.post("", dependencies=[allow(Scope.ADMIN)], responses=changes())
def run_doctor(
    request: Request,
    backbone: Annotated[Name | None, Query(description="The backbone whose weights to check.")] = None,
) -> Findings:
    """Run the checks of `segadmin doctor` on the machine of the server; it takes seconds."""
    return Findings(items=diagnose(settings_of(request), backbone))
