"""``/v1/schedules``: jobs that repeat."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import Header, HTTPException, Path, Request, Response

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import Stale
from segadmin.jobs import schedules as engine
from segadmin.jobs.requests import default_options
from segadmin.storage import records
from segadmin.storage.records import Scope
from segadmin.urls import mask_all
from segadmin.workflows.live import objective_options
from segadmin.workflows.objectives import objectives
from segadmin_api.http.problems import request_errors
from segadmin_api.http.v1.etags import IfMatch
from segadmin_api.http.v1.job_checks import check_asked, check_kind, check_options
from segadmin_api.http.v1.routing import IdempotencyKey, allow, changes, enqueues, router, settings_of
from segadmin_api.schedule_etag import schedule_etag
from segadmin_api.schemas.data import (
    MissedSlots,
    Objective,
    Schedule,
    ScheduleDetails,
    ScheduledJob,
    ScheduleRequest,
    Schedules,
)
from segadmin_api.schemas.jobs import Enqueued
from segadmin_worker.client import dispatcher

schedules = router("/schedules", "schedules")
ScheduleName = Annotated[
    str, Path(max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$", description="The name of a schedule.")
]
IfNoneMatch = Annotated[
    str | None, Header(alias="If-None-Match", pattern=r"^\*$", description="`*`: only if there is none of this name.")
]
_CONDITIONAL = changes(more={412: "It is not as `If-Match` or `If-None-Match` says."})


@schedules.get("", dependencies=[allow(Scope.VIEWER)])
def list_schedules(request: Request) -> Schedules:
    """List the schedules, the next one due first."""
    return Schedules(items=[_shown(row) for row in engine.list_schedules(settings_of(request))])


@schedules.get("/{name}", dependencies=[allow(Scope.VIEWER)])
def show_schedule(request: Request, response: Response, name: ScheduleName) -> ScheduleDetails:
    """Show a schedule: its next slots, its latest jobs, and the slots that were missed. Its `ETag` is for changes."""
    settings = settings_of(request)
    view = engine.view(settings, name)
    response.headers["ETag"] = schedule_etag(view.schedule)
    return ScheduleDetails(
        **_shown(view.schedule).model_dump(),
        upcoming=view.upcoming,
        jobs=[ScheduledJob(**mask_all(job.model_dump(exclude={"asked"}))) for job in view.jobs],
        missed=[MissedSlots.model_validate(gap) for gap in view.missed],
        freshness=[Objective.model_validate(state) for state in objectives(settings) if state.schedule == name],
    )


@schedules.put("/{name}", dependencies=[allow(Scope.OPERATOR)], responses=_CONDITIONAL)
def put_schedule(
    request: Request,
    response: Response,
    name: ScheduleName,
    wanted: ScheduleRequest,
    *,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> Schedule:
    """Enqueue a job at every slot, or a refresh whenever events came in; a schedule of the same name is replaced."""
    settings = settings_of(request)
    check_kind(request, wanted.kind)
    check_options(request, wanted.options)
    load_plugins(settings)
    if not wanted.cron and wanted.freshness_seconds is None:
        raise HTTPException(422, "cron: give it, or freshness_seconds.")
    with request_errors(in_body=True):
        follows = wanted.freshness_seconds is not None
        given = objective_options(wanted.kind, wanted.options) if follows else wanted.options
        options = default_options(wanted.kind, given)
        engine.check_schedule(settings, wanted.cron, wanted.timezone, wanted.kind, options)

    def check(row: records.Schedule | None) -> None:
        if if_none_match is not None and row is not None:
            raise Stale(f"There is a schedule {name!r} already.")
        check_etag(row, if_match)
        check_asked(request, row)

    row = engine.add(
        settings,
        name,
        wanted.cron,
        wanted.kind,
        options,
        timezone=wanted.timezone,
        freshness=wanted.freshness_seconds,
        check=check,
    )
    response.headers["ETag"] = schedule_etag(row)
    return _shown(row)


@schedules.delete("/{name}", status_code=204, dependencies=[allow(Scope.OPERATOR)], responses=_CONDITIONAL)
def remove_schedule(request: Request, name: ScheduleName, if_match: IfMatch = None) -> None:
    """Delete a schedule; the jobs that it enqueued stay."""

    def check(row: records.Schedule | None) -> None:
        check_etag(row, if_match)
        check_asked(request, row)

    engine.remove(settings_of(request), name, check=check)


@schedules.post("/{name}/pause", dependencies=[allow(Scope.OPERATOR)], responses=changes())
def pause_schedule(request: Request, name: ScheduleName) -> Schedule:
    """Let the slots of a schedule pass by."""
    return _shown(engine.pause(settings_of(request), name))


@schedules.post("/{name}/resume", dependencies=[allow(Scope.OPERATOR)], responses=changes())
def resume_schedule(request: Request, name: ScheduleName) -> Schedule:
    """Go on from the next slot; those that passed meanwhile are not made up for."""
    return _shown(engine.resume(settings_of(request), name, check=partial(check_asked, request)))


@schedules.post("/{name}/run", status_code=201, dependencies=[allow(Scope.OPERATOR)], responses=enqueues())
def run_schedule(
    request: Request, response: Response, name: ScheduleName, idempotency_key: IdempotencyKey = None
) -> Enqueued:
    """Enqueue the job of a schedule now, out of turn; 200 instead of 201 if it was with this key before."""
    settings, allowed = settings_of(request), partial(check_asked, request)
    done = engine.run(settings, dispatcher(settings), name, check=allowed, idempotency_key=idempotency_key)
    if not done.created:
        response.status_code = 200
    return Enqueued(job=done.job.id or 0, kind=done.job.kind, created=done.created, dispatched=done.dispatched)


def _shown(row: records.Schedule) -> Schedule:
    facts: dict[str, Any] = mask_all(row.model_dump())
    return Schedule(**facts)


def check_etag(row: records.Schedule | None, if_match: str | None) -> None:
    """Raise ``Stale`` if a schedule is not as ``If-Match`` says."""
    if if_match is None:
        return
    etags = [etag.strip() for etag in if_match.split(",")]
    if row is None or not ({"*", schedule_etag(row)} & set(etags)):
        state = "is gone" if row is None else "was changed"
        raise Stale(f"The schedule {state} since it was read. Read it again.")
