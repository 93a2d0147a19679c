"""A canary as people use it: from the command line, through the engine, and over HTTP's models."""

from __future__ import annotations

import json

import polars as pl
import pytest
from sqlmodel import select

from segadmin.inference.live_models import LiveModels, ModelIsLoading
from segadmin.models.canary import CanaryShare, find_running, list_canaries
from segadmin.settings import Settings
from segadmin.snapshots.lookup import SegmentLookup
from segadmin.snapshots.user import history
from segadmin.storage.database import transaction
from segadmin.storage.records import Job, ModelVersion, Step
from tests.conftest import Cli
from tests.planted import LABELS, planted_users, retrain, through_the_engine
from tests.servers import wait_until

QUICK = {
    "backbone": "tabular",
    "backbone_options": {"rounds": "30", "min_users": "5"},
    "baselines": ["tabular"],
    "margin": -1,
    "labels": LABELS,
    "seed": 5,
}


def test_a_canary_from_start_to_stop(shop: Settings, cli: Cli) -> None:
    assert "Start one: segadmin enqueue retrain --canary 5%" in cli("models", "canary", "show", check=False).stderr
    job = through_the_engine(shop, "retrain", {**QUICK, "canary": "40%", "canary_days": "14d"})
    with transaction(shop) as session:
        assert session.get_one(Job, job).state == "succeeded"
        canary = find_running(session)
    assert (canary.share, (canary.until - canary.since).days) == (0.4, 14)
    shown = cli("jobs", "show", str(job)).stdout
    assert "Version 2 is a canary: " in shown
    assert "segadmin models canary show" in shown
    text = cli("models", "canary", "show").stdout
    assert f"version 2 scores 40.0% of the users of '{LABELS}' beside version 1" in text
    assert "estimated AUROC" in text
    assert "No outcomes are known yet." in text
    facts = json.loads(cli("models", "canary", "show", "--json").stdout)
    assert facts.items() >= {"champion_id": 1, "challenger_id": 2, "state": "running"}.items()
    assert facts["comparison"]["compared"] > 60
    assert "canary, 40.0%" in cli("models", "list").stdout
    assert [row["canary"] for row in json.loads(cli("models", "list", "--json").stdout)] == [0.4, None]
    assert "some users were scored by a canary" in cli("snapshots", "show").stdout
    assert "version 2 scores 40.0%" in cli("doctor", check=False).stdout
    refresh = through_the_engine(shop, "refresh", {"labels": LABELS})
    with transaction(shop) as session:
        states = dict(session.exec(select(Step.stage, Step.state).where(Step.job_id == refresh)).all())
    assert states["canary"] == "succeeded"
    stopped = cli("models", "canary", "stop", "--reason", "complaints").stdout
    assert "The next refresh gives its users back to version 1: segadmin enqueue refresh" in stopped
    [row] = json.loads(cli("models", "canary", "list", "--json").stdout)
    assert (row["state"], row["reason"]) == ("stopped", "complaints")
    assert "complaints" in cli("models", "canary", "list").stdout
    assert "No canary is running" in cli("models", "canary", "stop", check=False).stderr
    refresh = through_the_engine(shop, "refresh", {"labels": LABELS})
    with transaction(shop) as session:
        states = dict(session.exec(select(Step.stage, Step.state).where(Step.job_id == refresh)).all())
    assert states["canary"] == "skipped"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--canary", "5 percent", "'5 percent' is no share of the users; write it as 5% or 0.05"),
        ("--canary", "500%", "'500%' is not a share above 0% and below 100%"),
        ("--canary", "0", "'0' is not a share above 0% and below 100%"),
        ("--canary", "100%", "'100%' is not a share above 0% and below 100%"),
        ("--canary-time", "soon", "'soon' is no length of time"),
    ],
)
def test_a_share_or_a_time_that_makes_no_sense(shop: Settings, cli: Cli, option: str, value: str, message: str) -> None:
    refused = cli("enqueue", "retrain", option, value, check=False)
    assert refused.returncode == 2
    assert message in " ".join(refused.stderr.split())


def test_a_promotion_by_hand_says_what_comes_next(shop: Settings, cli: Cli) -> None:
    retrain(shop, seed=5, canary=0.4).all()
    with transaction(shop) as session:
        for job in session.exec(select(Job)).all():
            job.state = "succeeded"  # type: ignore[assignment]
    promoted = cli("models", "promote", "2").stdout
    assert "The canary that was running is promoted." in promoted
    assert "It has scored only the users of its canary. Next: segadmin enqueue score --labels spend3 --wait" in promoted
    with transaction(shop) as session:
        assert [row.state for row in list_canaries(session)] == ["promoted"]


def test_users_of_the_canary_are_looked_up_and_scored_online_by_its_version(shop: Settings) -> None:
    retrain(shop, seed=5, canary=0.4).all()
    with transaction(shop) as session:
        canary = CanaryShare.of(find_running(session))
        version = session.get_one(ModelVersion, 2)
        orders = {1: session.get_one(ModelVersion, 1).segments, 2: list(version.segments)}
    keys = planted_users(shop)["user_key"]
    inside, outside = (keys.filter(mask)[0] for mask in (canary.contains(keys), ~canary.contains(keys)))
    lookup = SegmentLookup(shop)
    for key, number in ((inside, 2), (outside, 1)):
        found, row = lookup.find([key]), history(shop, key)[0]
        assert found is not None
        assert (found.model_version_id, row.model_version_id) == (number, number)
        assert found.segment == max(found.probabilities, key=lambda name: found.probabilities[name])
        assert row.probabilities == pytest.approx(found.probabilities)
        assert list(row.probabilities) == orders[number]
    models = LiveModels(shop)

    def version_of(key: int | None) -> int | None:
        try:
            return models.find(None, key).version.id
        except ModelIsLoading:
            return None

    wait_until(lambda: version_of(inside) == 2, 60, "the challenger answers")
    wait_until(lambda: version_of(outside) == 1, 60, "the champion answers")
    assert version_of(None) == 1
    assert pl.Series([version_of(key) for key in keys]).to_list() == canary.versions(keys).to_list()
