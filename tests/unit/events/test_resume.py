"""Imports that are cut short, read another way, or run at the same time: nothing is lost and nothing is doubled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from deltalake.transaction import AddAction
from sqlmodel import select

from segadmin.errors import DataError, StepFenced
from segadmin.events import ingest
from segadmin.events.erase import forget
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.mapping import Mapping
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.lake import Commit, Lake
from segadmin.storage.records import Import
from tests.privacy.victim import event, post

ROWS = 1000


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "CHUNK_ROWS", 100)


def events(path: Path, mark: str = "i") -> Path:
    lines = [f"u{n % 37},{'view' if n % 5 else 'stare'},{mark}{n},2026-01-01 08:00" for n in range(ROWS)]
    path.write_text("\n".join(["user,kind,item,at", *lines]) + "\n")
    return path


def stop(read: int) -> None:
    if read >= 300:
        raise KeyboardInterrupt


def imports(settings: Settings) -> list[Import]:
    with transaction(settings) as session:
        return list(session.exec(select(Import).order_by(Import.id)).all())  # type: ignore[arg-type]


def rows(settings: Settings, table: str) -> pl.DataFrame:
    return Lake.of(settings).scan(table).collect()


def test_a_stopped_import_is_recorded(settings: Settings, tmp_path: Path) -> None:
    path = events(tmp_path / "e.csv")
    with pytest.raises(KeyboardInterrupt):
        import_file(settings, ImportRequest("events", str(path)), stop)
    [stopped] = imports(settings)
    assert (stopped.state, stopped.error) == ("failed", "It was interrupted.")
    assert (stopped.rows_read, stopped.rows_kept) == (300, 0)
    assert rows(settings, "events").is_empty()  # whole or not at all
    done, _ = import_file(settings, ImportRequest("events", str(path)))
    assert (done.id, done.state, done.error, done.rows_read) == (stopped.id, "succeeded", None, ROWS)


def test_an_import_that_is_cancelled_after_the_last_row_adds_nothing(settings: Settings, tmp_path: Path) -> None:
    seen: list[int] = []

    def cancel(read: int) -> None:
        seen.append(read)
        if seen.count(ROWS) == 2:  # the last chunk, and then the commit
            raise StepFenced("attempt 1 of step 1 no longer owns it")

    with pytest.raises(StepFenced):
        import_file(settings, ImportRequest("events", str(events(tmp_path / "e.csv"))), cancel)
    assert rows(settings, "events").is_empty()
    assert imports(settings)[0].state == "failed"


def test_duplicates_of_a_file_imported_meanwhile_are_quarantined(settings: Settings, tmp_path: Path) -> None:
    """What was judged before the import was stopped, and in quarantine already, is judged anew."""
    path = events(tmp_path / "e.csv")
    with pytest.raises(KeyboardInterrupt):
        import_file(settings, ImportRequest("events", str(path)), stop)
    lake = Lake.of(settings)
    left = pl.DataFrame({"import_id": [imports(settings)[0].id], "reason": ["unknown_kind"], "line": [2]})
    lake.append("quarantine", left.with_columns(pl.lit("").alias(name) for name in ("table", "column", "value", "row")))
    other = tmp_path / "other.csv"
    other.write_text("user,kind,item,at\nu5,view,i301,2026-01-01 08:00\nu5,view,i301,2026-01-02 08:00\n")
    other.write_text(other.read_text().replace("u5", f"u{301 % 37}"))
    import_file(settings, ImportRequest("events", str(other)))
    done, _ = import_file(settings, ImportRequest("events", str(path)))
    assert done.reasons == {"unknown_kind": 200, "duplicate_event": 1}
    mine = rows(settings, "quarantine").filter(pl.col("import_id") == done.id)
    assert mine["line"].n_unique() == mine.height == 201
    assert rows(settings, "events").height == 799 + 2


def test_a_file_read_another_way_is_read_from_the_start(settings: Settings, tmp_path: Path) -> None:
    path = events(tmp_path / "e.csv")
    wrong = Mapping(columns={"item": "kind", "kind": "item"})
    with pytest.raises(KeyboardInterrupt):
        import_file(settings, ImportRequest("events", str(path), wrong), stop)
    assert rows(settings, "events").is_empty()
    done, _ = import_file(settings, ImportRequest("events", str(path)))
    assert (done.rows_kept, done.reasons) == (800, {"unknown_kind": 200})
    assert [record.state for record in imports(settings)] == ["succeeded"]
    assert not list((settings.store_path / "spool").iterdir())


def test_a_file_whose_columns_do_not_fit_kept_nothing(settings: Settings, tmp_path: Path) -> None:
    path = events(tmp_path / "e.csv")
    path.write_text(path.read_text().replace("user,kind,item,at", "user_id,行为,item,event_time"))
    guess = r"Did you mean: --map user=user_id --map kind=行为 --map at=event_time\?"
    with pytest.raises(DataError, match=guess):
        import_file(settings, ImportRequest("events", str(path)))
    [failed] = imports(settings)
    assert (failed.state, failed.rows_kept) == ("failed", 0)


_IMPORT = """
import sys
from segadmin.events import ingest
from segadmin.events.import_request import ImportRequest
from segadmin.settings import get_settings
ingest.CHUNK_ROWS = 100  # of CSV half as many
print("ready", flush=True)
sys.stdin.readline()
def tell(read):
    print(read, flush=True)
done, fresh = ingest.import_file(get_settings(), ImportRequest("events", sys.argv[1]), tell)
print(done.rows_kept, fresh)
"""


def importer(path: Path) -> subprocess.Popen[str]:
    """Start a process that imports ``path`` as soon as it is told to."""
    process = subprocess.Popen(
        [sys.executable, "-c", _IMPORT, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


@pytest.mark.parametrize("same", [True, False])
def test_concurrent_imports_duplicate_nothing(settings: Settings, tmp_path: Path, *, same: bool) -> None:
    first = events(tmp_path / "a.csv")
    second = first if same else events(tmp_path / "b.csv", mark="j")
    both = [importer(first), importer(second)]
    for process in both:
        go(process)
    last_lines = [process.communicate(timeout=120)[0].splitlines()[-1] for process in both]
    assert sorted(last_lines) == (["800 False", "800 True"] if same else ["800 True", "800 True"])
    assert rows(settings, "events").height == rows(settings, "events")["event_id"].n_unique() == (800 if same else 1600)
    assert rows(settings, "users").height == 37


def test_a_killed_import_resumes_and_blocks_no_other(settings: Settings, tmp_path: Path) -> None:
    path = events(tmp_path / "e.csv")
    process = importer(path)
    go(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "50\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert imports(settings)[0].state == "running"
    assert rows(settings, "events").is_empty()
    done, fresh = import_file(settings, ImportRequest("events", str(path)))
    assert (done.rows_read, done.rows_kept, fresh) == (ROWS, 800, True)
    assert rows(settings, "events")["item"].n_unique() == rows(settings, "events").height == 800
    assert rows(settings, "quarantine").height == rows(settings, "quarantine")["line"].n_unique() == 200


@contextmanager
def dying_between_commits() -> Iterator[None]:
    """Let the import in the body die once its users are in the lake, and its events are not."""
    commit = Lake.commit_files

    def die(lake: Lake, table: str, files: Sequence[AddAction], name: Commit) -> bool:
        if table == "events":
            raise KeyboardInterrupt
        return commit(lake, table, files, name)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Lake, "commit_files", die)
        yield


def test_a_user_who_was_forgotten_between_two_commits_is_there_again_when_it_is_repeated(
    settings: Settings, tmp_path: Path
) -> None:
    path = events(tmp_path / "e.csv")
    with dying_between_commits():
        import_file(settings, ImportRequest("events", str(path)))
    assert rows(settings, "users").height == 37
    assert forget(settings, ["u5"])[0].rows["users"] == 1
    import_file(settings, ImportRequest("events", str(path)))
    users = rows(settings, "users")
    assert sorted(users["user"]) == sorted({f"u{n}" for n in range(37)})
    assert set(rows(settings, "events")["user_key"]) == set(users["user_key"])


def test_users_of_a_queue_that_gave_more_after_a_kill_between_two_commits(settings: Settings) -> None:
    post(settings, *(event(f"u{n}") for n in range(50)))
    with dying_between_commits():
        import_file(settings, ImportRequest("events", "inbox://"))
    post(settings, *(event(f"u{n}") for n in range(40, 90)))
    done, _ = import_file(settings, ImportRequest("events", "inbox://"))
    assert (done.rows_read, done.rows_kept) == (100, 90)
    users = rows(settings, "users")
    assert sorted(users["user"]) == sorted(f"u{n}" for n in range(90))
    assert set(rows(settings, "events")["user_key"]) == set(users["user_key"])
