"""The engine's tests run on SQLite and on a real PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import tests.probe  # noqa: F401  (adds the probe job kind)
from segadmin.jobs.dispatch import Bell
from segadmin.settings import Settings, get_settings
from tests.stores import empty_store


@pytest.fixture
def engine_settings(any_database: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with short times, over an upgraded database holding a store of 8 buckets."""
    for name, value in {"LEASE": "0.6", "HEARTBEAT": "0.1", "BACKOFF": "0", "RING": "0.3"}.items():
        monkeypatch.setenv(f"SEGADMIN_{name}_SECONDS", value)
    get_settings.cache_clear()
    settings = get_settings()
    empty_store(settings)
    return settings


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
