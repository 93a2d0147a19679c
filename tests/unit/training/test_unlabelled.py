"""Users without labels in a retrain: who is read, when, and what they did after."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import polars as pl
import pytest

from segadmin.errors import ConfigurationError, DataError
from segadmin.jobs.requests import check_request
from segadmin.labels.parts import SplitBy, SplitOptions
from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.lake import Lake
from segadmin.text.plan import TextPlan
from segadmin.text.recipe import Recipe
from segadmin.training.unlabelled import unlabelled_rows
from segadmin.workflows.retrain_request import Retrain
from tests.planted import LABELS, START, Run, label_future_spend, plant, retrain

FIRST_TEST = START + timedelta(weeks=10)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A shop in which only a fifth of the users is labelled."""
    settings = Settings(home=tmp_path_factory.mktemp("shop") / "home")
    plant(settings, users=150)
    label_future_spend(settings)
    lake = Lake.of(settings)
    labels = lake.scan("labels", label_set=LABELS).collect()
    some = labels["user_key"].unique().sort().gather_every(5)
    lake.replace_partition("labels", labels.filter(pl.col("user_key").is_in(some.implode())), "label_set", LABELS)
    yield settings
    database.engine(settings).dispose()


@pytest.fixture(scope="module")
def job(shop: Settings) -> Run:
    """A retrain that uses users without labels."""
    return retrain(shop, backbone="self-supervised", backbone_options={}, baselines=[]).published()


def test_unlabelled_users_are_read_before_the_test_and_held_out_users_never(job: Run) -> None:
    prepared = job.inputs["prepare"][0]
    rows, split = job.read(prepared["unlabelled"]), job.read(prepared["split"])
    assert rows["as_of"].unique().sort().to_list() == [START + timedelta(weeks=week) for week in (4, 6, 8)]
    assert rows["user_key"].n_unique() > 2 * split["user_key"].n_unique()
    held_out = split.filter(pl.col("part") == "validation")["user_key"]
    assert len(held_out)
    assert not set(rows["user_key"]) & set(held_out)
    windows = TextPlan.model_validate(prepared["text"]).outcomes.windows  # type: ignore[union-attr]
    assert max(window.as_of for window in windows) == FIRST_TEST


def test_outcomes_are_the_features_of_the_time_after(shop: Settings, job: Run) -> None:
    outcomes = pl.concat(job.read(texts["outcomes"]) for texts in job.inputs["textualize"])
    rows = job.read(job.inputs["prepare"][0]["unlabelled"])
    assert (
        outcomes.select("user_key", "as_of")
        .sort("as_of", "user_key")
        .equals(rows.select("user_key", "as_of").sort("as_of", "user_key"))
    )
    events = Lake.of(shop).scan("events").filter(pl.col("kind") == "purchase").collect()
    spend = pl.col("outcomes").list.get(3)
    for user, moment, spent in outcomes.sample(20, seed=1).select("user_key", "as_of", spend).iter_rows():
        after = events.filter(pl.col("user_key") == user, pl.col("at") >= moment, pl.col("at") < moment + timedelta(14))
        assert (spent or 0.0) == pytest.approx(after["price"].sum(), rel=1e-5)


def test_the_model_names_all_whom_it_learnt_from_and_predicts(shop: Settings, job: Run) -> None:
    rows = job.read(job.inputs["prepare"][0]["unlabelled"])
    recorded = Lake.of(shop).scan("trainings").filter(pl.col("job_id") == job.job_id).collect()
    assert set(rows["user_key"]) <= set(recorded["user_key"])
    tested = next(row for row in job.inputs["evaluate"][0]["evaluations"] if row["split"] == "test")
    assert tested["auroc"] > 0.6  # of thirty labelled users


def test_a_search_uses_unlabelled_users_too(shop: Settings) -> None:
    options = {"backbone": "self-supervised", "labels": LABELS, "search": {"dimensions": "4,8"}}
    search = Run(shop, "tune", check_request(shop, "tune", options | {"trials": 2, "parallel": 1})).all()
    assert len(search.inputs["choose"][0]["trials"]) == 2


def test_split_by_user_no_test_user_is_among_them(shop: Settings, job: Run) -> None:
    recipe = Recipe.model_validate(job.inputs["prepare"][0]["text"]["recipe"])
    split = job.read(job.inputs["prepare"][0]["split"])
    by_user = unlabelled_rows(Lake.of(shop), recipe, split, SplitOptions(by=SplitBy.USER, seed=17))
    by_time = unlabelled_rows(Lake.of(shop), recipe, split, SplitOptions(by=SplitBy.TIME, seed=17))
    assert by_user.rows["user_key"].n_unique() < by_time.rows["user_key"].n_unique()
    assert by_user.outcomes.windows[-1].as_of > FIRST_TEST, "the last weeks of other users may be learnt from"


def test_a_short_history_is_refused(shop: Settings, job: Run) -> None:
    recipe = Recipe.model_validate(job.inputs["prepare"][0]["text"]["recipe"]).model_copy(update={"window_days": 300.0})
    split = job.read(job.inputs["prepare"][0]["split"])
    with pytest.raises(DataError, match=r"300 days of events before 2025-03-17.*--window-days"):
        unlabelled_rows(Lake.of(shop), recipe, split, SplitOptions())


def test_of_many_users_a_fixed_fraction_is_read(shop: Settings, job: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe.model_validate(job.inputs["prepare"][0]["text"]["recipe"])
    split = job.read(job.inputs["prepare"][0]["split"])
    everybody = unlabelled_rows(Lake.of(shop), recipe, split, SplitOptions()).rows
    monkeypatch.setattr("segadmin.training.unlabelled._MOST_ROWS", 90)
    some, again = (unlabelled_rows(Lake.of(shop), recipe, split, SplitOptions()).rows for _ in range(2))
    assert 45 < some.height < 135 < everybody.height
    assert some.equals(again)
    assert some.join(everybody, on=["user_key", "as_of"], how="anti").is_empty()


def test_it_is_no_baseline(shop: Settings) -> None:
    with pytest.raises(ConfigurationError, match=r"--baseline self-supervised.*--backbone self-supervised"):
        Retrain(labels=LABELS, baselines=("self-supervised",)).completed(shop)


def test_labels_with_windows_of_their_own_at_a_shared_cut_off(shop: Settings, job: Run) -> None:
    lake = Lake.of(shop)
    labels = lake.scan("labels", label_set=LABELS).collect()
    shorter = pl.col("as_of") == START + timedelta(weeks=8)
    earlier = pl.when(shorter).then(pl.col("observed_from") + timedelta(days=1)).otherwise("observed_from")
    lake.replace_partition("labels", labels.with_columns(earlier.alias("observed_from")), "label_set", LABELS)
    own = retrain(shop, backbone="self-supervised", backbone_options={}, baselines=[]).until("baselines")
    rows = own.read(own.inputs["prepare"][0]["unlabelled"]).select("user_key", "as_of")
    texts = pl.concat(own.read(each["training"]) for each in own.inputs["textualize"])
    assert rows.join(texts, on=["user_key", "as_of"], how="anti").is_empty()
