"""A database that is damaged while jobs run: the steps stop, and nothing that they did is recorded as done."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

import tests.probe  # noqa: F401  (adds the probe job kind)
from segadmin.errors import DatabaseDamaged
from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.finish import finish
from segadmin.jobs.lease import claim
from segadmin.jobs.reap import reap
from segadmin.jobs.run import run_step
from segadmin.settings import Settings, get_settings
from segadmin.storage import damage
from segadmin.storage.damage import marker
from segadmin.storage.database import transaction
from segadmin.storage.store import check_folder
from segadmin_worker.schedule import SqlScheduler
from tests.integration.test_damaged_database import damage_an_unread_page
from tests.probe import Facts, StageResult
from tests.servers import wait_until
from tests.stores import empty_store
from tests.unit.jobs.conftest import Messages


@pytest.fixture
def engine(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings with short times, over a SQLite database with an empty store, which every write checks."""
    for name, value in {"LEASE": "60", "HEARTBEAT": "0.1", "BACKOFF": "0"}.items():
        monkeypatch.setenv(f"SEGADMIN_{name}_SECONDS", value)
    get_settings.cache_clear()
    monkeypatch.setattr(damage, "SHARE", float("inf"))
    empty_store(get_settings())
    check_folder(get_settings())  # links the folder
    yield get_settings()
    get_settings.cache_clear()


def steps(settings: Settings) -> list[tuple[str, str]]:
    """Return stage and state of all steps, read as if nothing had been detected."""
    with closing(sqlite3.connect(settings.database_files[0])) as connection:
        return connection.execute("SELECT stage, state FROM step ORDER BY id").fetchall()


def first_step(settings: Settings, **options: object) -> int:
    messages = Messages()
    enqueue(settings, messages, "probe", dict(options))
    [step_id] = messages.take()
    return step_id


def test_a_step_that_ends_over_a_damaged_file_has_not_succeeded(engine: Settings) -> None:
    attempt = claim(engine, first_step(engine), "me")
    assert attempt is not None
    damage_an_unread_page(engine)
    with pytest.raises(DatabaseDamaged):
        finish(attempt, StageResult(Facts(by="me")))
    assert ("prepare", "running") in steps(engine)
    assert marker(engine.database_files[0]).exists(), "so every process stops"


def test_a_step_writes_nothing_after_damage_was_detected(engine: Settings) -> None:
    attempt = claim(engine, first_step(engine), "me")
    assert attempt is not None
    before = attempt.folder
    damage_an_unread_page(engine)
    with pytest.raises(DatabaseDamaged):
        first_step(engine)
    with pytest.raises(DatabaseDamaged):
        attempt.write(pl.DataFrame({"n": [1]}), "numbers")
    assert list(before.iterdir()) == []


def test_a_step_is_not_begun_over_a_damaged_file(engine: Settings) -> None:
    step_id = first_step(engine)
    damage_an_unread_page(engine)
    with pytest.raises(DatabaseDamaged):
        run_step(engine, Messages(), step_id, "me")
    assert ("prepare", "ready") in steps(engine)
    assert not (engine.root / "diary.txt").exists(), "its stage was not called"


def test_a_job_is_not_enqueued_over_a_damaged_file(engine: Settings) -> None:
    damage_an_unread_page(engine)
    with pytest.raises(DatabaseDamaged):
        first_step(engine)
    assert steps(engine) == []


def test_a_step_stops_soon_after_the_damage(engine: Settings, caplog: pytest.LogCaptureFixture) -> None:
    messages = Messages()
    enqueue(engine, messages, "probe", {"pieces": 6000, "sleep": 0.01})
    run_step(engine, messages, messages.take()[0], "me")
    step_id = messages.take()[0]

    def work() -> None:
        with pytest.raises(DatabaseDamaged):
            run_step(engine, messages, step_id, "me")

    working = threading.Thread(target=work)
    working.start()
    try:
        wait_until(lambda: ("textualize", "running") in steps(engine), 20, "the step runs")
        overwrite_keys(engine)
    finally:
        working.join(20)
    assert not working.is_alive(), "it would take a minute"
    assert "is damaged" in caplog.text
    assert ("textualize", "running") in steps(engine)


def overwrite_keys(settings: Settings) -> None:
    """Damage the table of keys in a file that is in use."""
    path = settings.database_files[0]
    with closing(sqlite3.connect(path)) as connection:
        page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'apikey'").fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            continue  # what is in the write-ahead log would hide the page
    with Path(path).open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)


def test_reaper_and_beat_stop(engine: Settings, caplog: pytest.LogCaptureFixture) -> None:
    from segadmin_worker.app import app

    SqlScheduler(app, lazy=True).tick()
    assert "is damaged" not in caplog.text
    damage_an_unread_page(engine)
    with pytest.raises(DatabaseDamaged):
        reap(engine, Messages())
    marker(engine.database_files[0]).unlink()
    SqlScheduler(app, lazy=True).tick()
    assert "is damaged" in caplog.text
    assert marker(engine.database_files[0]).exists()


def test_checks_take_a_small_share_of_the_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = []
    check_file = damage.check_file
    monkeypatch.setattr(damage, "check_file", lambda path: (checks.append(path), check_file(path)))
    monkeypatch.setattr(damage, "SHARE", 1e-9)
    empty_store(settings)
    for _ in range(20):
        with transaction(settings):
            pass
    assert checks == [settings.database_files[0]]
