"""The engine's tests run on SQLite and on a real PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import tests.probe  # noqa: F401  (adds the probe job kind)
from segadmin.jobs.dispatch import StepMessage
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


class Messages:
    """A ring that remembers what was rung, for tests that play the worker themselves."""

    def __init__(self) -> None:
        self.dispatched: list[StepMessage] = []

    def __call__(self, messages: Sequence[StepMessage]) -> None:
        self.dispatched += messages

    def take(self) -> list[int]:
        """Return and forget the steps rung for."""
        dispatched, self.dispatched = [message.step_id for message in self.dispatched], []
        return dispatched


@pytest.fixture
def messages() -> Messages:
    """An empty set of bells."""
    return Messages()
