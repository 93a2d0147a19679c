"""A batch that no import can take is set aside, and the others go on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest

from segadmin.errors import DataError, StorageError
from segadmin.events.import_request import ImportRequest
from segadmin.events.inbox import Inbox
from segadmin.events.ingest import import_file
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from segadmin_plugins.sources.inbox import Posted

#: Reads the inbox, and dies at once where an event is of the user poison.
DIES = """
import os
from segadmin.settings import get_settings
from segadmin_plugins.sources.inbox import Posted
for frame in Posted(get_settings()).chunks("inbox://", 1000):
    print(*frame["user"], flush=True)
    if "poison" in frame["user"].to_list():
        os._exit(9)
"""


def lines(user: str, **more: object) -> list[str]:
    return [json.dumps({"user": user, "kind": "view", "item": "i", "at": "2026-01-31T18:05:00Z", **more})]


def users(settings: Settings) -> list[str]:
    ids: list[str] = Lake.of(settings).scan("users").select(pl.col("user").sort()).collect()["user"].to_list()
    return ids


def set_aside(box: Inbox) -> str:
    """Set a batch of the user poison aside, and return its name."""
    name = box.add(lines("poison"))
    [batch] = box.batches()
    box.set_aside(batch, "nothing can be done with it")
    return name


def test_other_batches_are_taken_by_the_same_import(settings: Settings) -> None:
    box = Inbox.of(settings)
    box.add(lines("before"))
    poison = box.add(lines("poison"))
    for n in range(5):
        box.add(lines(f"after{n}"))
    frames, stored = given(settings), []
    frame = next(frames, None)
    while frame is not None:
        if "poison" in frame["user"]:
            with suppress(StopIteration):
                frame = frames.throw(ValueError("nothing can be done with it"))
                continue
            frame = None
        else:
            stored += frame["user"].to_list()
            frame = next(frames, None)
    assert sorted(stored) == ["after0", "after1", "after2", "after3", "after4", "before"]
    assert box.batches() == []
    [failed] = box.failed()
    assert (failed.name, failed.attempts) == (poison, 2)
    assert failed.reason == "ValueError: nothing can be done with it"
    assert failed.bytes == len("\n".join(lines("poison"))) + 1
    assert box.failures() == {}
    import_file(settings, ImportRequest("events", "inbox://"))
    assert len(box.failed()) == 1


def test_a_batch_that_is_put_back_is_imported(settings: Settings) -> None:
    box = Inbox.of(settings)
    name = set_aside(box)
    with pytest.raises(DataError, match=r"No batch 'x' is set aside.*Look: segadmin data inbox"):
        box.put_back("x")
    box.put_back(name)
    assert [path.stem for path in box.batches()] == [name]
    import_file(settings, ImportRequest("events", "inbox://"))
    assert users(settings) == ["poison"]
    assert box.failed() == box.batches() == []


def test_a_batch_that_is_dropped_is_gone(settings: Settings) -> None:
    box = Inbox.of(settings)
    name = set_aside(box)
    box.drop(name)
    assert not list(box.failed_folder.iterdir())
    with pytest.raises(DataError):
        box.drop(name)


def read_and_perhaps_die() -> list[str]:
    """Return which batches were read, the users of each joined."""
    return subprocess.run([sys.executable, "-c", DIES], capture_output=True, text=True, check=False).stdout.splitlines()


def test_a_batch_that_kills_the_process_is_set_aside_after_its_attempts(settings: Settings) -> None:
    box = Inbox.of(settings)
    for user in ("a", "poison", "b"):
        box.add(lines(user))
    read = [read_and_perhaps_die()]
    assert read[0] == ["a poison b"] or set(read[0][0].split()) == {"a", "poison", "b"}
    box.add(lines("late"))
    while not box.failed():
        read.append(read_and_perhaps_die())
        assert len(read) < 5
    assert read[1][0] == "late", "what was never read goes first"
    assert len(read) == 3, "as many as a job has attempts"
    assert {user for some in read[1:] for user in some} == {"late", "a", "poison", "b"}
    assert box.batches() == []
    [failed] = box.failed()
    assert (failed.attempts, "ended the process" in failed.reason) == (2, True)
    assert "poison" in (box.failed_folder / f"{failed.name}.jsonl").read_text()


def test_batches_that_another_process_takes_meanwhile_are_left_out(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Inbox.of(settings)
    for user in ("a", "b"):
        box.add(lines(user))
    gone = box.folder / "0123.jsonl"
    glob = Path.glob
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: [*glob(folder, pattern), gone])
    assert len(box.batches()) == 2
    assert box.oldest() == min(path.stat().st_mtime_ns for path in box.batches()) / 1e9
    assert box.failed() == []


def given(settings: Settings) -> Generator[pl.DataFrame]:
    frames: Iterator[pl.DataFrame] = Posted(settings).chunks("inbox://", 1000)
    assert isinstance(frames, Generator)
    return frames


def test_a_full_disk_is_no_failure_of_the_batch(settings: Settings) -> None:
    box = Inbox.of(settings)
    box.add(lines("a"))
    for _ in range(5):
        frames = given(settings)
        next(frames)
        with pytest.raises(StorageError):
            frames.throw(StorageError("the disk is full"))
    assert (box.failures(), len(box.batches()), box.failed()) == ({}, 1, [])


def test_a_stopped_worker_is_no_failure_of_the_batch(settings: Settings) -> None:
    box = Inbox.of(settings)
    box.add(lines("a"))
    for _ in range(5):
        frames = given(settings)
        next(frames)
        frames.close()
    assert (box.failures(), len(box.batches()), box.failed()) == ({}, 1, [])


def test_events_without_any_field_are_rows_too(settings: Settings) -> None:
    Inbox.of(settings).add(["{}", "{}"])
    record, _ = import_file(settings, ImportRequest("events", "inbox://"))
    assert (record.rows_read, record.reasons) == (2, {"missing_user": 2})


def test_an_unreadable_record_of_attempts_is_ignored(settings: Settings, tmp_path: Path) -> None:
    box = Inbox.of(settings)
    box.add(lines("a"))
    (box.folder / "attempts.json").write_text("[broken")
    import_file(settings, ImportRequest("events", "inbox://"))
    assert users(settings) == ["a"]
