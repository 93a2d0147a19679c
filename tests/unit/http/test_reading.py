"""Bodies are read one at a time, however many come at once, and other requests are answered meanwhile."""

from __future__ import annotations

import asyncio
import json
import threading

import httpx
import pytest

from segadmin.events.inbox import Inbox
from segadmin.settings import Settings, get_settings
from segadmin.storage import api_keys, database
from segadmin.storage.store import open_store
from segadmin_api.http import events
from segadmin_api.http.app import create_app

BODIES = 6


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bodies were being read whenever the reading of one began."""
    seen: list[int] = []
    now, guard, read = [0], threading.Lock(), events._read

    def watched(*args: object) -> object:
        with guard:
            now[0] += 1
            seen.append(now[0])
        try:
            return read(*args)  # type: ignore[arg-type]
        finally:
            with guard:
                now[0] -= 1

    monkeypatch.setattr(events, "_read", watched)
    return seen


def test_bodies_are_read_one_at_a_time(settings: Settings, running: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGADMIN_WEB_EVENTS_SECONDS", "60")
    get_settings.cache_clear()
    settings = get_settings()
    database.ensure_schema(settings)
    open_store(settings)
    key = api_keys.create(settings, "shop")
    healthy = []

    async def attack() -> list[int]:
        transport = httpx.ASGITransport(create_app(settings))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=120) as client:

            async def post(number: int) -> int:
                body = [
                    {"user": f"u{number}", "kind": "view", "item": "i", "at": "2026-01-01", "n": n} for n in range(999)
                ]
                headers = {"Authorization": f"Bearer {key}"}
                return (await client.post("/v1/events", content=json.dumps(body), headers=headers)).status_code

            posting = [asyncio.create_task(post(number)) for number in range(BODIES)]
            while not all(task.done() for task in posting):
                healthy.append((await client.get("/healthz")).status_code)
                await asyncio.sleep(0.01)
            return [task.result() for task in posting]

    assert asyncio.run(attack()) == [202] * BODIES
    assert running == [1] * BODIES
    assert set(healthy) == {200}
    assert len(Inbox.of(settings).batches()) == BODIES
    database.engine(settings).dispose()
