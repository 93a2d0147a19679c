from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest

from segadmin.errors import BackboneUnavailable, DataError, PluginNotFound
from segadmin.labels.label_sets import read_labels
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import LabelSet
from tests.planted import LABELS, Run, plant, planted_users, retrain


def _import(
    settings: Settings, users: pl.DataFrame, segments: list[str], declared: tuple[str, ...] = ("a", "b")
) -> None:
    """Keep a label without any times for the first of ``users``, as an import of such a table does."""
    rows = users.head(len(segments)).select("bucket", "user_key", label_set=pl.lit("mine"))
    times = {name: pl.lit(None, pl.Datetime("us", "UTC")) for name in ("observed_from", "as_of", "outcome_until")}
    rows = rows.with_columns(pl.Series("segment", segments), **times)
    Lake.of(settings).replace_partition("labels", rows, "label_set", "mine")
    with transaction(settings) as session:
        session.merge(LabelSet(name="mine", labeler="table", segments=list(declared), rows=len(segments)))


def test_labels_without_times_refer_to_the_newest_event(shop: Settings) -> None:
    _import(shop, planted_users(shop), ["a", "b"] * 30)
    labels = read_labels(shop, "mine", window_days=14.0)
    latest = Lake.of(shop).latest_event
    assert labels.rows["as_of"].unique().to_list() == [latest + timedelta(microseconds=1)]
    assert labels.rows["outcome_until"].null_count() == 0
    assert labels.window_days == pytest.approx(14)
    assert len(labels.windows) == 1


def test_labels_without_times_need_a_split_by_user(shop: Settings) -> None:
    users = planted_users(shop)
    often = users["rate"] > users["rate"].median()
    _import(shop, users, ["a" if is_often else "b" for is_often in often], declared=("b", "a"))
    with pytest.raises(DataError, match="--split user"):
        retrain(shop, labels="mine", baselines=[]).stage("prepare")
    run = retrain(shop, labels="mine", baselines=[], split="user").all()
    assert run.inputs["evaluate"][0]["evaluations"][0]["auroc"] > 0.8


def test_no_events(settings: Settings) -> None:
    with pytest.raises(DataError, match=r"There are no events yet.*segadmin data import"):
        retrain(settings).stage("prepare")


def test_no_labels(settings: Settings) -> None:
    plant(settings, users=5, weeks=1)
    with pytest.raises(DataError, match=r"There are no labels to learn from.*segadmin data import labels"):
        retrain(settings).stage("prepare")


def test_a_misspelt_label_set_gets_a_suggestion(shop: Settings) -> None:
    with pytest.raises(DataError, match=r"no labels 'spend4'. Did you mean 'spend3'"):
        retrain(shop, labels="spend4").stage("prepare")


@pytest.mark.parametrize(
    ("segments", "declared", "complaint"),
    [
        (["a"] * 50, ("a",), "All labels of 'mine' are 'a'"),
        (["a", "b"] * 25, ("a", "b", "c"), "No user is labelled 'c'"),
        (["a", "b"] * 25, ("a", "c"), "rows in 'b', which is none of their segments"),
        (["a", "b"] * 2, ("a", "b"), r"Split by user, 4 labelled rows leave \d for train, 20 are needed"),
    ],
)
def test_labels_that_cannot_be_learnt_from(
    shop: Settings, segments: list[str], declared: tuple[str, ...], complaint: str
) -> None:
    _import(shop, planted_users(shop), segments, declared)
    with pytest.raises(DataError, match=complaint):
        retrain(shop, labels="mine", split="user").stage("prepare")


def test_two_labels_for_one_moment_are_refused_and_repeated_rows_are_not(shop: Settings) -> None:
    users = planted_users(shop).head(60)
    _import(shop, pl.concat([users, users]), ["a", "b"] * 60)
    assert read_labels(shop, "mine", 14.0).rows.height == 60
    _import(shop, pl.concat([users, users]), ["a", "b"] * 30 + ["b", "a"] * 30)
    with pytest.raises(DataError, match=r"Users of 'mine' with several labels for one moment .*: 60"):
        read_labels(shop, "mine", 14.0)


def test_unusable_plugins_are_reported_before_any_work(shop: Settings) -> None:
    with pytest.raises(PluginNotFound, match=r"no backbone 'tabulr'. Did you mean 'tabular'"):
        retrain(shop, backbone="tabulr").stage("prepare")
    with pytest.raises(BackboneUnavailable, match="no-such/model"):
        retrain(shop, backbone="no-such/model", backbone_options={}).stage("prepare")
    with pytest.raises(PluginNotFound, match=r"no textualizer 'mixd'. Did you mean 'mixed'"):
        retrain(shop, textualizer="mixd").stage("prepare")


def test_categories_come_from_what_training_users_did_before_the_test(shop: Settings) -> None:
    late = (
        planted_users(shop)
        .select("bucket", "user_key")
        .with_columns(
            event_id=pl.int_range(pl.len()),
            kind=pl.lit("purchase"),
            item=pl.lit("late-0"),
            at=pl.lit(Lake.of(shop).latest_event),
            **{name: pl.lit(None) for name in ("quantity", "price", "duration", "rating", "text", "extras")},
        )
    )
    lake = Lake.of(shop)
    item = pl.DataFrame({"item": ["late-0"], "category": ["late"]})
    lake.append("items", item.with_columns(**{name: pl.lit(None) for name in ("title", "brand", "price", "extras")}))
    lake.append("events", late)
    prepared = retrain(shop).stage("prepare")[0]
    assert set(prepared["text"]["recipe"]["categories"]) == {"milk", "bread", "coffee", "games"}
    assert datetime.fromisoformat(prepared["text"]["scoring"]["as_of"]) > lake.latest_event


def test_label_set_is_the_only_one_there_is_by_default(shop: Settings) -> None:
    assert Run(shop, "retrain", {"backbone": "tabular"}).stage("prepare")[0]["label_set"] == LABELS
