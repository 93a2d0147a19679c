"""Changes by hand are killed after each of their writes: nothing stays half done, and nothing counts twice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import polars as pl
import pytest
from sqlmodel import col, select, update

from segadmin.events.merge import UserPair, merge_users
from segadmin.jobs.dispatch import StepMessage
from segadmin.jobs.run import run_step
from segadmin.labels.corrections import in_force
from segadmin.models.aliases import champion, current_snapshot, pointed
from segadmin.models.registry import make_champion
from segadmin.settings import Settings
from segadmin.snapshots.corrections import correct
from segadmin.snapshots.feed import write_changes
from segadmin.snapshots.policy import Override
from segadmin.snapshots.read import assignments
from segadmin.storage import database
from segadmin.storage.audit import entries
from segadmin.storage.database import reading, transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import MergeState, ModelVersion, SnapshotSwitch, UserMerge, utcnow
from segadmin.workflows.deliver import PAUSE, enqueue_deliveries
from tests.feeds import replayed, segments_of
from tests.planted import LABELS, Run, nothing_runs
from tests.servers import PATH

pytestmark = pytest.mark.faults

#: Makes a change, and is killed right after a write to SQL or the lake: after which one, the first argument says.
CHILD = """
import os, signal, sys
from sqlalchemy.engine.default import DefaultDialect
from segadmin.settings import get_settings
from segadmin.storage.lake import Lake

last, seen, changes = int(sys.argv[1]), 0, {}

def count():
    global seen
    seen += 1
    if seen == last:
        os.kill(os.getpid(), signal.SIGKILL)

def commit(dialect, connection, real=DefaultDialect.do_commit):
    real(dialect, connection)
    driver = connection.driver_connection
    if changes.get(id(driver)) != driver.total_changes:  # it did not only read
        changes[id(driver)] = driver.total_changes
        count()

def counted(name):
    real = getattr(Lake, name)

    def write(*arguments, **options):
        done = real(*arguments, **options)
        count()
        return done

    setattr(Lake, name, write)

DefaultDialect.do_commit = commit
for name in ("_write", "replace_rows", "delete", "commit_files"):
    counted(name)
settings = get_settings()
"""
#: What is asked for, the action in the audit log, and the last lines of the child.
CHANGES = {
    "correct": (
        "users.correct",
        "from segadmin.snapshots.corrections import correct\ncorrect(settings, 'user-9', 'low', 'knows better')",
    ),
    "pin": ("users.correct", "from segadmin.snapshots.corrections import pin\npin(settings, 'user-9', 'a contract')"),
    "withdraw": (
        "users.withdraw",
        "from segadmin.snapshots.corrections import withdraw\nwithdraw(settings, 'user-7', 'a mistake')",
    ),
    "promote": (
        "models.promote",
        "from segadmin.models.registry import promote_version\n"
        "from segadmin.workflows.follow_promotion import complete\n"
        "complete(settings, promote_version(settings, '1'), lambda _: None)",
    ),
    "roll back": (
        "models.rollback",
        "from segadmin.models.registry import roll_back_champion\n"
        "from segadmin.workflows.follow_promotion import complete\n"
        "complete(settings, roll_back_champion(settings), lambda _: None)",
    ),
    "merge": (
        "data.merge",
        "from segadmin.events.merge import UserPair, merge_users\n"
        "merge_users(settings, [UserPair('user-1', 'user-2')])",
    ),
    "undo": ("data.unmerge", "from segadmin.events.merge import undo_merge\nundo_merge(settings, 1)"),
}


def prepare(settings: Settings) -> None:
    """Let a second version be champion, with a snapshot, a corrected user, and two users who were merged."""
    merge_users(settings, [UserPair("user-3", "user-4")])
    with transaction(settings) as session:
        first = session.get_one(ModelVersion, 1)
        session.add(second := ModelVersion(**first.model_dump(exclude={"id"})))
        session.flush()
        make_champion(session, second, expected=1)
    Run(settings, "refresh", {}).all()
    nothing_runs(settings)
    correct(settings, "user-7", "high", "told us so")
    write_changes(settings, LABELS)


def change(code: str, last: int) -> int:
    """Make a change in a process of its own and return its exit code."""
    command = [sys.executable, "-c", CHILD + code, str(last)]
    environment = os.environ | {"PYTHONPATH": PATH}
    return subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, check=False, timeout=120).returncode


def let_beat_deliver(settings: Settings) -> None:
    """Do what beat and a worker do a minute later."""
    messages: list[StepMessage] = []
    with transaction(settings) as session:
        unwritten = update(SnapshotSwitch).where(col(SnapshotSwitch.changes).is_(None))
        session.exec(unwritten.values(created_at=utcnow() - 2 * PAUSE))
    enqueue_deliveries(settings, messages.extend)
    for message in messages:
        run_step(settings, lambda _: None, message.step_id, "me")


def broken_promises(settings: Settings, action: str) -> list[str]:
    """Return what is not as it must be once a change was asked for again."""
    with reading(settings) as session:
        number = pointed(session, current_snapshot(LABELS)) or 0
        corrected = {each.user_key: each.segment for each in in_force(session, LABELS)}
        version = session.get_one(ModelVersion, pointed(session, champion(LABELS)))
        pending = (MergeState.MERGING, MergeState.UNDOING)
        halves = [merge.id for merge in session.exec(select(UserMerge)).all() if merge.state in pending]
    rows = assignments(settings, number).collect()
    published = rows.filter(pl.col("overridden_by") == Override.CORRECTION.value).select("user_key", "segment")
    broken = [f"merges are half done: {halves}"] if halves else []
    if len(entries(settings, action)) != 1 + (action in {"users.correct", "data.merge"}):  # one was there before
        broken.append(f"audit entries: {len(entries(settings, action))}")
    if dict(published.iter_rows()) != corrected:
        broken.append("other users are corrected than the corrections say")
    if set(rows["model_version_id"]) != {version.id}:
        broken.append(f"the snapshot is not that of version {version.id}")
    changes = Lake.of(settings).scan("changes").sort("sequence", "position").collect()
    if replayed(changes.iter_rows(named=True)) != segments_of(settings, number):
        broken.append("the feed has another snapshot")
    return broken


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_that_is_killed_and_asked_for_again(shop: Settings, tmp_path: Path, name: str) -> None:
    action, code = CHANGES[name]
    prepare(shop)
    database.engine(shop).dispose()
    before = shutil.copytree(shop.root, tmp_path / "before")
    for last in count(1):
        if (ended := change(code, last)) == 0:
            break
        assert ended == -signal.SIGKILL
        change(code, 0)  # refused where it is done already: a promotion of the champion, a rollback of the first
        let_beat_deliver(shop)
        assert broken_promises(shop, action) == [], f"killed after write {last}"
        database.engine(shop).dispose()
        shutil.rmtree(shop.root)
        shutil.copytree(before, shop.root)
    assert last > 4, "there is little to kill"
    assert broken_promises(shop, action) == []
