"""Live segments with real services: what is posted, or added to a stream, is soon in a snapshot; nothing is lost."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
import redis
from sqlmodel import col, select

from segadmin.settings import Settings, get_settings
from segadmin.storage.database import reading
from segadmin.storage.lake import Lake
from segadmin.storage.records import Import, Job, SegmentSnapshot, SnapshotState
from segadmin.workflows.objectives import objectives
from tests.conftest import Cli
from tests.servers import beat, redis_server, wait_until, web_server, worker

#: Long enough for a machine that does much else; the tests wait for events, not for this.
OBJECTIVE = "20s"


@pytest.fixture
def live(shop: Settings, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A trained shop with its services, and a schedule with an objective."""
    monkeypatch.setenv("SEGADMIN_REAP_SECONDS", "0.5")
    get_settings.cache_clear()
    settings = get_settings()
    words = ("refresh", "--labels", "spend3", "--force")
    cli("schedule", "add", "live", "--freshness", OBJECTIVE, *words)
    with ExitStack() as services:
        services.enter_context(redis_server(settings))
        services.enter_context(worker(settings, app="segadmin_worker.app", concurrency=1))
        services.enter_context(beat(settings, app="segadmin_worker.app"))
        yield settings


def events(count: int, **more: object) -> list[dict[str, object]]:
    at = datetime.now(UTC).isoformat()
    return [
        {"user": f"user-{n}", "kind": "view", "item": "games-1", "at": at, "event_id": f"live-{n}", **more}
        for n in range(count)
    ]


def post(url: str, key: str, batch: list[dict[str, object]]) -> None:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    request = urllib.request.Request(f"{url}/v1/events", json.dumps(batch).encode(), headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 202


def counted(settings: Settings) -> dict[str, int]:
    """Return the events that the snapshots count as new."""
    with reading(settings) as session:
        published = select(SegmentSnapshot.freshness).where(SegmentSnapshot.state == SnapshotState.PUBLISHED)
        rows = [row for row in session.exec(published).all() if row]
    return {name: sum(row[name] for row in rows) for name in ("events", "late", "ahead")}


def test_posted_events_are_soon_in_a_snapshot(live: Settings, cli: Cli) -> None:
    key = cli("keys", "create", "shop").stdout.strip()
    pages = cli("keys", "create", "me", "--pages").stdout.strip()
    before = Lake.of(live).scan("events").select(pl.len()).collect().item()
    future = (datetime.now(UTC) + timedelta(hours=8)).isoformat()
    with web_server(live) as url:
        post(url, key, [*events(25), *events(2, at=future, event_id="ahead")])
        post(url, key, events(25))  # the shop was not sure that they arrived
        wait_until(lambda: counted(live)["events"] >= 25, 60, "a snapshot with the events")
        assert counted(live) == {"events": 25, "late": 0, "ahead": 0}
        request = urllib.request.Request(f"{url}/metrics", headers={"Authorization": f"Bearer {pages}"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            metrics = answer.read().decode()
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{url}/metrics", timeout=20)
    assert 'segadmin_freshness_objective_seconds{schedule="live",label_set="spend3"} 20.0' in metrics
    assert 'segadmin_freshness_missed{schedule="live",label_set="spend3"}' in metrics
    assert Lake.of(live).scan("events").select(pl.len()).collect().item() == before + 25
    bad = Lake.of(live).scan("quarantine").group_by("reason").len().collect()
    assert dict(bad.iter_rows()) == {"future_time": 2, "duplicate_event": 25}
    with reading(live) as session:
        newest = session.exec(select(SegmentSnapshot).order_by(col(SegmentSnapshot.id).desc())).first()
    assert newest is not None
    assert newest.published_at is not None
    assert newest.newest_event is not None
    assert newest.newest_event < newest.as_of <= newest.published_at
    [state] = objectives(live)
    assert state.waiting == 0.0


def test_a_redis_stream_is_drained_in_micro_batches(live: Settings, cli: Cli) -> None:
    address = f"unix://{live.redis_socket}"
    with redis.Redis(unix_socket_path=str(live.redis_socket)) as client:
        for event in events(10):
            client.xadd("shop:events", {name: str(value) for name, value in event.items()})
        source = ("--source-option", "stream=shop:events", "--source-option", "idle_seconds=0.1")
        cli("schedule", "add", "stream", "--every", "1s", "ingest", address, *source)
        wait_until(lambda: counted(live)["events"] >= 10, 60, "the events of the stream are in a snapshot")
        for event in events(10, event_id="more"):
            client.xadd(
                "shop:events", {**{name: str(value) for name, value in event.items()}, "event_id": event["user"]}
            )
        wait_until(lambda: counted(live)["events"] >= 20, 60, "those that came later are, too")
        assert client.xpending("shop:events", "segadmin")["pending"] == 0
    assert counted(live) == {"events": 20, "late": 0, "ahead": 0}
    with reading(live) as session:
        keys = session.exec(select(Job.idempotency_key).where(Job.kind == "ingest")).all()
        assert sum(session.exec(select(Import.rows_kept)).all()) == 20
    assert len(keys) == len(set(keys))
