"""``/v1/feeds``: who receives the changes of segments, and how far each receiver has come."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Request, Response

from segadmin.jobs.enqueue import ask
from segadmin.snapshots import feeds as core
from segadmin.storage.records import Scope
from segadmin.urls import mask_all
from segadmin_api.http.problems import request_errors
from segadmin_api.http.v1.routing import IdempotencyKey, allow, changes, enqueues, router, settings_of
from segadmin_api.schemas.feeds import Feed, FeedRequest, Feeds
from segadmin_api.schemas.jobs import Enqueued
from segadmin_worker.client import dispatcher

feeds = router("/feeds", "feeds")
FeedName = Annotated[str, Path(max_length=200, description="The name of a feed.")]


@feeds.get("", dependencies=[allow(Scope.VIEWER)])
def list_feeds(request: Request) -> Feeds:
    """List the feeds, what they have not received yet, and the last error."""
    return Feeds(items=list(map(_shown, core.list_feeds(settings_of(request)))))


@feeds.get("/{name}", dependencies=[allow(Scope.VIEWER)])
def show_feed(request: Request, name: FeedName) -> Feed:
    """Show a feed: its options, its cursor and its last error."""
    return _shown(core.find_feed(settings_of(request), name))


@feeds.post("", status_code=201, dependencies=[allow(Scope.ADMIN)], responses=changes())
def add_feed(request: Request, wanted: FeedRequest) -> Feed:
    """Add a feed. It receives all changes since the first snapshot, or only new ones."""
    settings = settings_of(request)
    with request_errors(in_body=True):
        core.add_feed(settings, wanted.name, wanted.kind, wanted.options, wanted.labels, from_now=wanted.from_now)
    return _shown(core.find_feed(settings, wanted.name))


@feeds.delete("/{name}", status_code=204, dependencies=[allow(Scope.ADMIN)], responses=changes())
def remove_feed(request: Request, name: FeedName) -> None:
    """Remove a feed. What its receiver has stays there."""
    core.remove_feed(settings_of(request), name)


@feeds.post("/{name}/deliver", status_code=201, dependencies=[allow(Scope.OPERATOR)], responses=enqueues())
def deliver(request: Request, response: Response, name: FeedName, idempotency_key: IdempotencyKey = None) -> Enqueued:
    """Deliver now, without waiting for the next attempt, to all feeds of the same label set.

    The answer is 200 instead of 201 if it was asked for before with this key.
    """
    settings = settings_of(request)
    options = {"labels": core.find_feed(settings, name).feed.label_set, "at_once": True}
    done = ask(settings, dispatcher(settings), "deliver", options, idempotency_key=idempotency_key)
    if not done.created:
        response.status_code = 200
    return Enqueued(job=done.job.id or 0, kind=done.job.kind, created=done.created, dispatched=done.dispatched)


def _shown(state: core.FeedState) -> Feed:
    facts: dict[str, Any] = mask_all(state.feed.model_dump())
    return Feed(**facts, lag=state.lag, records_waiting=state.records)
