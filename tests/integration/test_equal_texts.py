"""Users with equal texts: of two accounts of one person, one trains or tests, not one each."""

from __future__ import annotations

import polars as pl

from segadmin.models.manifest import manifest_of
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.predictions import predictions_of
from segadmin.storage.records import ModelVersion
from segadmin.workflows.textualize import training_texts
from segadmin.workflows.training_data import PreparedTraining, read_split
from tests.conftest import Cli
from tests.planted import label_future_spend, plant, retrain


def test_users_with_equal_texts_are_not_trained_on_and_tested(settings: Settings, cli: Cli) -> None:
    """Every second user buys what another one buys, and has the same label: a copy, as of a second account."""
    users = plant(settings, users=120).sort("user")
    lake = Lake.of(settings)
    originals, twins = users[::2], users[1::2]
    pairs = pl.DataFrame({"user_key": originals["user_key"], "twin": twins["user_key"], "twin_bucket": twins["bucket"]})
    events = lake.scan("events").collect()
    mine = events.join(originals.select("user_key"), on="user_key", how="semi")
    copied = mine.join(pairs, on="user_key").with_columns(
        user_key="twin", bucket="twin_bucket", event_id=pl.col("event_id") + 1
    )
    lake.overwrite("events", pl.concat([mine, copied.select(mine.columns)]))
    label_future_spend(settings)
    run = retrain(
        settings, split="user", held_out=0.25, backbone="tfidf", backbone_options={"min_users": 1}, baselines=[]
    ).until("gate")
    with transaction(settings) as session:
        version = session.get_one(ModelVersion, run.inputs["evaluate"][0]["model_version_id"])
    counts = manifest_of(version).data.equal_texts
    assert counts is not None
    assert counts.rows > 400 and counts.left_out > 50 and counts.repeated == 0
    shown = cli("models", "show", str(version.id)).stdout
    copies = f"{counts.texts} texts of several users in {counts.rows} rows; {counts.left_out} rows left out"
    assert f"equal texts: {copies}" in shown
    assert version.manifest["data"]["parts"]["duplicate"] == counts.left_out

    [attempt] = run.attempts("gate")
    split, _ = read_split(attempt, attempt.output(PreparedTraining), training_texts(attempt))
    train, test = (split.filter(pl.col("part") == part) for part in ("train", "test"))
    assert not set(train["text"].drop_nulls()) & set(test["text"].drop_nulls())
    trained = lake.scan("trainings").filter(pl.col("job_id") == run.job_id).collect()["user_key"]
    assert set(trained) == set(train["user_key"])
    key = ["user_key", "as_of"]
    tested = predictions_of(settings, version).rows
    assert tested.select(key).equals(test.select(key).sort("as_of", "user_key"))
