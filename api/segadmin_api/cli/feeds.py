"""``segadmin feeds``: who receives the changes of segments, and how far each receiver has come."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from segadmin.counts import counted
from segadmin.jobs.enqueue import ask
from segadmin.settings import Settings
from segadmin.snapshots import feeds
from segadmin.storage.records import ConfiguredFeed
from segadmin.urls import mask_all
from segadmin_api.cli.output import JsonOption, echo, group, parse_options, show_json, table
from segadmin_api.cli.remote import answer
from segadmin_api.cli.remote_records import as_record
from segadmin_api.formatting import ago
from segadmin_api.schemas.feeds import Feed
from segadmin_worker.client import dispatcher

Name = Annotated[str, typer.Argument(help="Which feed.")]
app = group("Feeds: receivers of who entered, left or moved between segments.")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    kind: Annotated[str, typer.Argument(help="The feed plugin, such as redis-stream or webhook.")],
    label_set: Annotated[
        str | None,
        typer.Option(
            "--label-set", "--labels", help="Whose changes it receives; needed if there are several label sets."
        ),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", metavar="KEY=VALUE", help="Option of the plugin.")
    ] = None,
    from_now: Annotated[
        bool, typer.Option("--from-now", help="Deliver what changes from now on, instead of all changes.")
    ] = False,
) -> None:
    """Add a feed. It receives all changes since the first snapshot, or only new ones.

    Secrets are not stored: an option names the environment variable, which the workers need.
    """
    options = parse_options(option or [], "--option")
    of = answer(
        lambda settings: feeds.add_feed(settings, name, kind, options, label_set, from_now=from_now).label_set,
        lambda client: client.add_feed(name, kind, options, labels=label_set, from_now=from_now).label_set,
    )
    echo(f"{name} receives the changes of {of}. Beat starts a delivery; watch: segadmin feeds list")


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the feeds, what they have not received yet, and the last error."""
    listed = answer(feeds.list_feeds, lambda client: list(map(_state, client.list_feeds().items)))
    if as_json:
        show_json([_facts(state) for state in listed])
        return
    table(
        "",
        ["name", "kind", "label set", ">lag", ">records", "delivered", "error"],
        [
            (
                state.feed.name,
                state.feed.kind,
                state.feed.label_set,
                state.lag,
                state.records,
                None if state.feed.delivered_at is None else ago(state.feed.delivered_at),
                state.feed.error,
            )
            for state in listed
        ],
        empty="No feeds yet. Add one: segadmin feeds add NAME redis-stream",
    )


@app.command()
def show(name: Name, as_json: JsonOption = False) -> None:
    """Show a feed: its options, its cursor and its last error."""
    state = answer(lambda settings: feeds.find_feed(settings, name), lambda client: _state(client.show_feed(name)))
    if as_json:
        show_json(_facts(state))
        return
    feed = state.feed
    echo(f"{feed.name}: {feed.kind}, the changes of {feed.label_set}, since {feed.created_at:%Y-%m-%d %H:%M} UTC")
    for option, value in mask_all(feed.options).items():
        echo(f"  {option}: {value}")
    if feed.delivered_at is not None:
        echo(f"delivered up to change {feed.sequence}, record {feed.position}, {ago(feed.delivered_at)}")
    if state.lag:
        echo(f"behind by {counted(state.lag, 'change')} with {counted(state.records, 'record')}")
    if feed.error is not None:
        echo(f"failed {counted(feed.failures, 'time')}: {feed.error}")
        echo(f"next attempt: {feed.retry_at:%Y-%m-%d %H:%M:%S} UTC, or now: segadmin feeds deliver {feed.name}")


@app.command()
def remove(name: Name) -> None:
    """Remove a feed. What its receiver has stays there."""
    answer(lambda settings: feeds.remove_feed(settings, name), lambda client: client.remove_feed(name))
    echo(f"Removed {name}.")


@app.command()
def deliver(name: Name) -> None:
    """Deliver now, without waiting for the next attempt, to all feeds of the same label set."""
    job = answer(lambda settings: _deliver(settings, name), lambda client: client.deliver_feed(name).job)
    echo(f"Enqueued job {job} (deliver). Watch it: segadmin jobs watch {job}")


def _deliver(settings: Settings, name: str) -> int:
    """Enqueue a delivery and return the job."""
    labels = feeds.find_feed(settings, name).feed.label_set
    return ask(settings, dispatcher(settings), "deliver", {"labels": labels, "at_once": True}).job.id or 0


def _state(item: Feed) -> feeds.FeedState:
    return feeds.FeedState(as_record(ConfiguredFeed, item), item.lag, item.records_waiting)


def _facts(state: feeds.FeedState) -> dict[str, Any]:
    facts: dict[str, Any] = mask_all(state.feed.model_dump(mode="json"))
    return facts | {"lag": state.lag, "records_waiting": state.records}
