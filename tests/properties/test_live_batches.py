"""Whatever is posted: every good event arrives, every bad one is in quarantine, and nothing keeps others waiting."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from segadmin.events.erase import forget
from segadmin.events.import_request import ImportRequest
from segadmin.events.inbox import Inbox
from segadmin.events.ingest import import_file
from segadmin.settings import Settings
from segadmin.storage import api_keys, database
from segadmin.storage.lake import Lake
from segadmin.storage.store import open_store
from segadmin_api.http.app import create_app
from tests.hostile_events import ODD_NAMES, ODD_TEXTS, ODD_VALUES, SHAPES
from tests.privacy.victim import left_of

_QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
VICTIM = "victim~1"
_FIELDS = ("user", "kind", "item", "at", "price", "unit_price", "quantity", "currency", "status", "rating", "text")
_ODD_VALUE = st.sampled_from(ODD_VALUES) | st.text(max_size=8) | st.integers() | st.floats(allow_nan=False)
_ODD_EVENT = st.dictionaries(st.sampled_from([*ODD_NAMES, *_FIELDS]) | st.text(max_size=6), _ODD_VALUE, max_size=6)
_ODD_BATCH = st.lists(_ODD_EVENT.map(json.dumps) | st.sampled_from(ODD_TEXTS), min_size=1, max_size=5)


@dataclass
class Shop:
    """A shop that posts good events between odd batches, and counts what was accepted."""

    settings: Settings
    key: str
    good: set[str] = field(default_factory=set)
    accepted: int = 0  #: events of batches that were imported
    waiting: dict[str, int] = field(default_factory=dict)  #: batch → its events; the same batch again is one

    async def post(self, client: httpx.AsyncClient, body: bytes, content_type: str) -> None:
        """Post a body; one that is not accepted must be refused for a reason."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": content_type}
        answer = await client.post("/v1/events", content=body, headers=headers)
        if answer.status_code == 202:
            self.waiting[answer.json()["batch"]] = answer.json()["events"]
        else:
            assert answer.status_code in {400, 413}, answer.text
            assert answer.json()["detail"]

    async def post_all(self, batches: Sequence[bytes]) -> None:
        """Post batches, with good events before, between and after them."""
        transport = httpx.ASGITransport(create_app(self.settings), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client:
            await self.post_good(client)
            for batch in batches:
                await self.post(client, batch, "application/x-ndjson")
                await self.post_good(client)

    async def post_good(self, client: httpx.AsyncClient) -> None:
        """Post a good event, and one of the user who is erased."""
        name = f"good{len(self.good)}"
        self.good.add(name)
        for user, event_id in ((name, name), (VICTIM, f"of {name}")):
            event = {"user": user, "kind": "view", "item": "i", "at": "2026-01-31T18:05:00Z", "event_id": event_id}
            await self.post(client, json.dumps(event).encode(), "application/json")

    def take(self) -> None:
        """Import what waits: all of it goes, and nothing is set aside."""
        done, _ = import_file(self.settings, ImportRequest("events", "inbox://"))
        assert done.state == "succeeded"
        assert Inbox.of(self.settings).batches() == []
        assert Inbox.of(self.settings).failed() == []
        self.accepted += sum(self.waiting.values())
        self.waiting.clear()

    def check(self, erased: int) -> None:
        """Compare the lake with what was accepted."""
        lake = Lake.of(self.settings)
        stored = lake.scan("events").collect()
        users = set(lake.scan("users").collect()["user"])
        assert self.good <= users
        assert stored.height + lake.scan("quarantine").collect().height == self.accepted - erased


def rounds(settings: Settings, *parts: Sequence[bytes]) -> Shop:
    """Post and import each part; the victim is erased while the next part waits."""
    database.ensure_schema(settings)
    open_store(settings)
    shop, erased = Shop(settings, api_keys.create(settings, "shop")), 0
    for part in parts:
        asyncio.run(shop.post_all(part))
        [of_victim] = forget(settings, [VICTIM])
        erased += sum(count for table, count in of_victim.rows.items() if table in {"events", "quarantine", "inbox"})
        shop.take()
        shop.check(erased)
    return shop


def test_odd_batches_keep_nothing_from_the_lake(tmp_path_factory: pytest.TempPathFactory) -> None:
    @hypothesis_settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=_QUIET)
    @given(st.lists(_ODD_BATCH, max_size=6), st.lists(_ODD_BATCH, max_size=6))
    def try_it(first: list[list[str]], second: list[list[str]]) -> None:
        settings = Settings(home=tmp_path_factory.mktemp("live") / "home", buckets=2)
        rounds(settings, *([encoded(batch) for batch in batches] for batches in (first, second)))
        database.engine(settings).dispose()

    try_it()


def encoded(lines: Sequence[str]) -> bytes:
    """Return a body of one event per line."""
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def test_each_odd_name_and_value_keeps_nothing_from_the_lake(settings: Settings) -> None:
    """All of the corpus, an event each, together with good ones in one batch."""
    event = {"user": "odd", "kind": "purchase", "item": "i", "at": "2026-01-31", "price": 1, "currency": "EUR"}
    names = [json.dumps(event | {name: "1", "event_id": f"n{n}"}) for n, name in enumerate(ODD_NAMES)]
    values = [
        json.dumps({"event_id": f"v{n} {name}"} | event | {name: value})
        for n, value in enumerate(ODD_VALUES)
        for name in ("user", "kind", "item", "at", "price", "currency", "text", "color")
    ]
    currencies = [[json.dumps(event | {"currency": name, "event_id": name})] for name in ("USD", "JPY", "bananas")]
    batches = [names, values, list(ODD_TEXTS), *currencies, names[:1], names[1:2]]
    rounds(settings, [encoded(batch) for batch in batches], [encoded([line]) for line in names])


def test_each_hostile_shape_keeps_nothing_from_the_lake(settings: Settings) -> None:
    rounds(settings, [shape(20_000) for shape in SHAPES.values()])


@pytest.mark.parametrize("name", ["segadmin:problem", "segadmin:row", "quarantine:other"])
def test_a_reserved_name_hides_nobody_from_erasure(settings: Settings, name: str) -> None:
    database.ensure_schema(settings)
    open_store(settings)
    event = {"user": VICTIM, "kind": "view", "item": "i", "at": "2026-01-31"}
    for wait in (False, True):
        Inbox.of(settings).add([json.dumps(event | {name: "not_json"}), json.dumps(event | {"user": "other"})])
        if not wait:
            import_file(settings, ImportRequest("events", "inbox://"))
        [erased] = forget(settings, [VICTIM])
        assert erased.rows["inbox" if wait else "quarantine"] == 1
        assert left_of(settings, VICTIM) == {}
    import_file(settings, ImportRequest("events", "inbox://"))
    assert Lake.of(settings).scan("users").collect()["user"].to_list() == ["other"]
