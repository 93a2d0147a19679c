"""Whom a model was trained on: the attack on the card, and what is left of users who were erased."""

from __future__ import annotations

import json

import polars as pl
from sqlmodel import select

from segadmin.events.erase import forget
from segadmin.models.card import card_of
from segadmin.models.manifest import manifest_of
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.predictions import predictions_of
from segadmin.storage.records import Job, JobState, ModelVersion
from segadmin_api.dashboard.model_card import page
from tests.conftest import Cli
from tests.planted import Run, label_future_spend, plant, planted_users, retrain

#: A regression that fits the words of every training user.
OVERFITTED = {"backbone": "tfidf", "backbone_options": {"min_users": 1, "strengths": [1e3]}, "baselines": []}
ADVICE = "reveals whom it was trained on. Train for fewer epochs"


def version_of(run: Run) -> ModelVersion:
    with transaction(run.settings) as session:
        return session.get_one(ModelVersion, run.inputs["evaluate"][0]["model_version_id"])


def end_jobs(settings: Settings) -> None:
    with transaction(settings) as session:
        for job in session.exec(select(Job)).all():
            job.state = JobState.SUCCEEDED


def test_an_overfitted_model_warns_and_a_regularised_one_does_not(settings: Settings, cli: Cli) -> None:
    plant(settings, users=500)
    label_future_spend(settings)
    overfitted = retrain(settings, held_out=0.3, **OVERFITTED).until("gate")
    number = str(version_of(overfitted).id)
    attack = manifest_of(version_of(overfitted)).membership
    assert attack is not None and attack.is_high and attack.part == "validation"
    assert attack.trained == attack.held_out > 100
    shown = cli("models", "show", number).stdout
    assert f"membership attack: AUC {attack.auc.value:.4f} [{attack.auc.low:.4f}, {attack.auc.high:.4f}]" in shown
    assert ADVICE in shown and ADVICE in page(card_of(settings, number))
    written = json.loads(cli("models", "show", number, "--json").stdout)["manifest"]["membership"]
    assert written["auc"]["value"] == attack.auc.value
    assert card_of(settings, number).membership == attack

    strengths = {"min_users": 20, "strengths": [1e-3]}
    plain = retrain(settings, held_out=0.3, **OVERFITTED | {"backbone_options": strengths}).until("gate")
    harmless = manifest_of(version_of(plain)).membership
    assert harmless is not None and not harmless.is_high and harmless.auc.value < attack.auc.value
    assert ADVICE not in cli("models", "show", str(version_of(plain).id)).stdout


def test_by_user_the_attack_is_against_the_test_rows(shop: Settings) -> None:
    run = retrain(shop, held_out=0.25, split="user", **OVERFITTED).until("gate")
    attack = manifest_of(version_of(run)).membership
    assert attack is not None and attack.part == "test"
    assert attack.held_out <= version_of(run).manifest["data"]["parts"]["test"]


def test_a_version_of_an_older_release_has_a_card_without_the_attack(shop: Settings, cli: Cli) -> None:
    with transaction(shop) as session:
        version = session.get_one(ModelVersion, 1)
        data = {name: value for name, value in version.manifest["data"].items() if name != "equal_texts"}
        version.manifest = {name: value for name, value in version.manifest.items() if name != "membership"} | {
            "data": data
        }
        session.add(version)
    card = card_of(shop, "1")
    assert card.membership is None and card.origin.equal_texts is None
    assert "Not measured: an older release" in page(card) and "equal texts" not in page(card)
    shown = cli("models", "show", "1").stdout
    assert "membership attack" not in shown and "equal texts" not in shown


def holders(settings: Settings, key: int) -> set[str]:
    """Return the Parquet files under the store that have a row of the user."""
    return {
        str(path.relative_to(settings.store_path))
        for path in settings.store_path.rglob("*.parquet")
        if "user_key" in (frame := pl.read_parquet(path, hive_partitioning=False)).columns
        and (frame["user_key"] == key).any()
    }


def test_a_version_trained_after_an_erasure_has_no_row_of_the_erased(shop: Settings) -> None:
    before = retrain(shop).published()
    lake, trained = Lake.of(shop), pl.col("job_id") == before.job_id
    key: int = lake.scan("trainings").filter(trained).select("user_key").collect()["user_key"][0]
    name = planted_users(shop).filter(pl.col("user_key") == key)["user"].item()
    (shop.root / "planted.parquet").unlink()
    assert holders(shop, key)
    end_jobs(shop)
    assert version_of(before).id in forget(shop, [name])[0].model_versions
    assert not holders(shop, key)

    after = retrain(shop).published()
    assert not holders(shop, key), "neither texts, split, predictions nor training users of the new version"
    old, new = (manifest_of(version_of(run)).data for run in (before, after))
    assert old.training_keys_sha256 != new.training_keys_sha256
    assert new.users == old.users - 1
    assert key not in predictions_of(shop, version_of(after)).rows["user_key"]
