from __future__ import annotations

import polars as pl
import pytest
from sqlmodel import select

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError, DataError, PluginNotFound, StorageError
from segadmin.models.aliases import champion, current_snapshot, pointed
from segadmin.models.registry import make_champion, promote_version
from segadmin.settings import Settings
from segadmin.snapshots.read import assignments
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Current, Evaluation, LabelSet, ModelVersion, SegmentSnapshot
from segadmin.workflows.retrain import AFTER_GATE
from tests.planted import LABELS, Run, more_weeks, nothing_runs, plant, planted_users, retrain


def _scores(run: Run) -> pl.DataFrame:
    return pl.concat([run.read(output["scores"]) for output in run.inputs["score"]])


def _second_version(settings: Settings) -> ModelVersion:
    """Register the champion's artifact once more, as another version."""
    with transaction(settings) as session:
        first = session.get_one(ModelVersion, 1)
        second = ModelVersion(**first.model_dump(exclude={"id"}))
        session.add(second)
        session.flush()
        return second


def test_every_user_is_scored_and_the_segment_is_the_likeliest(shop: Settings) -> None:
    run = Run(shop, "score", {}).until("publish")
    scores = _scores(run)
    assert sorted(scores["user_key"]) == sorted(planted_users(shop)["user_key"])
    probabilities = scores["probabilities"].list.to_array(3).to_numpy()
    assert probabilities.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    segments = ["low", "mid", "high"]
    assert scores["segment"].to_list() == [segments[n] for n in probabilities.argmax(axis=1)]
    assert scores["probability"].to_numpy() == pytest.approx(probabilities.max(axis=1))
    assert sum(output["rescored"] for output in run.inputs["score"]) == 240


def test_a_refresh_without_new_events_publishes_nothing(shop: Settings) -> None:
    run = Run(shop, "refresh", {}).published()
    assert sum(output["scoring"]["rows"] for output in run.inputs["textualize"]) == 0
    published = run.inputs["publish"][0]
    assert published.items() >= {"unchanged": True, "snapshot_id": 1, "rescored": 0, "users": 240}.items()
    with transaction(shop) as session:
        assert [snapshot.id for snapshot in session.exec(select(SegmentSnapshot)).all()] == [1]


def test_a_job_that_is_retried_does_not_replace_a_newer_snapshot(shop: Settings) -> None:
    users = planted_users(shop)
    more_weeks(shop, users.head(30), range(14, 15))
    failed, explicit = (Run(shop, "refresh", options).until("publish") for options in ({}, {"model": "1"}))
    more_weeks(shop, users.tail(30), range(15, 16), seed=2)
    assert Run(shop, "refresh", {}).published().inputs["publish"][0]["snapshot_id"] == 2
    for run in (failed, explicit):
        run.all()
        assert run.inputs["publish"][0].items() >= {"overtaken": True, "snapshot_id": 2, "moved": 0}.items()
    with transaction(shop) as session:
        assert pointed(session, current_snapshot(LABELS)) == 2
        assert len(session.exec(select(SegmentSnapshot)).all()) == 2


def test_a_job_that_is_retried_does_not_replace_the_snapshot_of_a_new_champion(shop: Settings) -> None:
    version = _second_version(shop)
    more_weeks(shop, planted_users(shop).head(30), range(14, 15))
    failed, explicit = (Run(shop, "score", options).until("publish") for options in ({}, {"model": "1"}))
    nothing_runs(shop)
    promote_version(shop, str(version.id))
    Run(shop, "refresh", {}).published()
    assert failed.all().inputs["publish"][0]["overtaken"]
    assert _scored_by(shop) == version.id
    assert not explicit.all().inputs["publish"][0]["overtaken"], "somebody wanted the segments of that model"
    assert _scored_by(shop) == 1


def _scored_by(settings: Settings) -> int:
    """Return the model version of the current snapshot."""
    with transaction(settings) as session:
        number = pointed(session, current_snapshot(LABELS))
        return session.get_one(SegmentSnapshot, number).model_version_id


def test_texts_read_in_pieces_give_the_same_scores(shop: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    more_weeks(shop, planted_users(shop).head(30), range(14, 15))
    whole = Run(shop, "refresh", {}).until("publish")
    monkeypatch.setattr("segadmin.inference.scoring._PIECE", 1)
    pieces = Run(shop, "refresh", {}, fan_out=1).until("publish")
    assert _scores(pieces).equals(_scores(whole))
    [output] = pieces.inputs["score"]
    assert (output["carried"], output["rescored"]) == tuple(
        sum(output[name] for output in whole.inputs["score"]) for name in ("carried", "rescored")
    )
    assert 0 < output["rescored"] < 240


def test_a_refresh_scores_exactly_the_users_whose_text_changed(shop: Settings) -> None:
    active = planted_users(shop).head(30)
    more_weeks(shop, active, range(14, 15))
    run = Run(shop, "refresh", {}).until("publish")
    texts = pl.concat([run.read(output["scoring"]) for output in run.inputs["textualize"]])
    before = assignments(shop, 1).select("user_key", "phrase_hash", "scored_as_of").collect()
    changed = set(texts.join(before, on=["user_key", "phrase_hash"], how="anti")["user_key"])
    scores = _scores(run)
    rescored = set(scores.filter(pl.col("scored_as_of") > before["scored_as_of"].max())["user_key"])
    assert rescored == changed
    assert sum(output["rescored"] for output in run.inputs["score"]) == len(changed) < 240
    assert len(changed & set(active["user_key"])) > 20


def test_another_model_version_carries_no_user_forward(shop: Settings) -> None:
    version = _second_version(shop)
    run = Run(shop, "refresh", {"model": str(version.id)}).until("publish")
    assert sum(output["carried"] for output in run.inputs["score"]) == 0
    assert _scores(run)["model_version_id"].unique().to_list() == [version.id]
    run.stage("publish")
    assert assignments(shop, 2).collect()["cause"].unique().to_list() == ["another model"]


def test_score_scores_everybody_again(shop: Settings) -> None:
    run = Run(shop, "score", {}).published()
    assert run.inputs["publish"][0].items() >= {"rescored": 240, "rescored_by": {"time": 240}}.items()
    with transaction(shop) as session:
        assert session.get_one(SegmentSnapshot, 2).parts == [2]


def test_the_texts_of_other_bucket_ranges_are_found_too(shop: Settings) -> None:
    run = Run(shop, "score", {}).until("score")
    run.fan_out = 5  # textualize was cut into 2
    run.stage("score")
    assert sorted(_scores(run)["user_key"]) == sorted(planted_users(shop)["user_key"])


def test_the_champion_is_used_unless_a_version_is_named(shop: Settings) -> None:
    version = _second_version(shop)
    assert Run(shop, "score", {}).stage("prepare")[0]["model_version_id"] == 1
    with transaction(shop) as session:
        make_champion(session, session.get_one(ModelVersion, version.id), expected=1)
    assert Run(shop, "score", {"labels": LABELS}).stage("prepare")[0]["model_version_id"] == version.id
    assert Run(shop, "score", {"model": "1"}).stage("prepare")[0]["model_version_id"] == 1


def test_an_unknown_model_or_label_set_is_refused(shop: Settings) -> None:
    with pytest.raises(ConfigurationError, match=r"no model version '7'.*segadmin models list"):
        Run(shop, "score", {"model": "7"}).stage("prepare")
    with pytest.raises(ConfigurationError, match=r"no champion for 'spend4'. Did you mean 'spend3'"):
        Run(shop, "score", {"labels": "spend4"}).stage("prepare")


@pytest.mark.parametrize("kind", ["score", "refresh", "retrain", "tune"])
def test_an_engine_that_does_not_exist_is_refused_before_any_work(shop: Settings, kind: str) -> None:
    options = {} if kind in {"score", "refresh"} else {"backbone": "tabular", "labels": LABELS}
    with pytest.raises(
        PluginNotFound, match=r"no engine 'torsh'. Did you mean 'torch'\? Correct or unset SEGADMIN_ENGINE"
    ):
        Run(shop.model_copy(update={"engine": "torsh"}), kind, options).stage("prepare")


def test_several_champions_are_listed(shop: Settings) -> None:
    other = _second_version(shop)
    with transaction(shop) as session:
        version = session.get_one(ModelVersion, other.id)
        version.label_set = "lapse"
        make_champion(session, version, expected=None)
    with pytest.raises(ConfigurationError, match=r"Which champion\? Add --labels; there are: lapse, spend3"):
        Run(shop, "score", {}).stage("prepare")


def test_no_champion_yet(settings: Settings) -> None:
    plant(settings, users=5, weeks=1)
    with pytest.raises(DataError, match=r"no champion model yet.*segadmin enqueue retrain"):
        Run(settings, "score", {}).stage("prepare")


def test_without_a_champion_the_newest_trained_version_is_offered(shop: Settings) -> None:
    other = _second_version(shop)
    with transaction(shop) as session:
        session.delete(session.get_one(Current, champion(LABELS)))
    with pytest.raises(DataError, match=rf"or promote one: segadmin models promote {other.id}"):
        Run(shop, "score", {}).stage("prepare")


def test_a_damaged_model_is_noticed_before_any_text_is_written(shop: Settings) -> None:
    with transaction(shop) as session:
        folder = shop.store_path / session.get_one(ModelVersion, 1).folder
    (folder / "trees.txt").write_text("no trees")
    with pytest.raises(StorageError, match="is damaged"):
        Run(shop, "score", {}).stage("prepare")


def test_a_model_whose_plugin_is_gone_is_noticed(shop: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(load_plugins(shop).registered["backbone"], "tabular")
    with pytest.raises(PluginNotFound, match="no backbone 'tabular'"):
        Run(shop, "score", {}).stage("prepare")


def test_a_textualizer_of_another_version_is_refused(shop: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_plugins(shop).find("textualizer", "mixed").load(), "version", "2")
    with pytest.raises(ConfigurationError, match=r"'mixed' version 1 .* but version 2 .* is installed"):
        Run(shop, "score", {}).stage("prepare")


def test_textualize_alone_needs_no_model(settings: Settings) -> None:
    plant(settings, users=12, weeks=2)
    done = Run(settings, "textualize", {"textualizer": "timeline"}).published().inputs["textualize"]
    assert sum(output["scoring"]["rows"] for output in done) == 12
    assert [output["training"] for output in done] == [None, None]


def test_outcomes_are_measured_once_they_are_known_and_only_once(shop: Settings) -> None:
    users = planted_users(shop)
    early = Run(shop, "score", {}).published() and Run(shop, "refresh", {}).published().inputs["outcomes"][0]
    assert early["measured"] == []
    assert early["note"] == "the outcomes of 2 snapshots are not known yet"
    more_weeks(shop, users, range(14, 17))
    run = Run(shop, "refresh", {}).published()
    assert [measurement["snapshot_id"] for measurement in run.inputs["outcomes"][0]["measured"]] == [1, 2]
    with transaction(shop) as session:
        evaluations = session.exec(select(Evaluation).where(Evaluation.split == "outcome")).all()
    rows = {row.name: row for row in evaluations}
    # Everybody went on as before, so the model does as well as it did on test.
    assert rows["snapshot 1"].metrics["auroc"] > 0.65
    assert rows["snapshot 1"].rows > 200
    assert Run(shop, "refresh", {}).published().inputs["outcomes"][0]["measured"] == []


def test_outcomes_agree_with_labels_derived_later(shop: Settings) -> None:
    more_weeks(shop, planted_users(shop), range(14, 17))
    labeler = load_plugins(shop).make("labeler", "future-spend")
    lake = Lake.of(shop)
    labels = lake.scan("labels", label_set=LABELS).collect()
    with transaction(shop) as session:
        definition = session.get_one(ModelVersion, 1).manifest["data"]["definition"]
    cutoff = labels["as_of"].max()
    outcomes = labeler.outcomes(lake.scan("events"), definition, cutoff)
    labelled = labels.filter(pl.col("as_of") == cutoff).select("user_key", "segment")
    assert outcomes.sort("user_key").equals(labelled.sort("user_key"))


def test_labels_of_a_table_have_no_outcomes(shop: Settings) -> None:
    with transaction(shop) as session:
        session.get_one(LabelSet, LABELS).labeler = "table"
    done = Run(shop, "refresh", {}).published().inputs["outcomes"][0]
    assert "not derived from events" in done["note"]


def test_a_challenger_scores_no_user(shop: Settings) -> None:
    run = retrain(shop, backbone_options={"rounds": "1", "leaves": "2", "min_users": "200"}).published()
    verdict = run.inputs["gate"][0]
    assert not verdict["promoted"]
    assert "the champion (version 1) has 0.7" in verdict["reason"]
    assert run.skipped == set(AFTER_GATE)
    assert Run(shop, "score", {}).stage("prepare")[0]["model_version_id"] == 1
