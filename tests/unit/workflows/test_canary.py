"""A canary, from the gate of a retrain job to the decision of a refresh."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pluggy
import polars as pl
import pytest
from sqlmodel import select, update

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import DataError, PluginError, StorageError
from segadmin.files import folder_digest
from segadmin.models.aliases import champion, current_snapshot, pointed
from segadmin.models.canary import CanaryShare, list_canaries, stop_canary
from segadmin.models.registry import promote_version, roll_back_champion
from segadmin.settings import Settings
from segadmin.snapshots.diff import diff, find_two
from segadmin.snapshots.read import assignments
from segadmin.storage.audit import entries
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import (
    Canary,
    CanaryState,
    Current,
    Evaluation,
    Job,
    JobState,
    ModelVersion,
    SegmentSnapshot,
)
from tests.planted import LABELS, Run, copied, more_weeks, planted_users, retrain

SHARE = 0.4
#: Of another recipe than the champion's: users are read anew for one of the two.
OTHER_RECIPE = {"window_days": 56.0}


@pytest.fixture(scope="module")
def canary_home(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a shop with a canary that runs for 60 days: made once, to be copied."""
    with copied(trained_home, Settings(home=tmp_path_factory.mktemp("canary") / "home")) as settings:
        retrain(settings, seed=5, canary=SHARE, canary_days=60).published()
    return settings.root


@pytest.fixture
def canary_shop(settings: Settings, canary_home: Path) -> Iterator[Settings]:
    """Settings of a shop with a champion (version 1), and version 2 as its canary."""
    with copied(canary_home, settings):
        yield settings


def end_after_a_week(settings: Settings) -> None:
    """Let the canary run for 7 days instead of 60."""
    with transaction(settings) as session:
        canary = list_canaries(session)[0]
        canary.until = canary.since + timedelta(days=7)


def canary_of(settings: Settings) -> Canary:
    with transaction(settings) as session:
        return list_canaries(session)[0]


def current(settings: Settings) -> tuple[int | None, int | None]:
    with transaction(settings) as session:
        return pointed(session, champion(LABELS)), pointed(session, current_snapshot(LABELS))


def rows_of(settings: Settings, number: int) -> pl.DataFrame:
    return assignments(settings, number).sort("user_key").collect()


def wanted_versions(settings: Settings, rows: pl.DataFrame) -> list[int]:
    return CanaryShare.of(canary_of(settings)).versions(rows["user_key"]).to_list()


def check_equals_a_full_score(settings: Settings) -> None:
    """Check that the current snapshot is what a job `score` gives, user for user."""
    before = current(settings)[1] or 0
    Run(settings, "score", {}).published()
    full = current(settings)[1] or 0
    assert full != before
    columns = ["user_key", "segment", "model_version_id", "phrase_hash"]
    old, new = rows_of(settings, before), rows_of(settings, full)
    assert old.select(columns).equals(new.select(columns))
    assert old["probability"].to_list() == pytest.approx(new["probability"].to_list(), abs=1e-6)


def test_the_gate_starts_a_canary_and_scores_its_users_alone(shop: Settings) -> None:
    run = retrain(shop, seed=5, canary="40%").published()
    gate = run.inputs["gate"][0]
    assert gate["promoted"] is False
    assert "as a canary it scores 40% of the users until" in gate["reason"]
    canary = canary_of(shop)
    assert (canary.champion_id, canary.challenger_id, canary.share, canary.state) == (1, 2, 0.4, "running")
    assert canary.until - canary.since == timedelta(days=7)
    rows = rows_of(shop, 2)
    assert rows["model_version_id"].to_list() == wanted_versions(shop, rows)
    in_canary = rows.filter(pl.col("model_version_id") == 2).height
    assert 60 < in_canary < 132  # 40 % of 240, give or take
    assert (
        run.inputs["publish"][0].items()
        >= {
            "rescored": in_canary,
            "rescored_by": {"another model": in_canary},
            "carried": 240 - in_canary,
        }.items()
    )
    assert current(shop) == (1, 2)
    with transaction(shop) as session:
        snapshot = session.get_one(SegmentSnapshot, 2)
        assert (snapshot.model_version_id, snapshot.canary_id, snapshot.parts) == (1, canary.id, [1, 2])
    comparison = canary.comparison
    assert comparison["compared"] == comparison["users"] == in_canary
    assert {"auroc", "accuracy"} <= comparison["estimated"].keys()
    assert comparison["agreement_low"] <= comparison["agreement"] <= comparison["agreement_high"]
    assert sum(pair["champion"] for pair in comparison["segments"].values()) == pytest.approx(1)
    check_equals_a_full_score(shop)


@pytest.mark.parametrize("options", [{}, OTHER_RECIPE], ids=["same recipe", "other recipe"])
def test_refreshes_with_a_canary_equal_a_full_score(shop: Settings, options: dict[str, float]) -> None:
    users = planted_users(shop)
    more_weeks(shop, users.head(30), range(14, 15), seed=3)  # the others' segments are of the time before
    retrain(shop, seed=5, canary=SHARE, canary_days=60, **options).published()
    assert canary_of(shop).state == CanaryState.RUNNING
    rows = rows_of(shop, 2)
    assert rows["model_version_id"].to_list() == wanted_versions(shop, rows)
    check_equals_a_full_score(shop)
    more_weeks(shop, users.slice(20, 40), range(15, 16), seed=4)
    refresh = Run(shop, "refresh", {}).published()
    published = refresh.inputs["publish"][0]
    assert 0 < published["rescored"] < 240
    assert "another model" not in published["rescored_by"]
    check_equals_a_full_score(shop)
    stop_canary(shop)
    given_back = Run(shop, "refresh", {}).published().inputs["publish"][0]
    assert given_back["rescored_by"]["another model"] > 60
    assert rows_of(shop, current(shop)[1] or 0)["model_version_id"].unique().to_list() == [1]
    check_equals_a_full_score(shop)
    with transaction(shop) as session:
        assert session.get_one(SegmentSnapshot, current(shop)[1]).canary_id is None


def test_a_refresh_decides_when_the_time_is_over(shop: Settings) -> None:
    hookimpl, heard = pluggy.HookimplMarker("segadmin"), []

    class Listener:
        @hookimpl
        def model_promoted(self, version: ModelVersion) -> None:
            heard.append(version.id)

    listener, manager = Listener(), load_plugins(shop).manager
    manager.register(listener)
    try:
        retrain(shop, seed=5, canary=SHARE, canary_days=7).published()
        assert canary_of(shop).state == CanaryState.RUNNING
        assert heard == []
        more_weeks(shop, planted_users(shop), range(14, 16))
        decided = Run(shop, "refresh", {}).published().inputs["canary"][0]
    finally:
        manager.unregister(listener)
    assert decided["state"] == "promoted", decided["reason"]
    assert "it is not shown to be worse: both models agree on" in decided["reason"]
    assert heard == [2]
    canary = canary_of(shop)
    assert (canary.state, canary.reason) == (CanaryState.PROMOTED, decided["reason"])
    assert current(shop)[0] == 2
    audit = entries(shop, "models.canary")
    assert [(entry.action, entry.subject) for entry in audit] == [
        ("models.canary.promote", "model 2"),
        ("models.canary.start", "model 2"),
    ]
    assert "canary" in Run(shop, "refresh", {}).published().skipped
    assert rows_of(shop, current(shop)[1] or 0)["model_version_id"].unique().to_list() == [2]


def test_a_worse_challenger_is_stopped_by_its_estimate(shop: Settings) -> None:
    retrain(shop, backbone_options={"rounds": "1", "min_users": "200"}).published()  # it stays a challenger
    retrain(shop, seed=5, canary=0.9).published()
    with transaction(shop) as session:  # the gate would not have let it come so far
        session.exec(update(Canary).values(challenger_id=2))
    more_weeks(shop, planted_users(shop), range(14, 16))
    decided = Run(shop, "refresh", {}).published().inputs["canary"][0]
    assert decided["state"] == "stopped"
    assert "the estimated" in decided["reason"] or "the shares of the segments differ" in decided["reason"]
    assert current(shop)[0] == 1


def test_measured_outcomes_are_compared_once_they_are_known(canary_shop: Settings) -> None:
    more_weeks(canary_shop, planted_users(canary_shop), range(14, 17))
    run = Run(canary_shop, "refresh", {}).published()
    assert run.inputs["outcomes"][0]["measured"], run.inputs["outcomes"]
    measured = canary_of(canary_shop).comparison["measured"]
    assert measured["snapshot"] == 2
    assert 200 < measured["champion_users"] + measured["challenger_users"] <= 240  # some have no later events
    assert measured["metrics"]["auroc"].keys() == {"champion", "challenger", "low", "high"}
    with transaction(canary_shop) as session:
        rows = session.exec(select(Evaluation.name, Evaluation.model_version_id, Evaluation.rows)).all()
    by_name = {name: (version, count) for name, version, count in rows}
    assert by_name["snapshot 2"] == (1, measured["champion_users"])
    assert by_name["snapshot 2, canary"] == (2, measured["challenger_users"])


def test_a_second_canary_replaces_the_first(canary_shop: Settings) -> None:
    retrain(canary_shop, seed=6, canary=SHARE).published()
    with transaction(canary_shop) as session:
        states = [(row.challenger_id, row.state, row.reason) for row in list_canaries(session)]
    assert states == [(3, "running", None), (2, "stopped", "version 3 became the canary")]
    assert set(rows_of(canary_shop, current(canary_shop)[1] or 0)["model_version_id"]) == {1, 3}
    check_equals_a_full_score(canary_shop)


def test_a_promotion_by_hand_ends_it_and_a_rollback_takes_all_of_it_back(canary_shop: Settings) -> None:
    assert promote_version(canary_shop, "2").snapshot is None, "it has scored its share only"
    canary = canary_of(canary_shop)
    assert (canary.state, canary.reason) == (CanaryState.PROMOTED, "version 2 became champion")
    Run(canary_shop, "refresh", {}).published()
    assert rows_of(canary_shop, 3)["model_version_id"].unique().to_list() == [2]
    back = roll_back_champion(canary_shop)
    assert (back.champion, back.snapshot) == (1, 1), "snapshot 2 holds users whom version 2 scored"
    assert rows_of(canary_shop, 1)["model_version_id"].unique().to_list() == [1]


def test_a_rollback_of_the_first_champion_points_to_the_canary(canary_shop: Settings) -> None:
    stop = f"A canary of version 2 scores .*Stop it: segadmin models canary stop --labels {LABELS}"
    with pytest.raises(DataError, match=stop):
        roll_back_champion(canary_shop)


def test_a_canary_whose_challenger_is_gone_is_stopped(canary_shop: Settings) -> None:
    with transaction(canary_shop) as session:
        folder = session.get_one(ModelVersion, 2).folder
    shutil.rmtree(canary_shop.store_path / folder)
    Run(canary_shop, "refresh", {}).published()
    canary = canary_of(canary_shop)
    assert canary.state == CanaryState.STOPPED
    assert "the challenger cannot be used: The model folder" in (canary.reason or "")
    assert rows_of(canary_shop, current(canary_shop)[1] or 0)["model_version_id"].unique().to_list() == [1]


def test_a_gate_that_is_killed_starts_one_canary(shop: Settings) -> None:
    run = retrain(shop, seed=5, canary=SHARE).until("gate")
    run.call(run.attempts("gate")[0])  # and its worker dies: the outcome is never committed
    with transaction(shop) as session:
        assert list_canaries(session) == []
    run.all()
    with transaction(shop) as session:
        assert [row.state for row in list_canaries(session)] == [CanaryState.RUNNING]
    assert set(rows_of(shop, current(shop)[1] or 0)["model_version_id"]) == {1, 2}


def test_where_the_champion_has_no_snapshot_everybody_is_scored(shop: Settings) -> None:
    with transaction(shop) as session:
        session.delete(session.get_one(Current, current_snapshot(LABELS)))
    run = retrain(shop, seed=5, canary=SHARE, **OTHER_RECIPE).published()
    assert run.inputs["publish"][0].items() >= {"rescored": 240, "carried": 0}.items()
    rows = rows_of(shop, 2)
    assert rows["model_version_id"].to_list() == wanted_versions(shop, rows)
    check_equals_a_full_score(shop)


def test_other_segments_cannot_be_compared(shop: Settings) -> None:
    with transaction(shop) as session:
        session.exec(update(ModelVersion).values(segments=["low", "mid", "top"]))
    run = retrain(shop, seed=5, canary=SHARE).until("score")
    assert run.inputs["gate"][0]["promoted"] is False
    assert "as version 1, the champion, has other segments" in run.inputs["gate"][0]["reason"]
    assert "score" in run.skipped
    with transaction(shop) as session:
        assert list_canaries(session) == []


def test_a_stop_during_a_refresh_is_not_lost(canary_shop: Settings) -> None:
    end_after_a_week(canary_shop)
    more_weeks(canary_shop, planted_users(canary_shop), range(14, 16))
    run = Run(canary_shop, "refresh", {}).until("canary")
    decision = run.call(run.attempts("canary")[0])
    stop_canary(canary_shop, reason="complaints")
    assert run.finish(decision).items() >= {"state": "stopped", "reason": "complaints"}.items()
    assert current(canary_shop)[0] == 1


def test_the_second_of_two_refreshes_at_once_is_refused(canary_shop: Settings) -> None:
    more_weeks(canary_shop, planted_users(canary_shop).head(40), range(14, 15))
    first, second = (Run(canary_shop, "refresh", {}).until("publish") for _ in range(2))
    begun = second.call(second.attempts("publish")[0])
    first.all()
    with pytest.raises(StorageError, match="meanwhile"):
        second.finish(begun)
    second.all()
    rows = rows_of(canary_shop, current(canary_shop)[1] or 0)
    assert rows["model_version_id"].to_list() == wanted_versions(canary_shop, rows)


def test_users_who_change_models_moved_because_of_it(canary_shop: Settings) -> None:
    with transaction(canary_shop) as session:
        session.exec(update(Job).values(state=JobState.SUCCEEDED))
        pair = find_two(session, "1", "2")
    moved = diff(canary_shop, *pair).users.filter(pl.col("cause").is_not_null())
    in_canary = CanaryShare.of(canary_of(canary_shop)).contains(moved["user_key"])
    assert moved.height > 0
    assert in_canary.all()
    assert moved["cause"].unique().to_list() == ["another model"]
    changes = Lake.of(canary_shop).scan("changes").filter(pl.col("sequence") == 2).collect()
    assert sorted(changes["user_key"]) == sorted(moved["user_key"])
    assert changes["cause"].unique().to_list() == ["another model"]


def make_unreadable(settings: Settings, version: int) -> None:
    """Store other weights than were trained, which are whole and which no library can read."""
    with transaction(settings) as session:
        row = session.get_one(ModelVersion, version)
        folder = settings.store_path / row.folder
        (folder / "trees.txt").write_text("tree\nversion=v99\n")
        row.sha256 = folder_digest(folder)


@pytest.mark.parametrize("options", [{}, OTHER_RECIPE], ids=["same recipe", "other recipe"])
def test_the_champion_scores_the_users_of_a_challenger_that_fails(shop: Settings, options: dict[str, float]) -> None:
    retrain(shop, seed=5, canary=SHARE, canary_days=60, **options).published()
    more_weeks(shop, planted_users(shop).head(60), range(14, 15), seed=3)
    make_unreadable(shop, 2)
    run = Run(shop, "refresh", {}).published()
    canary = canary_of(shop)
    assert canary.state == CanaryState.STOPPED
    assert f"the challenger failed while it scored users: segadmin jobs show {run.job_id}" == canary.reason
    assert all("failed in" in step["canary_failure"] for step in run.inputs["score"])
    assert run.inputs["canary"][0].items() >= {"challenger": 2, "state": "stopped", "reason": canary.reason}.items()
    rows = rows_of(shop, current(shop)[1] or 0)
    assert rows["model_version_id"].unique().to_list() == [1]
    with transaction(shop) as session:
        assert session.get_one(SegmentSnapshot, current(shop)[1]).canary_id is None
    check_equals_a_full_score(shop)


def test_a_challenger_that_fails_only_in_some_buckets_keeps_its_rows_of_the_others(canary_shop: Settings) -> None:
    more_weeks(canary_shop, planted_users(canary_shop), range(14, 15), seed=3)
    run = Run(canary_shop, "refresh", {}).until("score_challenger")
    first, second = run.attempts("score_challenger")
    done = run.finish(run.call(first))
    make_unreadable(canary_shop, 2)
    run.inputs["score_challenger"] = [done, run.finish(run.call(second))]
    run.all()
    rows, share = rows_of(canary_shop, current(canary_shop)[1] or 0), CanaryShare.of(canary_of(canary_shop))
    in_first = rows["bucket"].is_in(list(first.buckets))
    assert rows.filter(in_first & share.contains(rows["user_key"]))["model_version_id"].unique().to_list() == [2]
    assert rows.filter(~in_first)["model_version_id"].unique().to_list() == [1]
    with transaction(canary_shop) as session:
        assert session.get_one(SegmentSnapshot, current(canary_shop)[1]).canary_id == share.canary_id
    Run(canary_shop, "refresh", {}).published()
    check_equals_a_full_score(canary_shop)


def test_a_challenger_that_fails_in_the_comparison_is_stopped(canary_shop: Settings) -> None:
    end_after_a_week(canary_shop)
    more_weeks(canary_shop, planted_users(canary_shop), range(14, 16))
    run = Run(canary_shop, "refresh", {}).until("canary")
    make_unreadable(canary_shop, 2)
    stopped = run.stage("canary")[0]
    assert stopped["state"] == "stopped"
    assert "failed in" in stopped["failure"]
    assert (
        f"the challenger failed while it was compared: segadmin jobs show {run.job_id}" == canary_of(canary_shop).reason
    )
    assert current(canary_shop)[0] == 1
    assert all("failed in" not in json.dumps(entry.details) for entry in entries(canary_shop, "models.canary"))


def test_a_champion_that_fails_fails_the_refresh(canary_shop: Settings) -> None:
    more_weeks(canary_shop, planted_users(canary_shop).head(60), range(14, 15), seed=3)
    make_unreadable(canary_shop, 1)
    with pytest.raises(PluginError, match="'tabular'"):
        Run(canary_shop, "refresh", {}).published()
    assert canary_of(canary_shop).state == CanaryState.RUNNING
