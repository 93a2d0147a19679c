"""Slow pages and checks must not keep the events of a shop waiting."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from typing import NoReturn

import httpx
import pytest
from anyio import to_thread
from fastapi import HTTPException

from segadmin.errors import DataError
from segadmin.events.inbox import Inbox
from segadmin.settings import Settings
from segadmin.storage import api_keys, database
from segadmin.storage.records import Scope
from segadmin_api.http.app import routes
from segadmin_api.http.diagnosis import diagnose
from segadmin_api.http.v1 import users
from segadmin_api.schemas.data import Finding

EVENT = {"user": "u1", "kind": "view", "item": "lamp", "at": "2026-01-31T18:05:00Z"}


def test_events_and_segments_are_answered_while_pages_use_all_their_threads(settings: Settings) -> None:
    database.ensure_schema(settings)
    keys = {scope: {"Authorization": f"Bearer {api_keys.create(settings, scope, scope)}"} for scope in Scope}
    app = routes(settings)

    async def ask() -> tuple[int, int, bool]:
        async with app.router.lifespan_context(app):
            usual = to_thread.current_default_thread_limiter()
            borrowers = [object() for _ in range(int(usual.total_tokens))]
            for borrower in borrowers:
                await usual.acquire_on_behalf_of(borrower)
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
                page = asyncio.create_task(client.get("/v1/jobs", headers=keys[Scope.VIEWER]))
                async with asyncio.timeout(60):
                    posted = await client.post("/v1/events", json=EVENT, headers=keys[Scope.EVENTS])
                    segment = await client.get("/v1/users/u1/segment", headers=keys[Scope.SEGMENTS])
                waited = not page.done()
                for borrower in borrowers:
                    usual.release_on_behalf_of(borrower)
                assert (await page).status_code == 200
            return posted.status_code, segment.status_code, waited

    assert asyncio.run(ask()) == (202, 422, True)  # there is no snapshot yet
    assert len(list(Inbox.of(settings).batches())) == 1


def test_pages_are_answered_while_changes_use_all_their_threads(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.ensure_schema(settings)
    key = {"Authorization": f"Bearer {api_keys.create(settings, 'ann', Scope.ADMIN)}"}
    app, may_end = routes(settings), Event()

    def wait(*_: object) -> NoReturn:  # as for a job
        may_end.wait(60)
        raise DataError("A job reads users' data.")

    monkeypatch.setattr(users, "forget", wait)

    async def ask() -> tuple[int, list[int]]:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", headers=key) as client,
        ):
            erasures = [asyncio.create_task(client.delete(f"/v1/users/{n}")) for n in range(20)]
            async with asyncio.timeout(60):
                page = await client.get("/v1/jobs")
            waited = not any(erasure.done() for erasure in erasures)
            may_end.set()
            assert waited
            return page.status_code, [(await erasure).status_code for erasure in erasures]

    assert asyncio.run(ask()) == (200, [422] * 20)


def test_checks_run_one_at_a_time(settings: Settings) -> None:
    database.ensure_schema(settings)
    start = Barrier(4)

    def check() -> list[Finding] | int:
        start.wait()
        try:
            return diagnose(settings)
        except HTTPException as error:
            return error.status_code

    with ThreadPoolExecutor(4) as threads:
        answers = [future.result() for future in [threads.submit(check) for _ in range(4)]]
    assert answers.count(503) == 3
    assert diagnose(settings), "the next one has its turn"
