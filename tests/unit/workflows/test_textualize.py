"""The ``textualize`` stage over a shop: who is read, when, and in which bucket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from segadmin.hashing import bucket_of
from segadmin.jobs.attempt import Attempt, Json
from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.lake import Lake
from segadmin.storage.records import Step
from segadmin.text.coverage import coverage
from segadmin.workflows.textualize import textualize
from tests.planted import BUCKETS, LABELS, Run, label_future_spend, more_weeks, plant, retrain


@dataclass(frozen=True)
class Texts:
    """What a textualize stage was given and what it wrote."""

    settings: Settings
    job: Run
    attempts: list[Attempt]
    results: list[Json]

    def frame(self, name: str) -> pl.DataFrame:
        """Return ``training`` or ``scoring`` of all steps."""
        return pl.concat(self.job.read(result[name]) for result in self.results)


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A shop with labels and no model yet."""
    settings = Settings(home=tmp_path_factory.mktemp("shop") / "home")
    plant(settings, users=60)
    label_future_spend(settings)
    yield settings
    database.engine(settings).dispose()


def run(settings: Settings, recipe: Json | None = None, **options: Any) -> Texts:
    job = retrain(settings, **options).until("textualize")
    job.inputs["prepare"][0]["text"]["recipe"] |= recipe or {}
    attempts = job.attempts("textualize")
    return Texts(settings, job, attempts, [textualize(attempt).result for attempt in attempts])


@pytest.fixture(scope="module")
def texts(stocked: Settings) -> Texts:
    return run(stocked)


def test_every_user_is_read_once_to_be_scored_and_stays_in_their_bucket(texts: Texts) -> None:
    assert [result["buckets"] for result in texts.results] == [[0, 1], [2, 3]]
    scoring = texts.frame("scoring")
    users = Lake.of(texts.settings).scan("users").collect()
    assert sorted(scoring["user_key"]) == sorted(users["user_key"])
    assert all(bucket_of(key, BUCKETS) == bucket for bucket, key in scoring.select("bucket", "user_key").iter_rows())
    for result, attempt in zip(texts.results, texts.attempts, strict=True):
        assert set(texts.job.read(result["scoring"])["bucket"]) <= set(attempt.buckets)
    assert scoring["phrases"].list.len().min() > 0  # type: ignore[operator]
    assert scoring["as_of"].n_unique() == 1


def test_labelled_users_are_read_at_each_of_their_windows(texts: Texts) -> None:
    training = texts.frame("training").select("user_key", "as_of")
    labels = Lake.of(texts.settings).scan("labels", label_set=LABELS).select("user_key", "as_of").collect()
    assert training["as_of"].n_unique() == 5
    assert sorted(training.rows()) == sorted(labels.rows())


def test_training_texts_hold_no_later_events(stocked: Settings) -> None:
    """The newest event in a training text is before its window's end, whatever happened since."""
    training = run(stocked, textualizer="timeline").frame("training").explode("phrases").drop_nulls("phrases")
    event_times = training.select(
        "as_of",
        at=pl.col("phrases").str.extract(r" at (\d{4}-\d\d-\d\d \d\d:\d\d)").str.to_datetime(time_zone="UTC"),
    ).drop_nulls()
    assert event_times.height > 500
    assert event_times.filter(pl.col("at") >= pl.col("as_of")).is_empty()


def test_the_report_adds_up(texts: Texts) -> None:
    for result in texts.results:
        frames = [texts.job.read(result[name]) for name in ("training", "scoring")]
        written = pl.concat(frames, how="diagonal")
        assert result["report"]["users"] == written.height
        assert result["report"]["phrases"] == written["phrases"].list.len().sum()
        assert result["report"]["distinct_phrases"] == written["phrases"].explode(empty_as_null=False).n_unique()


def test_phrases_beyond_the_cap_are_reported(stocked: Settings, texts: Texts) -> None:
    capped = run(stocked, {"max_phrases": 5})
    whole = texts.frame("scoring")["phrases"]
    assert capped.frame("scoring")["phrases"].to_list() == [phrases[:5] for phrases in whole.to_list()]
    lengths = pl.concat([whole, texts.frame("training")["phrases"]]).list.len()
    reports = [result["report"] for result in capped.results]
    assert sum(report["users_capped"] for report in reports) == (lengths > 5).sum() > 0
    assert sum(report["phrases_dropped"] for report in reports) == (lengths - lengths.clip(upper_bound=5)).sum()


def test_the_coverage_of_the_texts_is_one_line() -> None:
    report = {"users": 10, "users_without_events": 2, "events": 50, "phrases": 40, "distinct_phrases": 10}
    steps = [Step(job_id=1, stage="textualize", queue="cpu", result={"report": report}) for _ in range(2)]
    start = "20 texts, 4 of them of users without events · 4.0 phrases each of 5.0 events · 75% of the phrases"
    assert coverage(steps) == f"{start} are repeated"
    steps[1].result = {"report": report | {"users_capped": 3, "phrases_dropped": 20, "augmented": 7}}
    assert coverage(steps).endswith(" · 3 had too many: 20.0% left out · 7 copies to train on")
    assert coverage([Step(job_id=1, stage="finetune", queue="gpu", result={"report": {"rounds": 3}})]) == ""


def test_a_second_attempt_writes_the_same(texts: Texts) -> None:
    again = [textualize(attempt).result for attempt in texts.job.attempts("textualize", number=2)]
    for name in ("scoring", "training"):
        assert [result[name]["sha256"] for result in again] == [result[name]["sha256"] for result in texts.results]
        assert {result[name]["path"] for result in again}.isdisjoint(result[name]["path"] for result in texts.results)


def test_an_import_during_a_job_is_not_visible_to_it(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    users = plant(settings, users=60)
    label_future_spend(settings)
    job = retrain(settings).until("textualize")
    first, second = job.attempts("textualize")
    before = [textualize(attempt).result["scoring"]["sha256"] for attempt in (first, second)]
    again = textualize(first).result["scoring"]["sha256"]
    more_weeks(settings, users, range(13, 14), seed=5)
    assert [again, textualize(second).result["scoring"]["sha256"]] == before
    after = retrain(settings).until("textualize")
    assert textualize(after.attempts("textualize")[1]).result["scoring"]["sha256"] != before[1]
    database.engine(settings).dispose()
