"""The registry as people use it: a gate that baselines hold, comparing, promoting, taking back, and the card."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from statistics import fmean

import pytest

from segadmin.errors import DataError, JobError
from segadmin.logs import fields_of
from segadmin.models import registry
from segadmin.models.aliases import champion, current_snapshot, pointed
from segadmin.models.card import ModelCard, card_of
from segadmin.models.registry import make_champion
from segadmin.models.versions import evaluations_of
from segadmin.settings import Settings
from segadmin.storage.audit import entries
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.predictions import predictions_of
from segadmin.storage.records import Lock, ModelState, ModelVersion
from tests.conftest import Cli
from tests.planted import LABELS, retrain


def current(settings: Settings) -> tuple[int | None, int | None]:
    with transaction(settings) as session:
        return pointed(session, champion(LABELS)), pointed(session, current_snapshot(LABELS))


def test_a_model_that_a_baseline_beats_is_not_promoted(shop: Settings) -> None:
    useless = {"rounds": "1", "min_users": "200"}  # no leaf holds so many users of each kind: it knows base rates only
    run = retrain(shop, backbone_options=useless, margin=0.0).until("score")
    verdict = run.inputs["gate"][0]
    assert verdict["promoted"] is False
    assert verdict["reason"].startswith("the baseline tabular has test AUROC 0.")
    lead, margin = (float(re.search(rf"{before} (-0\.\d+)", verdict["reason"])[1]) for before in (r"\d:", "--margin"))
    assert margin <= lead < margin + 0.002, "the margin that is named is enough"
    with transaction(shop) as session:
        assert session.get_one(ModelVersion, verdict["model_version_id"]).state == ModelState.CHALLENGER
    assert current(shop) == (1, 1)


def test_the_requested_margin_applies(shop: Settings) -> None:
    refused = retrain(shop, backbone="stacked", backbone_options={"text": "tfidf"}, margin=0.9).until("score")
    assert "It must lead by 0.9" in refused.inputs["gate"][0]["reason"]
    gained = retrain(shop, backbone="stacked", backbone_options={"text": "tfidf"}, margin=-0.02).until("score")
    assert gained.inputs["gate"][0]["promoted"] is True


def test_the_champion_is_not_compared_on_its_training_rows(shop: Settings) -> None:
    """Split by user, another seed holds out other users: most of them the champion knows by heart."""
    deep = {"rounds": "200", "min_users": "1", "leaves": "31"}
    by_user = {"split": "user", "held_out": 0.25, "backbone_options": deep}
    if not retrain(shop, **by_user).until("score").inputs["gate"][0]["promoted"]:
        registry.promote_version(shop, "2")
    verdict = retrain(shop, **by_user, seed=5).until("score").inputs["gate"][0]
    champion_has = re.search(r"\(version 2\) has (0\.\d+) on the same rows", verdict["reason"])
    assert champion_has, verdict["reason"]
    assert float(champion_has[1]) < 0.95  # on rows that it learnt from it is next to perfect


def test_a_rollback_restores_champion_and_snapshot(shop: Settings, cli: Cli) -> None:
    retrain(shop, seed=5).published()
    assert current(shop) == (2, 2)
    rollback = json.loads(cli("models", "rollback", "--reason", "complaints", "--json").stdout)
    assert rollback.items() >= {"label_set": LABELS, "champion": 1, "before": 2, "snapshot": 1}.items()
    assert current(shop) == (1, 1)
    repeated = cli("models", "rollback", "--from", "2", check=False)
    assert (repeated.returncode, "is version 1, not version 2" in repeated.stderr) == (1, True)
    assert "Snapshot 2, its newest, is current, as of 2025-04-" in cli("models", "promote", "2").stdout
    assert current(shop) == (2, 2)
    audit = entries(shop, "models")
    assert [entry.action for entry in audit] == ["models.promote", "models.rollback"]
    assert [entry.subject for entry in audit] == ["model 2", "model 1"]
    assert audit[1].details["reason"] == "complaints"
    again = cli("models", "promote", "2", check=False)
    assert (again.returncode, again.stdout) == (1, "")
    assert "Version 2 is champion" in again.stderr


def test_rollbacks_go_back_one_champion_after_the_other(shop: Settings, cli: Cli) -> None:
    for seed in (5, 6):
        retrain(shop, seed=seed).until("gate")
    registry.promote_version(shop, "2")
    assert "It has not scored all users yet. Next: segadmin enqueue score" in cli("models", "promote", "3").stdout
    champions = [registry.roll_back_champion(shop).champion for _ in range(2)]
    assert champions == [2, 1], "not to and fro"
    with pytest.raises(DataError, match=r"Version 1 is the first champion.*models promote VERSION"):
        registry.roll_back_champion(shop)
    registry.promote_version(shop, "3")
    assert registry.roll_back_champion(shop).champion == 1, "version 2 was rolled back"


def test_promotions_and_snapshots_are_logged(shop: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="segadmin")
    retrain(shop, seed=5).published()
    registry.roll_back_champion(shop)
    registry.promote_version(shop, "2")
    lines = [{"message": line.getMessage(), **fields_of(line)} for line in caplog.records]
    promoted, published, back, again = (line for line in lines if "label_set" in line)
    assert promoted == {
        "message": "model promoted",
        "action": "promote",
        "label_set": LABELS,
        "version": 2,
        "before": 1,
    }
    assert published.items() >= {"message": "snapshot published", "action": "publish", "snapshot_id": 2}.items()
    assert published["users"] == published["rescored"] + published["carried"]
    assert (back["message"], back["action"], back["version"]) == ("model rolled back", "rollback", 1)
    assert (again["message"], again["version"], again["snapshot"]) == ("model promoted", 2, 2)


def test_a_rollback_is_refused_while_a_job_holds_the_lock(shop: Settings) -> None:
    retrain(shop, seed=5).published()
    with transaction(shop) as session:
        session.add(Lock(name=f"snapshot:{LABELS}", job_id=1))
    with pytest.raises(JobError, match="Job 1 is changing the snapshot"):
        registry.roll_back_champion(shop)
    assert current(shop) == (2, 2)


def test_the_first_champion_cannot_be_rolled_back(shop: Settings) -> None:
    with pytest.raises(DataError, match="the first champion"):
        registry.roll_back_champion(shop)


def test_versions_are_compared_on_the_rows_they_share(shop: Settings, cli: Cli) -> None:
    retrain(shop, backbone_options={"rounds": "1", "min_users": "5000"}).until("score")
    comparison = json.loads(cli("models", "compare", "1", "2", "--json").stdout)
    assert comparison["rows"] > 100
    assert comparison["one"] - comparison["other"] == pytest.approx(comparison["lead"]["value"])
    assert comparison["lead"]["low"] > 0, "a model that learnt something is better than one that did not"
    assert "1 is better" in cli("models", "compare", "1", "2").stdout
    assert "Neither is shown" in cli("models", "compare", "1").stdout


def test_few_users_show_no_version_to_be_better(shop: Settings, cli: Cli) -> None:
    with transaction(shop) as session:
        version = session.get_one(ModelVersion, 1)
    last = predictions_of(shop, version).rows["user_key"].unique().sort()[9]
    Lake.of(shop).delete("predictions", f"user_key > {last}")
    output = cli("models", "compare", "1", "1").stdout
    assert "Neither is shown to be better: that takes 50 users, and the rows are of 10." in output
    assert "too few users for an interval" in output
    assert json.loads(cli("models", "compare", "1", "1", "--json").stdout)["lead"]["low"] is None


def test_a_champion_of_several_label_sets_needs_labels(shop: Settings, cli: Cli, tmp_path: Path) -> None:
    with transaction(shop) as session:
        other = ModelVersion.model_validate(session.get_one(ModelVersion, 1).model_dump() | {"id": None})
        other.label_set = "other"
        session.add(other)
        session.flush()
        make_champion(session, other, expected=None)
        number = other.id
    refused = cli("models", "show", "champion", check=False)
    assert refused.returncode == 1
    assert "Which champion? Add --labels; there are: " in refused.stderr
    assert f"model version {number} · other" in cli("models", "show", "champion", "--labels", "other").stdout
    cli("models", "card", "champion", "--labels", LABELS, "--out", str(tmp_path / "card.html"))
    assert "Neither is shown" in cli("models", "compare", "1").stdout, "the champion of the same labels is meant"
    assert "Neither is shown" in cli("models", "compare", "champion", "--labels", LABELS).stdout


def test_the_card_shows_metrics_and_limits(shop: Settings, cli: Cli, tmp_path: Path) -> None:
    cli("models", "card", "champion", "--out", str(tmp_path / "card.html"))
    page = (tmp_path / "card.html").read_text()
    for words in ("AUROC by segment", "By length of history", "Calibration", "Limits", "without training rows", "<svg"):
        assert words in page
    assert "tabular" in page


def test_the_card_as_json(shop: Settings, cli: Cli, tmp_path: Path) -> None:
    output = cli("models", "card", "1", "--json", "--out", str(tmp_path / "card.html")).stdout
    card = ModelCard.model_validate_json(output)
    assert card == card_of(shop, "champion", LABELS)
    assert "Calibration" in (tmp_path / "card.html").read_text()
    [own, *_] = card.metrics
    assert own.split == "test" and own.rows > 100
    test = card.test
    assert test is not None
    assert test.rows == own.rows == card.origin.parts["test"]
    assert test.calibration.ece == pytest.approx(own.ece, abs=1e-6)
    for groups in (test.by_segment, test.by_history, test.calibration.bins):
        assert sum(group.rows for group in groups) == test.rows
    intervals = [group.auroc.interval for group in test.by_segment]
    assert own.auroc == pytest.approx(fmean(interval.value for interval in intervals if interval), abs=1e-4)
    assert all(interval.low < interval.value < interval.high for interval in intervals if interval)
    accuracies = [(group.accuracy, group.rows) for group in test.by_history]
    overall = sum(accuracy * rows for accuracy, rows in accuracies) / test.rows
    with transaction(shop) as session:
        recorded = evaluations_of(session, session.get_one(ModelVersion, 1))[0].metrics["accuracy"]
    assert overall == pytest.approx(recorded)
