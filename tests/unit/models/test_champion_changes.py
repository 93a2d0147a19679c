"""Whoever is late is told who changed the champion, and why."""

from __future__ import annotations

import pytest

from segadmin.errors import CanaryNotFound, Stale
from segadmin.models.canary import find_canary, find_running, stop_canary
from segadmin.models.champion_changes import champion_change
from segadmin.models.registry import promote_version
from segadmin.settings import Settings
from segadmin.storage import audit
from segadmin.storage.database import reading
from tests.planted import LABELS, retrain


def test_a_stale_promotion_names_the_change_of_meanwhile(shop: Settings) -> None:
    with reading(shop) as session:
        first = champion_change(session, LABELS)
        assert champion_change(session, "none") is None
    assert first is not None
    assert str(first).startswith("the gate of job 1 made version 1 champion at 20")
    retrain(shop, seed=5, canary="40%").published()
    promote_version(shop, "2", "campaign in May", expected=1)
    with pytest.raises(Stale) as stale:
        promote_version(shop, "1", "a second tab", expected=1)
    assert "is version 2, not version 1" in str(stale.value)
    assert f"({audit.current_actor()} made version 2 champion at 20" in str(stale.value)
    assert ": campaign in May). Look at it and decide again" in str(stale.value)


def test_a_canary_is_stopped_once(shop: Settings) -> None:
    retrain(shop, seed=5, canary="40%").published()
    with reading(shop) as session:
        number = find_running(session).id or 0
    assert stop_canary(shop, reason="complaints", number=number).state == "stopped"
    with pytest.raises(Stale, match=f"The canary {number} of .* is stopped already: complaints"):
        stop_canary(shop, reason="again", number=number)
    with reading(shop) as session, pytest.raises(CanaryNotFound, match="segadmin models canary list"):
        find_canary(session, 99)
    [entry] = audit.entries(shop, "models.canary.stop", actor=audit.current_actor())
    assert entry.details["reason"] == "complaints"
    assert audit.entries(shop, actor="somebody else") == []
