"""Whether a champion is out of date: by its age, by drift, by a loss of AUROC."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import Session, select

from segadmin.models.aliases import current_snapshot
from segadmin.models.manifest import Imported, manifest_of
from segadmin.monitoring.triggers import Fired, Triggers, check_triggers
from segadmin.settings import Settings
from segadmin.storage.database import now, transaction
from segadmin.storage.records import Current, DriftReport, Evaluation, ModelVersion
from tests.planted import LABELS


def check(session: Session, triggers: Triggers, later: timedelta = timedelta()) -> Fired:
    """Look at the champion of :func:`tests.planted.shop`, ``later`` than the newest event that it knew."""
    version = session.get_one(ModelVersion, 1)
    return check_triggers(session, triggers, version, latest(version) + later)


def latest(version: ModelVersion) -> datetime:
    moment = manifest_of(version).data.latest_event
    assert moment is not None
    return moment


def set_report(session: Session, **fields: Any) -> None:
    report = session.exec(select(DriftReport)).one()
    for name, value in fields.items():
        setattr(report, name, value)
    session.add(report)
    session.flush()


def set_test(session: Session, auroc: float) -> None:
    tested = session.exec(select(Evaluation).where(Evaluation.model_version_id == 1, Evaluation.split == "test")).one()
    tested.metrics = {**tested.metrics, "auroc": auroc}
    session.add(tested)
    session.flush()


def estimated(value: float, low: float, high: float) -> dict[str, Any]:
    return {"metrics": {"auroc": {"value": value, "low": low, "high": high}}}


@pytest.mark.parametrize(("days", "fires"), [(29.9, False), (30, True), (400, True)])
def test_the_age_is_that_of_the_events(shop: Settings, days: float, fires: bool) -> None:
    with transaction(shop) as session:
        fired = check(session, Triggers(max_age=timedelta(days=30)), timedelta(days=days))
        version = session.get_one(ModelVersion, 1)
    words = f"the champion is {days:.0f} d old, trained with events until {latest(version):%Y-%m-%d} (--max-age 30d)"
    assert (fired.reasons, fired.others) == (((words,), ()) if fires else ((), (words,)))


def test_a_version_of_another_shop_is_as_old_as_its_import(shop: Settings) -> None:
    with transaction(shop) as session:
        version = session.get_one(ModelVersion, 1)
        newest = latest(version) + timedelta(days=400)  # which says nothing about another shop's events
        manifest = manifest_of(version).model_copy(update={"imported": Imported(store="other", version=7)})
        version.manifest = manifest.as_json()
        version.created_at = now(session) - timedelta(days=31)
        assert check_triggers(session, Triggers(max_age=timedelta(days=32)), version, newest).reasons == ()
        [reason] = check_triggers(session, Triggers(max_age=timedelta(days=31)), version, newest).reasons
    assert reason.startswith("the champion is 31 d old, imported on")


def test_drift_fires_and_missing_events_do_not(shop: Settings) -> None:
    triggers, calm = Triggers(on_drift=True), {"name": "visits", "drifted": False}
    with transaction(shop) as session:
        assert check(session, triggers).others == ("snapshot 1 has no drift",)
        set_report(session, findings=[calm], alarms=["2025-04-13 has 0 of 99 expected events (purchase)."])
        assert check(session, triggers).others == ("snapshot 1 has no drift",)
        set_report(session, findings=[calm, {"name": "spend", "drifted": True}])
        assert check(session, triggers).reasons == ("1 of 2 distributions drifted in snapshot 1 (--on-drift)",)
        set_report(session, findings=[calm], outcomes=[{"metric": "accuracy", "measured": 0.4, "contradicts": True}])
        [reason] = check(session, triggers).reasons
    assert reason == "accuracy differ from their estimates in snapshot 1 (--on-drift)"


@pytest.mark.parametrize(
    ("estimate", "reason"),
    [
        (estimated(0.78, 0.76, 0.79), "AUROC is estimated as 0.7800 [0.7600, 0.7900] and was 0.8000 in the test"),
        (estimated(0.78, 0.72, 0.84), None),  # few users: it may be as good as it was
        (estimated(0.79, 0.78, 0.795), None),  # not by so much
        ({}, None),
    ],
)
def test_a_loss_that_is_estimated(shop: Settings, estimate: dict[str, Any], reason: str | None) -> None:
    with transaction(shop) as session:
        set_test(session, 0.80)
        set_report(session, estimate=estimate, outcomes=[])
        fired = check(session, Triggers(max_loss=0.02))
    assert fired.reasons == ((f"{reason} (--max-loss 0.02)",) if reason else ())


def test_a_loss_that_was_measured(shop: Settings) -> None:
    outcome = {"metric": "auroc", "measured": 0.77, "contradicts": False}
    with transaction(shop) as session:
        set_test(session, 0.80)
        set_report(session, outcomes=[outcome], estimate=estimated(0.82, 0.81, 0.83))
        [reason] = check(session, Triggers(max_loss=0.02)).reasons
        assert check(session, Triggers(max_loss=0.04)).others == ("AUROC is 0.7700 and was 0.8000 in the test",)
    assert reason == "AUROC is measured as 0.7700 and was 0.8000 in the test (--max-loss 0.02)"


def test_every_trigger_is_looked_at(shop: Settings) -> None:
    with transaction(shop) as session:
        fired = check(session, Triggers(timedelta(days=1), on_drift=True, max_loss=0.5), timedelta(days=2))
    assert len(fired.reasons) == 1
    assert len(fired.others) == 2


def test_what_is_not_there_fires_nothing(shop: Settings) -> None:
    triggers = Triggers(on_drift=True, max_loss=0.001)
    with transaction(shop) as session:
        session.delete(session.get_one(Current, current_snapshot(LABELS)))
        session.flush()
        assert check(session, triggers).others == (
            "there is no drift report yet",
            "AUROC is neither measured nor estimated yet",
        )
        for tested in session.exec(select(Evaluation)).all():
            session.delete(tested)
        session.flush()
        assert check(session, triggers).others[1] == "model version 1 has no test whose AUROC could be compared"
