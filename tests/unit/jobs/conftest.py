"""The engine's tests run on SQLite and on a real PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

import tests.probe  # noqa: F401  (adds the probe job kind)
from segadmin import database
from segadmin.database import transaction
from segadmin.jobs.ring import Bell
from segadmin.records import Store
from segadmin.settings import Settings, get_settings


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL, started for this test session on a free loopback port."""
    from tests.servers import postgres

    with postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def engine_settings(
    request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """Settings over an upgraded, empty database holding a store of 8 buckets."""
    if request.param == "postgresql":
        from tests.servers import fresh_database

        monkeypatch.setenv("SEGADMIN_DATABASE_URL", fresh_database(request.getfixturevalue("postgres_url")))
    monkeypatch.setenv("SEGADMIN_LEASE_SECONDS", "0.6")
    monkeypatch.setenv("SEGADMIN_HEARTBEAT_SECONDS", "0.1")
    monkeypatch.setenv("SEGADMIN_BACKOFF_SECONDS", "0")
    get_settings.cache_clear()
    settings = get_settings()
    database.upgrade(settings)
    with transaction(settings) as session:
        session.add(Store(buckets=8, key_fingerprint="0" * 16))
    yield settings
    database.engine(settings).dispose()


class Bells:
    """A ring that remembers what was rung, for tests that play the worker themselves."""

    def __init__(self) -> None:
        self.rung: list[Bell] = []

    def __call__(self, bells: Sequence[Bell]) -> None:
        self.rung += bells

    def take(self) -> list[int]:
        """Return and forget the steps rung for."""
        rung, self.rung = [bell.step_id for bell in self.rung], []
        return rung


@pytest.fixture
def bells() -> Bells:
    """An empty set of bells."""
    return Bells()
