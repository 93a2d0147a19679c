"""Corrections are labels of the next training, with their weight, and never test rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
from sqlmodel import col, select, update

from segadmin.labels.label_sets import after, latest_event
from segadmin.labels.parts import Part
from segadmin.models.manifest import ModelManifest, manifest_of
from segadmin.settings import Settings
from segadmin.snapshots.corrections import correct, pin, withdraw
from segadmin.snapshots.user import find_user
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Correction, LabelSet, ModelVersion
from segadmin.training.dataset import Dataset
from segadmin.workflows.textualize import training_texts
from segadmin.workflows.training_data import PreparedTraining, read_dataset, read_split
from tests.planted import LABELS, Run, retrain


def prepared(run: Run) -> tuple[pl.DataFrame, Dataset]:
    """Return the split of a job and its rows with texts, as its fit gets them."""
    attempt = run.attempts("finetune")[0]
    plan, texts = attempt.output(PreparedTraining), training_texts(attempt)
    split, _ = read_split(attempt, plan, texts)
    return split, read_dataset(plan, texts, split)


def newest_manifest(settings: Settings) -> ModelManifest:
    with transaction(settings) as session:
        versions = session.exec(select(ModelVersion).order_by(col(ModelVersion.id).desc())).all()
        return manifest_of(versions[0])


def test_a_correction_is_a_training_row_that_counts_as_often_as_its_weight(shop: Settings) -> None:
    users = {name: find_user(shop, name) for name in ("user-1", "user-2", "user-3", "user-4", "user-5")}
    correct(shop, "user-1", "high", "as three", weight=3)
    correct(shop, "user-2", "low", "as one")
    correct(shop, "user-3", "low", "only overrides", weight=0)
    pin(shop, "user-4", "only overrides")
    correct(shop, "user-5", "low", "a mistake")
    withdraw(shop, "user-5", "a mistake")
    run = retrain(shop).until("finetune")
    split, dataset = prepared(run)
    rows = split.filter(pl.col("part") == Part.CORRECTED)
    moment = after(latest_event(Lake.of(shop)))
    assert set(rows.select("user_key", "as_of", "target", "weight").iter_rows()) == {
        (users["user-1"], moment, 2, 3),
        (users["user-2"], moment, 0, 1),
    }
    trained = dataset.train.frame.filter(pl.col("as_of") == moment)
    assert sorted(trained["user_key"]) == sorted([users["user-1"]] * 3 + [users["user-2"]])
    assert all(len(phrases) for phrases in trained["phrases"])
    assert len(dataset.train) == split.filter(pl.col("part") == Part.TRAIN).height + 4
    held_out = split.filter(pl.col("part").is_in([Part.VALIDATION, Part.TEST]))["user_key"]
    assert not {users[name] for name in ("user-1", "user-2", "user-5")} & set(held_out)
    assert {users["user-3"], users["user-4"]} <= set(held_out)


def test_the_version_states_the_corrections_and_the_corrected_users_stay(shop: Settings) -> None:
    key = find_user(shop, "user-1")
    before = newest_manifest(shop).data
    correct(shop, "user-1", "high", "as three", weight=3)
    run = retrain(shop).published()
    data = newest_manifest(shop).data
    assert data.parts[Part.CORRECTED] == 1
    assert before.training_keys_sha256 != data.training_keys_sha256
    assert newest_manifest(shop).rows_learnt == data.parts[Part.TRAIN] + 3
    trained = Lake.of(shop).scan("trainings").filter(pl.col("job_id") == run.job_id).collect()["user_key"]
    assert key in trained
    number = Run(shop, "score", {"model": "2"}).published().inputs["publish"][0]["snapshot_id"]
    row = Lake.of(shop).scan("assignments", snapshot_id=number).filter(pl.col("user_key") == key).collect()
    assert row.select("segment", "overridden_by").row(0) == ("high", "correction")


def test_a_version_that_continues_from_one_with_corrections_is_not_refused(shop: Settings) -> None:
    correct(shop, "user-1", "high", "sure")
    retrain(shop, backbone="tiny", backbone_options={"epochs": 1, "max_tokens": 16, "words": 200}).published()
    run = retrain(shop, backbone="tiny", backbone_options={"epochs": 1, "max_tokens": 16, "words": 200})
    run.options |= {"start_from": "2", "replay": 1}
    run.until("finetune")
    assert prepared(run)[0].filter(pl.col("part") == Part.CORRECTED).height == 1


def test_an_expired_correction_is_no_label_and_its_user_is_no_test_row(shop: Settings) -> None:
    key = find_user(shop, "user-1")
    done = correct(shop, "user-1", "high", "for a while", expires_at=datetime.now(UTC) + timedelta(days=1))
    with transaction(shop) as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        session.exec(update(Correction).where(Correction.id == done.correction.id).values(expires_at=past))
    split, _ = prepared(retrain(shop).until("finetune"))
    assert Part.CORRECTED not in split["part"].to_list()
    assert key not in split.filter(pl.col("part").is_in([Part.VALIDATION, Part.TEST]))["user_key"]


def test_corrections_to_a_segment_that_the_labels_lost_are_left_out(shop: Settings) -> None:
    correct(shop, "user-1", "high", "sure")
    with transaction(shop) as session:
        session.exec(update(Correction).values(segment="gone"))
        assert session.get_one(LabelSet, LABELS).segments == ["low", "mid", "high"]
    run = retrain(shop).published()
    assert run.inputs["evaluate"][0]["model_version_id"] == 2
    assert Part.CORRECTED not in newest_manifest(shop).data.parts
    with transaction(shop) as session:
        (left,) = session.exec(select(Correction)).all()
    assert left.segment == "gone"
