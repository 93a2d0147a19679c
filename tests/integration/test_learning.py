"""Pretraining, going on from a version, and learning several label sets at once, over a shop of planted users."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from segadmin.errors import ConfigurationError, DataError, SegadminError
from segadmin.jobs.requests import check_request
from segadmin.labels.labeling import label
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import LabelSet, ModelState, ModelVersion
from tests.planted import LABELER, LABELS, Run, retrain

TINY = {"max_tokens": 24, "epochs": 1, "batch_size": 32, "words": 300, "width": 64, "head_steps": 20}


def pretrain(settings: Settings, **options: Any) -> Run:
    request = {"backbone": "tiny", "backbone_options": TINY, "window_days": 28, **options}
    return Run(settings, "pretrain", check_request(settings, "pretrain", request)).all()


def version_of(settings: Settings, number: int) -> ModelVersion:
    with transaction(settings) as session:
        return session.get_one(ModelVersion, number)


@pytest.fixture
def pretrained(shop: Settings) -> int:
    return int(pretrain(shop, backbone_options=TINY | {"epochs": 3}).inputs["pretrain"][0]["model_version_id"])


def test_pretraining_makes_a_version_to_start_from(shop: Settings, pretrained: int) -> None:
    version = version_of(shop, pretrained)
    assert version.state == ModelState.PRETRAINED
    report = version.manifest["report"]
    assert report["held_out_loss"] < report["held_out_loss_before"]
    # No text reaches into the weeks that the labels are tested on.
    with transaction(shop) as session:
        first_test = min(session.get_one(LabelSet, LABELS).definition["test_cuts"])
    until = version.manifest["pretrained"]["until"]
    assert datetime.fromisoformat(until) <= datetime.fromisoformat(first_test)

    request = check_request(shop, "retrain", {"start_from": str(pretrained), "margin": -1, "baselines": []})
    assert request["backbone"] == "tiny"
    assert request["backbone_options"]["words"] == 300
    job = Run(shop, "retrain", request).published()
    tuned = version_of(shop, job.inputs["evaluate"][0]["model_version_id"])
    assert tuned.manifest["started_from"] == pretrained
    # The vocabulary is the pretrained one's: it is the same tokenizer.
    kept, begun = (shop.store_path / model.folder / "tokenizer.json" for model in (tuned, version))
    assert kept.read_text() == begun.read_text()


def test_whole_phrases_and_new_words(shop: Settings) -> None:
    result = pretrain(shop, whole_phrases=True, new_words=5, backbone_options=TINY | {"words": 60}).inputs["pretrain"][
        0
    ]
    assert result["report"]["words_added"] == 5
    assert result["report"]["held_out_loss"] < result["report"]["held_out_loss_before"]


def test_a_decoder_is_pretrained_on_next_tokens(shop: Settings, tmp_path: Path) -> None:
    from tests.models import make_model

    make_model("gpt2", tmp_path / "gpt2")
    options = {"max_tokens": 24, "epochs": 1, "batch_size": 32, "learning_rate": 1e-3}
    result = pretrain(shop, backbone=str(tmp_path / "gpt2"), backbone_options=options).inputs["pretrain"][0]
    assert result["report"]["objective"] == "next token"
    assert result["report"]["held_out_loss"] < result["report"]["held_out_loss_before"]


def test_interrupted_pretraining_resumes(shop: Settings) -> None:
    """A stopped attempt leaves checkpoints; the next resumes, and ends where one that was never stopped does."""
    options = {"backbone": "tiny", "backbone_options": TINY | {"epochs": 2}, "window_days": 28}
    job = Run(shop, "pretrain", check_request(shop, "pretrain", options)).until("pretrain")

    class Stopped(Exception):
        pass

    [attempt] = job.attempts("pretrain")
    saved = attempt.checkpoints / "trainer"

    def stop(_fraction: float, _note: str = "") -> None:
        if list(saved.glob("checkpoint-*/trainer_state.json")):
            raise Stopped

    attempt.progress = stop  # type: ignore[method-assign]
    from segadmin_plugins.backbones.transformer import callbacks

    before, callbacks.PROGRESS_SECONDS = callbacks.PROGRESS_SECONDS, 0.0
    try:
        with pytest.raises((Stopped, SegadminError)):
            job.call(attempt)
    finally:
        callbacks.PROGRESS_SECONDS = before
    [attempt] = job.attempts("pretrain")
    again = job.finish(job.call(attempt))
    assert again["report"]["resumed_at_step"] > 0
    assert [step for step, metrics in attempt.points if "validation_log_loss" in metrics] == [
        0,
        again["report"]["steps"],
    ]
    assert sum("training_loss" in metrics for _, metrics in attempt.points) > 2
    whole = pretrain(shop, backbone_options=TINY | {"epochs": 2}).inputs["pretrain"][0]
    # What is hidden after the cut is drawn anew, so the end is near and not the same.
    assert again["report"]["held_out_loss"] == pytest.approx(whole["report"]["held_out_loss"], abs=0.03)
    assert again["report"]["held_out_loss_before"] == whole["report"]["held_out_loss_before"]


def test_texts_of_test_weeks_must_not_be_read_before(shop: Settings) -> None:
    events = Lake.of(shop).latest_event
    assert events is not None
    number = pretrain(shop, until=events.isoformat()).inputs["pretrain"][0]["model_version_id"]
    request = check_request(shop, "retrain", {"start_from": str(number), "baselines": []})
    with pytest.raises(DataError, match=r"may have been trained on the answers.*segadmin enqueue pretrain --until"):
        Run(shop, "retrain", request).stage("prepare")


def test_what_cannot_be_pretrained_or_scored_with(shop: Settings, pretrained: int) -> None:
    request = check_request(shop, "pretrain", {"backbone": "tabular"})
    with pytest.raises(ConfigurationError, match="learns nothing from texts"):
        Run(shop, "pretrain", request).all()
    with pytest.raises(ConfigurationError, match=f"retrain --from {pretrained}"):
        check_request(shop, "score", {"model": str(pretrained)})
    with pytest.raises(ConfigurationError, match="cannot become 'minilm'"):
        check_request(shop, "retrain", {"start_from": str(pretrained), "backbone": "minilm"})
    with pytest.raises(ConfigurationError, match="'tabular' cannot use --from"):
        check_request(shop, "retrain", {"start_from": "champion"})
    with pytest.raises(DataError, match="No event is older"):
        pretrain(shop, until="1999-01-01")


def test_incremental_training_replays_some_old_rows(shop: Settings) -> None:
    early = LABELER | {"train_cuts": "4,5"}
    label(shop, LABELS, "future-spend", early)
    first = retrain(shop, backbone="tiny", backbone_options=TINY, margin=-1).published()
    number = str(first.inputs["evaluate"][0]["model_version_id"])
    same = check_request(shop, "retrain", {"start_from": number, "baselines": [], "margin": -1})
    with pytest.raises(DataError, match=r"Nothing is new.*--replay 1"):
        Run(shop, "retrain", same).stage("prepare")

    label(shop, LABELS, "future-spend", LABELER)
    request = check_request(shop, "retrain", {"start_from": number, "baselines": [], "margin": -1, "replay": 0.5})
    job = Run(shop, "retrain", request).published()
    prepared = job.inputs["prepare"][0]
    old, new = (dict(parts["parts"]) for parts in (first.inputs["prepare"][0]["data"], prepared["data"]))
    assert 0 < new["learnt"] < old["train"]  # about half of what it knew is left out
    assert new["train"] > 0
    assert prepared["request"]["seed"] == first.inputs["prepare"][0]["request"]["seed"]
    assert version_of(shop, job.inputs["evaluate"][0]["model_version_id"]).manifest["started_from"] == int(number)


def test_several_label_sets_at_once(shop: Settings) -> None:
    label(shop, "lapse", "future-lapse", LABELER)
    request = check_request(
        shop, "retrain", {"backbone": "tiny", "backbone_options": TINY, "labels": LABELS, "also": ["lapse"],
                          "baselines": [], "margin": -1},
    )  # fmt: skip
    job = Run(shop, "retrain", request).published()
    prepared = job.inputs["prepare"][0]
    beside, split = job.read(prepared["auxiliary"]["lapse"]["rows"]), job.read(prepared["split"])
    tested = split.filter(pl.col("part") == "test")
    assert beside["as_of"].max() < tested["as_of"].min()  # type: ignore[operator]
    held_out = split.filter(pl.col("part") == "validation")["user_key"]
    assert not set(beside["user_key"]) & set(held_out)
    version = version_of(shop, job.inputs["evaluate"][0]["model_version_id"])
    assert version.manifest["learnt_beside"] == {"lapse": ["no", "yes"]}
    assert len(version.segments) == 3
    with pytest.raises(ConfigurationError, match="Leave it out"):
        check_request(shop, "retrain", {"labels": LABELS, "also": [LABELS]})


def put_alone(settings: Settings, row: dict[str, Any]) -> None:
    """Label one row as a segment of its own."""
    lake = Lake.of(settings)
    labels = lake.scan("labels", label_set=LABELS).collect()
    only = (pl.col("user_key") == row["user_key"]) & (pl.col("as_of") == row["as_of"])
    grown = labels.with_columns(segment=pl.when(only).then(pl.lit("whale")).otherwise("segment"))
    lake.replace_partition("labels", grown, "label_set", LABELS)
    with transaction(settings) as session:
        label_set = session.get_one(LabelSet, LABELS)
        label_set.segments = [*label_set.segments, "whale"]
        session.add(label_set)


def test_a_label_set_that_grew_by_a_segment_of_one_user(shop: Settings) -> None:
    """The model learns the new segment as far as it can, going on too; lost again, the champion is not in the way."""
    first = retrain(shop, backbone="tiny", backbone_options=TINY).published()
    number = str(first.inputs["evaluate"][0]["model_version_id"])
    split = first.read(first.inputs["prepare"][0]["split"])
    row = split.filter(pl.col("part") == "train").row(0, named=True)
    put_alone(shop, row)
    request = check_request(
        shop, "retrain", {"start_from": number, "replay": 1, "baselines": ["tabular"], "margin": -1}
    )
    job = Run(shop, "retrain", request).published()
    version = version_of(shop, job.inputs["evaluate"][0]["model_version_id"])
    assert version.segments == ["low", "mid", "high", "whale"]
    assert "has other segments" in job.inputs["gate"][0]["reason"]

    label(shop, LABELS, "future-spend", LABELER)
    again = retrain(shop, margin=-1).published()
    assert version_of(shop, again.inputs["evaluate"][0]["model_version_id"]).segments == ["low", "mid", "high"]
    assert "has other segments" in again.inputs["gate"][0]["reason"]


def test_a_segment_without_training_rows_is_refused(shop: Settings) -> None:
    run = retrain(shop)
    tested = run.read(run.stage("prepare")[0]["split"]).filter(pl.col("part") == "test").row(0, named=True)
    put_alone(shop, tested)
    with pytest.raises(DataError, match="No training row is in the segment 'whale'"):
        retrain(shop).stage("prepare")
