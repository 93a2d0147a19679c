from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest
from sqlmodel import select

from segadmin.events.erase import forget
from segadmin.models.aliases import current_snapshot, pointed
from segadmin.settings import Settings
from segadmin.snapshots.policy import Cause, TimePolicy
from segadmin.snapshots.read import assignments
from segadmin.snapshots.stale import StaleUsers
from segadmin.snapshots.user import history
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Job, JobState, SegmentSnapshot
from segadmin.workflows.prepared import PreparedSegments
from segadmin.workflows.scored import scoring_of
from segadmin.workflows.scoring_groups import groups_of, stale_users
from tests.planted import BUCKETS, LABELS, START, Run, more_weeks, planted_users

ON_EVENT = {"time": "on-event"}


def _snapshot(settings: Settings, number: int) -> SegmentSnapshot:
    with transaction(settings) as session:
        return session.get_one(SegmentSnapshot, number)


def _read(run: Run) -> set[int]:
    """Return the users whose text was read."""
    texts = [run.read(output["scoring"]) for output in run.inputs["textualize"] if output["scoring"]]
    return set(pl.concat(texts)["user_key"])


def _causes(run: Run) -> dict[int, str]:
    scores = pl.concat([run.read(output["scores"]) for output in run.inputs["score"]])
    return dict(scores.select("user_key", "cause").iter_rows())


def test_only_users_with_new_events_are_read_and_written(shop: Settings) -> None:
    active = planted_users(shop).head(20)
    more_weeks(shop, active, range(14, 15))
    with_events = Lake.of(shop).scan("events").filter(pl.col("at") >= START + timedelta(weeks=14)).collect()["user_key"]
    run = Run(shop, "refresh", ON_EVENT).published()
    assert _read(run) == set(with_events)
    assert set(_causes(run).values()) == {Cause.EVENTS}
    written = Lake.of(shop).scan("assignments", snapshot_id=2).collect()
    assert set(written["user_key"]) == set(with_events)
    assert written["changed_in"].unique().to_list() == [2]
    snapshot = _snapshot(shop, 2)
    assert (snapshot.parts, snapshot.users, snapshot.carried) == ([1, 2], 240, 240 - written.height)
    assert snapshot.rescored_by == {"new events": written.height}
    whole = assignments(shop, 2).collect()
    assert whole.height == 240
    unchanged = whole.filter(pl.col("snapshot_id") == 1).drop("bucket").sort("user_key")
    before = assignments(shop, 1).filter(~pl.col("user_key").is_in(list(with_events))).drop("bucket").sort("user_key")
    assert unchanged.equals(before.collect())


def test_a_late_event_is_noticed_although_no_time_passed(shop: Settings) -> None:
    [late] = planted_users(shop).head(1).iter_rows(named=True)
    events = Lake.of(shop).scan("events").filter(pl.col("user_key") == late["user_key"]).collect().head(1)
    at = START + timedelta(weeks=13)
    Lake.of(shop).append("events", events.with_columns(at=pl.lit(at), event_id=pl.lit(4711)))
    run = Run(shop, "refresh", {}).published()
    assert _causes(run) == {late["user_key"]: Cause.EVENTS}


def test_an_event_older_than_the_window_changes_nothing(shop: Settings) -> None:
    events = Lake.of(shop).scan("events").collect().head(1)
    at = START - timedelta(weeks=60)
    Lake.of(shop).append("events", events.with_columns(at=pl.lit(at), event_id=pl.lit(4711)))
    assert Run(shop, "refresh", {}).published().inputs["publish"][0]["unchanged"]


def test_a_renamed_category_is_noticed_by_those_who_bought_it(shop: Settings) -> None:
    lake = Lake.of(shop)
    bought = lake.scan("events").filter(pl.col("item") == "games-1", pl.col("at") >= START + timedelta(weeks=10))
    buyers = set(bought.collect()["user_key"])
    renamed = pl.when(pl.col("item") == "games-1").then(pl.lit("chess"))
    lake.overwrite("items", lake.scan("items").with_columns(category=renamed.otherwise("category")).collect())
    causes = _causes(Run(shop, "refresh", ON_EVENT).published())
    assert causes == dict.fromkeys(buyers, Cause.ITEMS)
    assert 0 < len(buyers) < 240


def test_new_users_are_added_and_erased_ones_are_gone(shop: Settings) -> None:
    lake = Lake.of(shop)
    [user] = planted_users(shop).head(1).select("user", "user_key", "bucket").iter_rows(named=True)
    forget_all_jobs(shop)
    forget(shop, ["user-3"])
    lake.append("users", pl.DataFrame([{**user, "user": "new", "user_key": 77 * 4 + user["bucket"]}]))
    run = Run(shop, "refresh", {}).published()
    assert _causes(run) == {77 * 4 + user["bucket"]: Cause.NEW}
    assert run.inputs["publish"][0]["users"] == 240
    assert assignments(shop, 2).collect().height == 240


def forget_all_jobs(settings: Settings) -> None:
    """Let all jobs be done: an erasure waits for those under way."""
    with transaction(settings) as session:
        for job in session.exec(select(Job)).all():
            job.state = JobState.SUCCEEDED
            session.add(job)


def test_a_user_who_is_not_in_the_store_any_more_has_left(shop: Settings) -> None:
    [user] = planted_users(shop).head(1).iter_rows(named=True)
    Lake.of(shop).delete("users", f"user_key = {user['user_key']}")
    Run(shop, "refresh", {}).published()
    assert _snapshot(shop, 2).users == 239
    assert user["user_key"] not in assignments(shop, 2).collect()["user_key"]
    assert [row.snapshot_id for row in history(shop, user["user_key"])] == [1]
    more_weeks(shop, planted_users(shop).tail(3), range(14, 15))
    Run(shop, "refresh", ON_EVENT).published()
    assert user["user_key"] not in assignments(shop, 3).collect()["user_key"]


def _one_event(settings: Settings, after: timedelta) -> None:
    """Let time pass: one user has an event."""
    lake = Lake.of(settings)
    event = lake.scan("events").filter(pl.col("user_key") == planted_users(settings)["user_key"][0]).collect().head(1)
    latest = lake.scan("events").select(pl.col("at").max()).collect().item()
    lake.append("events", event.with_columns(at=pl.lit(latest + after), event_id=pl.lit(4711 + after.days)))


def _hashes(run: Run) -> pl.DataFrame:
    """Return the hash of every user's text at the scoring window of a job."""
    whole = Run(run.settings, "score", {}).until("score")
    return pl.concat([whole.read(output["scoring"]) for output in whole.inputs["textualize"]]).select(
        "user_key", "phrase_hash"
    )


@pytest.mark.parametrize("policy", TimePolicy)
def test_silent_users_are_read_as_often_as_the_policy_says(shop: Settings, policy: TimePolicy) -> None:
    reads_silent = policy is TimePolicy.EXACT
    _one_event(shop, timedelta(hours=20))
    run = Run(shop, "refresh", {"time": policy.value}).published()
    assert (len(_read(run)) > 1) is reads_silent
    assert _snapshot(shop, 2).everyone_read_at == _snapshot(shop, 2 if reads_silent else 1).as_of


@pytest.mark.parametrize("hours", [1, 20, 24 * 9])
def test_only_those_are_read_whose_text_may_have_changed(shop: Settings, hours: int) -> None:
    before = assignments(shop, 1).select("user_key", "phrase_hash", "next_change").collect()
    assert before["next_change"].null_count() == 0
    _one_event(shop, timedelta(hours=hours))
    run = Run(shop, "refresh", {}).published()
    now = _hashes(run)
    changed = set(now.join(before, on=["user_key", "phrase_hash"], how="anti")["user_key"])
    assert changed <= _read(run)
    due = before.filter(pl.col("next_change") <= pl.lit(_snapshot(shop, 2).as_of))
    assert _read(run) <= {*due["user_key"], planted_users(shop)["user_key"][0]}
    assert len(_read(run)) < 120 or hours > 1
    after = assignments(shop, 2).select("user_key", "phrase_hash").collect().sort("user_key")
    assert after.equals(now.sort("user_key"))


def test_who_was_read_in_vain_is_read_again_when_it_may_matter(shop: Settings) -> None:
    for hours in (20, 1):
        _one_event(shop, timedelta(hours=hours))
        run = Run(shop, "refresh", {}).published()
    moments = assignments(shop, 3).select("user_key", "next_change").collect()
    assert moments.filter(pl.col("next_change") <= pl.lit(_snapshot(shop, 3).as_of)).is_empty()
    assert len(_read(run)) < 120


def test_rows_without_a_moment_are_read(shop: Settings) -> None:
    """So are those of an older release, and of textualizers that do not know."""
    lake = Lake.of(shop)
    rows = lake.scan("assignments").collect().with_columns(next_change=pl.lit(None))
    lake.replace_partition("assignments", rows, "snapshot_id", "1")
    _one_event(shop, timedelta(hours=1))
    assert len(_read(Run(shop, "refresh", {}).published())) == 240


def test_policies_are_due_once_their_time_has_passed() -> None:
    day = timedelta(days=1)
    assert not TimePolicy.DAILY.is_due(START, START + day - timedelta(seconds=1))
    assert TimePolicy.DAILY.is_due(START, START + day)
    assert not TimePolicy.WEEKLY.is_due(START, START + 6 * day)
    assert TimePolicy.WEEKLY.is_due(START, START + 7 * day)
    assert TimePolicy.WEEKLY.is_due(None, START)
    assert not TimePolicy.ON_EVENT.is_due(None, START)


def test_a_snapshot_is_written_whole_where_most_has_changed(shop: Settings) -> None:
    users = planted_users(shop)
    for week, count in ((14, 60), (15, 110)):
        more_weeks(shop, users.head(count), range(week, week + 1))
        Run(shop, "refresh", ON_EVENT).published()
    assert [_snapshot(shop, number).parts for number in (2, 3)] == [[1, 2], [3]]
    rows = Lake.of(shop).scan("assignments", snapshot_id=3).collect()
    assert rows.height == 240
    assert set(rows["changed_in"]) == {1, 3}
    assert _snapshot(shop, 3).carried == rows.filter(pl.col("changed_in") < 3).height


def test_a_snapshot_is_whole_if_another_became_current_meanwhile(shop: Settings) -> None:
    more_weeks(shop, planted_users(shop).head(10), range(14, 15))
    first, second = Run(shop, "refresh", ON_EVENT).until("publish"), Run(shop, "refresh", ON_EVENT).until("publish")
    first.stage("publish")
    second.stage("publish")
    assert [_snapshot(shop, number).parts for number in (2, 3)] == [[1, 2], [1, 3]]
    assert _snapshot(shop, 3).moved == 0
    both = [assignments(shop, number).drop("snapshot_id", "changed_in").sort("user_key").collect() for number in (2, 3)]
    assert both[0].equals(both[1])
    with transaction(shop) as session:
        assert pointed(session, current_snapshot(LABELS)) == 3


def _stale(settings: Settings) -> StaleUsers:
    """Return who a refresh would read now."""
    attempt = Run(settings, "refresh", {}).until("textualize").attempts("textualize")[0]
    prepared = attempt.output(PreparedSegments)
    [group] = groups_of(settings, prepared.text, scoring_of(attempt, prepared))
    return stale_users(settings, group, range(BUCKETS))


def _both_ways(stale: StaleUsers) -> tuple[dict[int, str], dict[int, str]]:
    """Return the cause of each user, by what came in since, and by comparing the events of all."""
    known, compared = (
        pl.concat([users for _, users in each.groups(range(BUCKETS))]) for each in (stale, replace(stale, changes=None))
    )
    return dict(known.select("user_key", "cause").iter_rows()), dict(compared.select("user_key", "cause").iter_rows())


def test_the_log_tells_the_same_as_comparing_all_events(shop: Settings) -> None:
    lake, users = Lake.of(shop), planted_users(shop)
    more_weeks(shop, users.head(9), range(14, 15))
    late = lake.scan("events").filter(pl.col("user_key") == users["user_key"][20]).collect().head(1)
    lake.append("events", late.with_columns(at=pl.lit(START + timedelta(weeks=13)), event_id=pl.lit(4711)))
    old = lake.scan("events").filter(pl.col("user_key") == users["user_key"][30]).collect().head(1)
    lake.append("events", old.with_columns(at=pl.lit(START - timedelta(weeks=60)), event_id=pl.lit(4712)))
    lake.compact("events")
    stale = _stale(shop)
    assert stale.changes is not None
    assert not stale.changes.rewritten
    known, compared = _both_ways(stale)
    assert known == compared
    events = {user for user, cause in known.items() if cause == Cause.EVENTS}
    assert users["user_key"][20] in events
    assert users["user_key"][30] not in events


def test_where_events_were_removed_all_are_compared(shop: Settings) -> None:
    lake, users = Lake.of(shop), planted_users(shop)
    lost = users.row(0, named=True)
    lake.delete("events", f"user_key = {lost['user_key']} AND at > '{START + timedelta(weeks=12):%Y-%m-%d}T00:00:00Z'")
    more_weeks(shop, users.tail(3), range(14, 15))
    stale = _stale(shop)
    assert stale.changes is not None
    assert stale.changes.rewritten == {lost["bucket"]}
    known, compared = _both_ways(stale)
    assert known == compared
    assert known[lost["user_key"]] == Cause.EVENTS


def test_without_the_log_all_are_compared(shop: Settings) -> None:
    more_weeks(shop, planted_users(shop).head(3), range(14, 15))
    Lake.of(shop).drop_history("events")
    stale = _stale(shop)
    assert stale.changes is None
    assert len(_causes(Run(shop, "refresh", ON_EVENT).published())) == 3
