"""Corrections hold at once and after every job, until they expire or are withdrawn."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlmodel import col, select, update

from segadmin.errors import ConfigurationError, DataError, InvalidTransition, StorageError, UserNotFound
from segadmin.events.erase import forget
from segadmin.events.keys import show_key
from segadmin.events.merge import UserPair, merge_users, undo_merge
from segadmin.jobs.control import retry
from segadmin.labels.corrections import in_force
from segadmin.models.aliases import current_snapshot, pointed
from segadmin.settings import Settings
from segadmin.snapshots import changes
from segadmin.snapshots.corrections import correct, corrections_of, pin, withdraw
from segadmin.snapshots.diff import diff
from segadmin.snapshots.export import Audience, audience
from segadmin.snapshots.lookup import SegmentLookup
from segadmin.snapshots.publish import commit_assignments
from segadmin.snapshots.publish_overrides import publish_overrides
from segadmin.snapshots.read import assignments, find_snapshot, summaries
from segadmin.snapshots.user import find_user, history
from segadmin.storage import audit
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import CORRECT_KIND, NOT_ENOUGH, Correction, Job, JobState, SegmentSnapshot
from tests.feeds import replayed, segments_of
from tests.planted import LABELS, Run, more_weeks, planted_users

SEGMENTS = ["low", "mid", "high"]


def current(settings: Settings) -> SegmentSnapshot:
    with transaction(settings) as session:
        return session.get_one(SegmentSnapshot, pointed(session, current_snapshot(LABELS)))


def row_of(settings: Settings, key: int) -> dict[str, object]:
    rows = assignments(settings, current(settings).id or 0).filter(pl.col("user_key") == key).collect()
    assert rows.height == 1
    return rows.row(0, named=True)


def another(segment: object) -> str:
    return next(name for name in SEGMENTS if name != segment)


def followed(settings: Settings) -> dict[str, str | None]:
    """Return the segments that a receiver of the feed knows."""
    rows = Lake.of(settings).scan("changes").sort("sequence", "position").collect()
    return replayed(rows.iter_rows(named=True))


def let_expire(settings: Settings, correction: Correction) -> None:
    with transaction(settings) as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        session.exec(update(Correction).where(Correction.id == correction.id).values(expires_at=past))


def test_a_correction_holds_at_once_and_only_for_its_user(shop: Settings) -> None:
    key, lookup = find_user(shop, "user-7"), SegmentLookup(shop)
    before, others = row_of(shop, key), segments_of(shop, 1)
    wanted = another(before["segment"])
    assert lookup.find([key]).corrected is False
    done = correct(shop, "user-7", wanted, "the shop assistant knows", actor="anna")
    after = row_of(shop, key)
    assert (done.before, done.snapshot_id, done.replaced) == (before["segment"], 2, None)
    assert (after["segment"], after["overridden_by"], after["model_segment"]) == (
        wanted,
        "correction",
        before["segment"],
    )
    assert after["probabilities"] == before["probabilities"]
    assert after["probability"] == before["probabilities"][SEGMENTS.index(wanted)]
    assert after["cause"] == "correction"
    assert segments_of(shop, 2) == others | {show_key(key): wanted}
    assert (lookup.find([key]).segment, lookup.find([key]).corrected) == (wanted, True)
    snapshot = current(shop)
    assert (snapshot.users, snapshot.moved, snapshot.corrected, snapshot.rescored) == (240, 1, 1, 0)
    with transaction(shop) as session:
        assert sum(row.users for row in summaries(session, 2)) == 240
        job = session.get_one(Job, snapshot.job_id)
    assert (job.kind, job.state, job.error) == ("correct", "succeeded", None)


def test_the_feed_and_the_difference_name_the_correction(shop: Settings) -> None:
    key = find_user(shop, "user-7")
    wanted = another(row_of(shop, key)["segment"])
    correct(shop, "user-7", wanted, "knows better")
    assert followed(shop) == segments_of(shop, 2)
    newest = Lake.of(shop).scan("changes").filter(pl.col("snapshot_id") == 2).collect()
    assert newest.select("user_key", "to_segment", "cause").rows() == [(key, wanted, "correction")]
    with transaction(shop) as session:
        pair = session.get_one(SegmentSnapshot, 1), session.get_one(SegmentSnapshot, 2)
    assert [(each.after, each.cause) for each in diff(shop, *pair).movements] == [(wanted, "correction")]


def test_a_correction_survives_refreshes_and_scores(shop: Settings) -> None:
    users = planted_users(shop)
    busy = users.sort("rate", descending=True)["user"][0]
    silent = users.sort("rate")["user"][0]
    keys = [find_user(shop, user) for user in (busy, silent)]
    correct(shop, busy, "low", "a reseller", expires_at=datetime.now(UTC) + timedelta(days=1))
    correct(shop, silent, "high", "buys in the store")
    more_weeks(shop, users.filter(pl.col("user") == busy), range(14, 16))
    for kind in ("refresh", "score"):
        Run(shop, kind, {}).published()
        assert [row_of(shop, key)["segment"] for key in keys] == ["low", "high"]
        assert current(shop).corrected == 2
    scored = row_of(shop, keys[0])
    assert scored["model_segment"] == SEGMENTS[max(range(3), key=lambda n: scored["probabilities"][n])]
    assert followed(shop) == segments_of(shop, current(shop).id or 0)


def test_the_refresh_after_the_end_returns_the_user_to_the_model(shop: Settings) -> None:
    key = find_user(shop, "user-7")
    own = row_of(shop, key)["segment"]
    done = correct(shop, "user-7", another(own), "for now", expires_at=datetime.now(UTC) + timedelta(days=1))
    Run(shop, "refresh", {}).published()
    assert current(shop).id == 2  # nothing changed, so nothing was published
    let_expire(shop, done.correction)
    Run(shop, "refresh", {}).published()
    after = row_of(shop, key)
    assert (after["segment"], after["overridden_by"], after["cause"]) == (own, None, "correction ended")
    assert (current(shop).moved, current(shop).corrected) == (1, 0)
    Run(shop, "refresh", {}).published()
    assert current(shop).id == 3 or current(shop).moved == 0


def test_a_user_scored_in_the_same_refresh_is_told_that_the_correction_ended(shop: Settings) -> None:
    users = planted_users(shop)
    key = find_user(shop, "user-7")
    done = correct(shop, "user-7", another(row_of(shop, key)["segment"]), "for now")
    let_expire(shop, done.correction)
    more_weeks(shop, users.filter(pl.col("user") == "user-7"), range(14, 15), seed=5)
    Run(shop, "refresh", {}).published()
    after = row_of(shop, key)
    assert (after["overridden_by"], after["cause"]) == (None, "correction ended")


def test_a_withdrawal_holds_at_once(shop: Settings) -> None:
    key = find_user(shop, "user-7")
    before = row_of(shop, key)
    correct(shop, "user-7", another(before["segment"]), "a guess")
    done = withdraw(shop, "user-7", "the guess was wrong", actor="bert")
    after = row_of(shop, key)
    assert (done.snapshot_id, after["segment"], after["cause"]) == (3, before["segment"], "correction ended")
    assert (after["probability"], after["overridden_by"]) == (before["probability"], None)
    with transaction(shop) as session:
        assert in_force(session, LABELS) == []
        assert corrections_of(session, key)[0].withdrawn_because == "the guess was wrong"


def test_another_correction_replaces_the_one_before(shop: Settings) -> None:
    key = find_user(shop, "user-7")
    first = correct(shop, "user-7", "low", "one")
    second = correct(shop, "user-7", "high", "two")
    assert (second.replaced, row_of(shop, key)["segment"]) == (first.correction.id, "high")
    with transaction(shop) as session:
        assert [each.id for each in in_force(session, LABELS)] == [second.correction.id]


def test_a_correction_under_the_key_of_a_merged_user_is_withdrawn_by_either_id(shop: Settings) -> None:
    old, new = find_user(shop, "user-7"), find_user(shop, "user-8")
    own = row_of(shop, new)["segment"]
    made = correct(shop, "user-7", another(own), "as a visitor")
    merge_users(shop, [UserPair("user-7", "user-8")])
    Run(shop, "refresh", {}).published()
    assert row_of(shop, new)["overridden_by"] == "correction"
    with transaction(shop) as session:
        assert [each.id for each in corrections_of(session, new)] == [made.correction.id]
        assert [each.id for each in corrections_of(session, old)] == [made.correction.id]
    assert withdraw(shop, "user-8", "a customer now").correction.id == made.correction.id
    assert row_of(shop, new)["overridden_by"] is None
    assert followed(shop) == segments_of(shop, current(shop).id or 0)


def test_all_corrections_of_merged_users_end_together_and_the_own_one_decided(shop: Settings) -> None:
    new = find_user(shop, "user-8")
    correct(shop, "user-7", "low", "as a visitor")
    own = correct(shop, "user-8", "high", "as a customer")
    merge_users(shop, [UserPair("user-7", "user-8")])
    done = correct(shop, "user-7", "mid", "both are one")
    assert (done.before, done.replaced, done.correction.user_key) == ("high", own.correction.id, new)
    with transaction(shop) as session:
        assert [each.segment for each in in_force(session, LABELS)] == ["mid"]
    undo_merge(shop, 1)
    Run(shop, "refresh", {}).published()
    assert row_of(shop, new)["segment"] == "mid"
    assert row_of(shop, find_user(shop, "user-7"))["overridden_by"] is None
    with pytest.raises(DataError, match="No correction of the user 'user-7'"):
        withdraw(shop, "user-7", "it is over")


def test_a_pinned_user_stays_in_the_present_segment(shop: Settings) -> None:
    key = find_user(shop, "user-7")
    own = row_of(shop, key)["segment"]
    done = pin(shop, "user-7", "a contract")
    assert (done.correction.segment, done.correction.weight, done.correction.expires_at) == (own, 0, None)
    assert (row_of(shop, key)["overridden_by"], current(shop).moved) == ("correction", 0)


def test_a_job_that_began_before_a_correction_publishes_it_too(shop: Settings) -> None:
    key = find_user(shop, "user-7")
    more_weeks(shop, planted_users(shop).head(40), range(14, 15))
    run = Run(shop, "refresh", {}).until("publish")
    begun = run.call(run.attempts("publish")[0])
    wanted = another(row_of(shop, key)["segment"])
    assert correct(shop, "user-7", wanted, "in between").snapshot_id == 3
    with pytest.raises(StorageError, match="meanwhile"):
        run.finish(begun)
    run.stage("publish")
    assert (current(shop).id, current(shop).previous_id) == (2, 3)
    assert row_of(shop, key)["segment"] == wanted
    assert followed(shop) == segments_of(shop, 2)


def test_corrections_at_the_same_time_are_all_published_and_none_has_failed(shop: Settings) -> None:
    users = [f"user-{n}" for n in range(4)]
    keys = [find_user(shop, user) for user in users]
    wanted = [another(row_of(shop, key)["segment"]) for key in keys]
    with ThreadPoolExecutor(len(users)) as people:
        list(people.map(lambda user, segment: correct(shop, user, segment, "a call"), users, wanted))
    assert [row_of(shop, key)["segment"] for key in keys] == wanted
    with transaction(shop) as session:
        ended = session.exec(select(Job.state, Job.error).where(Job.kind == CORRECT_KIND)).all()
    assert {error for state, error in ended if state == JobState.CANCELLED} <= {
        "Another snapshot became current first."
    }
    assert {state for state, _ in ended} <= {JobState.SUCCEEDED, JobState.CANCELLED}


def test_a_correction_that_was_overtaken_is_tried_again(shop: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    overtaking = [lambda: correct(shop, "user-8", "high", "at the same time")]

    def overtaken(*arguments: Any) -> None:
        commit_assignments(*arguments)
        while overtaking:
            overtaking.pop()()

    monkeypatch.setattr("segadmin.snapshots.publish_overrides.commit_assignments", overtaken)
    key = find_user(shop, "user-7")
    wanted = another(row_of(shop, key)["segment"])
    correct(shop, "user-7", wanted, "a call")
    assert row_of(shop, key)["segment"] == wanted
    with transaction(shop) as session:
        jobs = session.exec(select(Job).where(Job.kind == CORRECT_KIND).order_by(col(Job.id))).all()
    assert [job.state for job in jobs] == [JobState.CANCELLED, JobState.SUCCEEDED], "the second published both"
    assert jobs[0].error == "Another snapshot became current first."


def test_what_could_not_be_published_is_published_by_the_next_refresh(
    shop: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = find_user(shop, "user-7")
    wanted = another(row_of(shop, key)["segment"])

    def full(*_: object) -> None:
        raise StorageError("the disk is full.")

    with monkeypatch.context() as patched:
        patched.setattr("segadmin.snapshots.publish_overrides.commit_assignments", full)
        with pytest.raises(StorageError, match=r"stored.*disk is full.*segadmin enqueue refresh --labels spend3"):
            correct(shop, "user-7", wanted, "knows better")
    assert current(shop).id == 1
    with transaction(shop) as session:
        (job,) = session.exec(select(Job).where(Job.kind == "correct")).all()
    assert job.state == "failed"
    with pytest.raises(InvalidTransition, match=r"has no steps.*segadmin enqueue refresh --labels spend3"):
        retry(shop, lambda _: None, job.id or 0)
    Run(shop, "refresh", {}).published()
    assert row_of(shop, key)["segment"] == wanted


def test_a_request_that_was_killed_and_is_repeated_counts_once(shop: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed before it publishes what it has stored; the same words again publish it, and store nothing."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    key = find_user(shop, "user-7")
    own = row_of(shop, key)["segment"]
    wanted = another(own)
    ends = datetime.now(UTC) + timedelta(days=90)
    for ask, segment in (
        (lambda: correct(shop, "user-7", wanted, "knows better", expires_at=ends, actor="anna"), wanted),
        (lambda: withdraw(shop, "user-7", "told by mistake", actor="anna"), own),
    ):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr("segadmin.snapshots.corrections.publish_overrides", killed)
            ask()
        assert row_of(shop, key)["segment"] != segment
        first, second = ask(), ask()
        assert row_of(shop, key)["segment"] == segment
        assert (first.snapshot_id, second.snapshot_id) == (current(shop).id, None)
        assert first.correction.id == second.correction.id == 1
        assert first.replaced is None
    assert [each.action for each in audit.entries(shop, "users")] == ["users.withdraw", "users.correct"]
    assert followed(shop) == segments_of(shop, current(shop).id or 0)
    again = correct(shop, "user-7", wanted, "for another reason", expires_at=ends, actor="anna")
    assert correct(shop, "user-7", wanted, "for another reason", actor="bert").replaced == again.correction.id


def test_many_corrections_do_not_make_a_snapshot_of_ever_more_parts(
    shop: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "_MAX_PARTS", 8)
    for n in range(14):
        correct(shop, f"user-{n}", SEGMENTS[n % 3], "one of many")
    snapshot = current(shop)
    assert (snapshot.corrected, snapshot.users, len(snapshot.parts) <= 8) == (14, 240, True)
    assert [row_of(shop, find_user(shop, f"user-{n}"))["segment"] for n in (0, 7, 13)] == ["low", "mid", "mid"]
    assert publish_overrides(shop, LABELS) is None


def test_exports_and_history_show_what_decided(shop: Settings) -> None:
    key = find_user(shop, "user-7")
    own = row_of(shop, key)["segment"]
    correct(shop, "user-7", another(own), "knows better")
    newest, first = history(shop, key)
    assert (newest.segment, newest.overridden_by, newest.model_segment) == (another(own), "correction", own)
    assert (first.segment, first.overridden_by, first.model_segment) == (own, None, None)
    sure = audience(shop, current(shop), SEGMENTS, Audience(min_probability=1.0)).collect()
    assert sure.select("user", "overridden_by").rows() == [(show_key(key), "correction")]


def test_corrections_are_audited_without_the_reason(shop: Settings) -> None:
    key = find_user(shop, "user-7")
    correct(shop, "user-7", "low", "a long story", actor="anna")
    withdraw(shop, "user-7", "told by mistake")
    ended, made = audit.entries(shop, "users", 2)
    assert (made.action, made.actor, made.subject) == ("users.correct", "anna", f"user {show_key(key)}")
    assert (ended.action, made.details["segment"], made.details["weight"]) == ("users.withdraw", "low", 1)
    assert "story" not in str([made.details, ended.details])


def test_invalid_corrections(shop: Settings) -> None:
    def refused(error: type[Exception], match: str, *words: str, **options: object) -> None:
        with pytest.raises(error, match=match):
            correct(shop, *words, **options)

    refused(UserNotFound, "There is no user 'usr-7'.*as it was imported", "usr-7", "low", "x")
    refused(ConfigurationError, r"no segment 'hihg' in 'spend3'. Did you mean 'high'", "user-7", "hihg", "x")
    refused(ConfigurationError, "nobody can be corrected to it.*low, mid, high", "user-7", NOT_ENOUGH, "x")
    refused(
        ConfigurationError, r"no label set 'spend4'. Did you mean 'spend3'", "user-7", "low", "x", label_set="spend4"
    )
    refused(ConfigurationError, "needs a reason", "user-7", "low", "  ")
    refused(ConfigurationError, "1,001 characters", "user-7", "low", "x" * 1001)
    refused(ConfigurationError, "weight of -1 is not between 0 and 100", "user-7", "low", "x", weight=-1)
    past = datetime(2020, 1, 1, tzinfo=UTC)
    refused(ConfigurationError, "2020-01-01.*is past.*--expires 90d", "user-7", "low", "x", expires_at=past)
    with pytest.raises(DataError, match=r"'user-7' was never corrected.*segadmin users correct user-7"):
        withdraw(shop, "user-7", "x")
    done = correct(shop, "user-7", "low", "x")
    withdraw(shop, "user-7", "y", actor="bert")
    with pytest.raises(DataError, match=r"'low', was withdrawn by bert at .*users corrections --all"):
        withdraw(shop, "user-7", "y")
    with transaction(shop) as session:
        assert session.get_one(Correction, done.correction.id).withdrawn_because == "y"
    let_expire(shop, correct(shop, "user-8", "low", "x").correction)
    with pytest.raises(DataError, match="to 'low', expired at"):
        withdraw(shop, "user-8", "y")


def test_an_erased_user_has_no_correction(shop: Settings, tmp_path: Path) -> None:
    key = find_user(shop, "user-7")
    correct(shop, "user-7", "low", "asked for by user-7")
    correct(shop, "user-8", "low", "lives with user-7")
    with transaction(shop) as session:  # an erasure refuses while jobs run
        session.exec(update(Job).values(state="succeeded"))
    (erased,) = forget(shop, ["user-7"])
    assert erased.rows["corrections"] == 1
    with transaction(shop) as session:
        (left,) = session.exec(select(Correction)).all()
        assert find_snapshot(session, "current", LABELS).users == 239
    assert left.user_key != key
    assert "user-7" not in left.reason
