"""Merges that are killed while they change a file: the next import completes them, and nothing is lost or doubled."""

from __future__ import annotations

import signal
import subprocess

import polars as pl
import pytest

from segadmin.errors import DataError
from segadmin.events.merge import list_merges, undo_merge
from segadmin.settings import Settings
from segadmin.storage.audit import entries
from segadmin.storage.records import MergeState
from tests.commands import command_server
from tests.unit.events.test_merge import fill, items_of, lines, merge, put, rows

#: Merges or undoes, and dies at a change of a file: at which one, the first argument says.
CHILD = """
import os, signal, sys
from segadmin.events.merge import UserPair, merge_users, undo_merge
from segadmin.settings import get_settings

last, seen = int(sys.argv[1]), 0

def count(event, arguments):
    global seen
    if event in {"os.remove", "os.rename", "os.mkdir"} or (event == "open" and set(str(arguments[1])) & set("wax+")):
        seen += 1
        if seen == last:
            os.kill(os.getpid(), signal.SIGKILL)

settings = get_settings()
replace = __import__("segadmin.events.merge_rows").events.merge_rows._replace

def counted(lake, table, before, after):
    count("os.rename", ())
    replace(lake, table, before, after)
    count("os.rename", ())

import segadmin.events.merge_rows as merge_rows
merge_rows._replace = counted
sys.addaudithook(count)
if sys.argv[2] == "undo":
    undo_merge(settings, 1)
else:
    merge_users(settings, [UserPair("visitor", "customer")])
print(seen)
"""


def child(last: int, what: str) -> subprocess.CompletedProcess[str]:
    return command_server().python(CHILD, str(last), what)


@pytest.mark.parametrize("part", range(6))
def test_a_merge_killed_at_a_change_is_completed(settings: Settings, part: int) -> None:
    fill(settings)
    before = {table: rows(settings, table) for table in ("events", "labels", "users")}
    killed = [child(2 + 4 * part, "merge"), child(4 + 3 * part, "merge")]
    assert {done.returncode for done in killed} <= {-signal.SIGKILL, 0}
    merge(settings, ("visitor", "customer"))
    [row] = list_merges(settings)
    assert (row.state, row.moved) == (MergeState.MERGED, {"events": 1, "labels": 1, "duplicates": 3})
    assert items_of(settings, "customer") == ["a", "b", "c", "c"]
    child(3 + 4 * part, "undo")
    put(settings, "late.csv", lines({"visitor": ["view,e,2025-01-06T10:00,,"]}))
    if list_merges(settings)[0].state == MergeState.MERGED:  # it was killed before it had begun
        undo_merge(settings, 1)
    assert items_of(settings, "visitor") == ["a", "b", "c", "e"]
    assert rows(settings, "events").filter(pl.col("item") != "e").equals(before["events"])
    assert all(rows(settings, table).equals(before[table]) for table in ("labels", "users"))


def test_an_undo_that_was_killed_is_asked_for_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    fill(settings)
    before = rows(settings, "events")
    merge(settings, ("visitor", "customer"))
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("segadmin.events.merge.place_rows", killed)
        undo_merge(settings, 1)
    assert list_merges(settings)[0].state == MergeState.UNDOING
    assert undo_merge(settings, 1).state == MergeState.UNDONE
    assert rows(settings, "events").equals(before)
    assert [each.action for each in entries(settings, "data")] == ["data.unmerge", "data.merge"]
    with pytest.raises(DataError, match="Merge 1 was undone before"):
        undo_merge(settings, 1)
