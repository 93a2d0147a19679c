"""Calls about schedules, and about feeds of who changes segment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segadmin_api.client.call import Call, Done, once, part
from segadmin_api.schemas.data import Schedule, ScheduleDetails, Schedules
from segadmin_api.schemas.feeds import Feed, Feeds
from segadmin_api.schemas.jobs import Enqueued


def list_schedules() -> Call[Schedules]:
    """Return the schedules, the next one due first."""
    return Call("GET", "/v1/schedules", Schedules)


def show_schedule(name: str) -> Call[ScheduleDetails]:
    """Return a schedule with its next slots, latest jobs and missed slots."""
    return Call("GET", f"/v1/schedules/{part(name)}", ScheduleDetails)


def save_schedule(
    name: str,
    kind: str,
    options: Mapping[str, Any] | None = None,
    *,
    cron: str = "",
    freshness_seconds: float | None = None,
    timezone: str = "UTC",
) -> Call[Schedule]:
    """Enqueue a job at every slot, or a refresh whenever events came in; one of the same name is replaced."""
    when = {"cron": cron, "timezone": timezone, "freshness_seconds": freshness_seconds}
    body = {"kind": kind, "options": dict(options or {}), **when}
    return Call("PUT", f"/v1/schedules/{part(name)}", Schedule, body=body)


def remove_schedule(name: str) -> Call[Done]:
    """Delete a schedule; the jobs that it enqueued stay."""
    return Call("DELETE", f"/v1/schedules/{part(name)}", Done)


def pause_schedule(name: str) -> Call[Schedule]:
    """Let the slots of a schedule pass by."""
    return Call("POST", f"/v1/schedules/{part(name)}/pause", Schedule)


def resume_schedule(name: str) -> Call[Schedule]:
    """Go on from the next slot of a schedule."""
    return Call("POST", f"/v1/schedules/{part(name)}/resume", Schedule)


def run_schedule(name: str, *, key: str | None = None) -> Call[Enqueued]:
    """Enqueue the job of a schedule now, out of turn.

    Args:
        name: of the schedule.
        key: idempotency key, as of :func:`segadmin_api.client.calls.jobs.enqueue`.
    """
    return Call("POST", f"/v1/schedules/{part(name)}/run", Enqueued, headers=once(key))


def list_feeds() -> Call[Feeds]:
    """Return the feeds, and what each has not received yet."""
    return Call("GET", "/v1/feeds", Feeds)


def show_feed(name: str) -> Call[Feed]:
    """Return a feed."""
    return Call("GET", f"/v1/feeds/{part(name)}", Feed)


def add_feed(
    name: str,
    kind: str,
    options: Mapping[str, Any] | None = None,
    *,
    labels: str | None = None,
    from_now: bool = False,
) -> Call[Feed]:
    """Add a feed: the plugin ``kind`` delivers who entered, left or moved between segments."""
    body = {"name": name, "kind": kind, "options": dict(options or {}), "labels": labels, "from_now": from_now}
    return Call("POST", "/v1/feeds", Feed, body=body)


def remove_feed(name: str) -> Call[Done]:
    """Remove a feed; what its receiver has stays there."""
    return Call("DELETE", f"/v1/feeds/{part(name)}", Done)


def deliver_feed(name: str, *, key: str | None = None) -> Call[Enqueued]:
    """Deliver now, without waiting for the next attempt, to all feeds of the same label set.

    Args:
        name: of a feed.
        key: idempotency key, as of :func:`segadmin_api.client.calls.jobs.enqueue`.
    """
    return Call("POST", f"/v1/feeds/{part(name)}/deliver", Enqueued, headers=once(key))
