"""A rollback takes back model, snapshot and feed together, and users who were erased since stay erased."""

from __future__ import annotations

import json

import polars as pl
import pytest
from sqlmodel import select, update

from segadmin.errors import StorageError
from segadmin.events.erase import forget
from segadmin.events.keys import keys_of, show_key
from segadmin.jobs.dispatch import StepMessage
from segadmin.jobs.run import run_step
from segadmin.models import aliases
from segadmin.models.aliases import champion, current_snapshot, pointed
from segadmin.models.registry import roll_back_champion
from segadmin.settings import Settings
from segadmin.snapshots.corrections import correct
from segadmin.snapshots.feeds import add_feed
from segadmin.snapshots.read import assignments
from segadmin.snapshots.user import find_user
from segadmin.storage import database
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Job, JobState, SnapshotSwitch, utcnow
from segadmin.workflows.deliver import PAUSE, enqueue_deliveries
from segadmin.workflows.follow_promotion import follow
from tests.conftest import Cli
from tests.feeds import Receiver, replayed, segments_of
from tests.planted import BUCKETS, LABELS, Run, more_weeks, planted_users, retrain


def current(settings: Settings) -> tuple[int | None, int | None]:
    with transaction(settings) as session:
        return pointed(session, champion(LABELS)), pointed(session, current_snapshot(LABELS))


def feed_of(settings: Settings) -> list[dict[str, object]]:
    return Lake.of(settings).scan("changes").sort("sequence", "position").collect().to_dicts()


@pytest.fixture
def two_champions(shop: Settings) -> Settings:
    """A shop in which version 2 followed version 1, with some more weeks and a user who came since."""
    more_weeks(shop, planted_users(shop), range(14, 16))
    newcomer = keys_of(pl.Series("user", ["newcomer"]), shop.secret(), BUCKETS)
    Lake.of(shop).append("users", newcomer)
    retrain(shop, seed=5).all()
    with transaction(shop) as session:
        session.exec(update(Job).values(state=JobState.SUCCEEDED))
    assert current(shop) == (2, 2)
    return shop


def test_a_rollback_writes_the_feed_and_delivers_it(two_champions: Settings, cli: Cli) -> None:
    settings = two_champions
    receiver = Receiver("secret")
    with receiver.serving() as url:
        add_feed(settings, "crm", "webhook", {"url": url, "secret_env": "FEED_SECRET"}, from_now=True)
        rollback = json.loads(cli("models", "rollback", "--reason", "complaints", "--json").stdout)
    assert current(settings) == (1, 1)
    records = [record for record in feed_of(settings) if record["sequence"] == 3]
    assert rollback.items() >= {"champion": 1, "before": 2, "snapshot": 1, "records": len(records)}.items()
    assert len(records) > 1
    assert {record["change"] for record in records} == {"moved", "left"}, "the newcomer is not in snapshot 1"
    assert replayed(feed_of(settings)) == segments_of(settings, 1)
    with transaction(settings) as session:
        jobs = session.exec(select(Job).where(Job.kind == "deliver")).all()
        assert session.exec(select(SnapshotSwitch.changes)).all()[-1] == len(records)
    assert [(job.id, job.state) for job in jobs] == [(rollback["deliveries"][0], JobState.QUEUED)]
    again = cli("models", "promote", "2").stdout
    assert "Snapshot 2, its newest, is current, as of 2025-04-" in again
    assert f"The feed has {len(records)} records of who changes segment by that" in again


def test_a_rollback_does_not_bring_back_who_was_erased(two_champions: Settings) -> None:
    settings = two_champions
    forget(settings, ["user-7"])
    key = planted_users(settings).filter(pl.col("user") == "user-7")["user_key"][0]
    changed = roll_back_champion(settings, LABELS)
    followed = follow(settings, changed, lambda _: None)
    assert followed.records == len([row for row in feed_of(settings) if row["sequence"] == changed.switch])
    assert show_key(key) not in segments_of(settings, 1)
    assert key not in {record["user_key"] for record in feed_of(settings)}
    assert replayed(feed_of(settings)) == segments_of(settings, 1)
    refreshed = Run(settings, "refresh", {}).all().inputs["publish"][0]["snapshot_id"]
    users = set(segments_of(settings, refreshed))
    assert show_key(key) not in users
    assert len(users) == 240  # the newcomer is there again, and the erased user is not


def test_a_rollback_that_cannot_switch_the_snapshot_changes_nothing(
    two_champions: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = aliases.point

    def fail_at_snapshots(session: object, name: str, **targets: int) -> None:
        if name == current_snapshot(LABELS):
            raise StorageError("the disk is full")
        point(session, name, **targets)  # type: ignore[arg-type]

    monkeypatch.setattr(aliases, "point", fail_at_snapshots)
    with pytest.raises(StorageError, match="the disk is full"):
        roll_back_champion(two_champions, LABELS)
    assert current(two_champions) == (2, 2)
    assert len(feed_of(two_champions)) > 240
    with transaction(two_champions) as session:
        assert len(session.exec(select(SnapshotSwitch.id)).all()) == 2


def test_records_that_cannot_be_written_come_later(two_champions: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = roll_back_champion(two_champions, LABELS)
    with monkeypatch.context() as context:
        context.setattr(Lake, "append", _fail)
        followed = follow(two_champions, changed, lambda _: None)
    assert (followed.records, followed.trouble) == (None, "the disk is full")
    assert follow(two_champions, changed, lambda _: None).records is not None
    assert replayed(feed_of(two_champions)) == segments_of(two_champions, 1)
    database.engine(two_champions).dispose()


def _fail(*_: object) -> None:
    raise StorageError("the disk is full")


def test_what_follows_a_promotion_is_done_although_its_process_was_killed(two_champions: Settings) -> None:
    """The correction was made after the snapshot to which the rollback leads."""
    settings = two_champions
    correct(settings, "user-7", "high", "knows better")
    roll_back_champion(settings)  # and here it is killed
    assert current(settings) == (1, 1)
    with transaction(settings) as session:
        session.exec(update(SnapshotSwitch).values(created_at=utcnow() - 2 * PAUSE))
    messages: list[StepMessage] = []
    assert len(enqueue_deliveries(settings, messages.extend)) == 1
    for message in messages:
        run_step(settings, lambda _: None, message.step_id, "me")
    _, snapshot = current(settings)
    assert snapshot is not None
    key = find_user(settings, "user-7")
    row = assignments(settings, snapshot).filter(pl.col("user_key") == key).collect().row(0, named=True)
    assert (row["segment"], row["overridden_by"]) == ("high", "correction")
    assert replayed(feed_of(settings)) == segments_of(settings, snapshot)
    assert enqueue_deliveries(settings, messages.extend) == []
