"""A database that is gone, or is another one by now: nobody starts anew over its store, or goes on in the old file."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from sqlmodel import select

import tests.probe  # noqa: F401  (adds the probe job kind)
from segadmin import preflight
from segadmin.errors import ConfigurationError, StorageError
from segadmin.events.adopt import adopt_store
from segadmin.jobs import control, schedules
from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.reap import reap
from segadmin.jobs.run import run_step
from segadmin.settings import Settings, get_settings
from segadmin.storage import database
from segadmin.storage.database import reading, transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Job, Schedule, Store
from tests.conftest import Cli
from tests.integration.test_doctor import look
from tests.servers import fresh_database, wait_until
from tests.unit.core.test_store import ROWS, take
from tests.unit.jobs.conftest import Messages

NO_DATABASE = r"but .*store is the store of one: it was moved or deleted, .*segadmin restore BACKUP.*segadmin db adopt$"


@pytest.fixture
def lost(any_database: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a store with two users whose database is gone: no file, or on PostgreSQL no tables."""
    settings = any_database
    database.upgrade(settings)
    take(settings, tmp_path)
    database.engine(settings).dispose()
    if settings.database_url:
        server = make_url(settings.database_url).set(database="postgres")
        url = fresh_database(server.render_as_string(hide_password=False))
        monkeypatch.setenv("SEGADMIN_DATABASE_URL", url)
        get_settings.cache_clear()
    else:
        settings.database_files[0].rename(tmp_path / "away.db")
    return get_settings()


def test_no_command_starts_anew_over_the_store(lost: Settings, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "more.csv").write_text(ROWS)
    commands = [
        ("jobs", "list"),
        ("models", "list"),
        ("schedule", "list"),
        ("data", "import", "events", str(tmp_path / "more.csv")),
        ("enqueue", "compact"),
        ("db", "upgrade"),
        ("backup", str(tmp_path / "backup.tar")),
    ]
    for words in commands:
        done = cli(*words, check=False)
        assert (done.returncode, done.stdout) == (1, ""), words
        [line] = done.stderr.splitlines()
        assert "is the store of one: it was moved or deleted" in line, words
        assert "segadmin db adopt" in line
    assert "is the store of one" in cli("worker", check=False).stderr
    findings = look(cli, code=1)
    assert findings["database"]["level"] == "fail"
    assert "segadmin restore BACKUP" in findings["database"]["detail"]
    assert database.revision(lost) is None, "no tables were created"
    assert not any(file.exists() for file in lost.database_files)


def test_a_database_that_is_lost_for_good_is_begun_anew_on_request(lost: Settings, cli: Cli) -> None:
    secret = lost.root / "user_key_secret"
    secret.rename(secret.with_name("kept"))
    assert "user_key_secret cannot be read" in cli("db", "adopt", check=False).stderr
    assert database.revision(lost) is None, "nothing is created if the store cannot be adopted"
    secret.with_name("kept").rename(secret)
    assert "16 buckets" in cli("db", "adopt").stdout
    assert Lake.of(lost).scan("users").collect().height == 2
    assert preflight.problems(lost) == []


def test_a_process_notices_that_its_database_was_moved_away(settings: Settings, tmp_path: Path) -> None:
    take(settings, tmp_path)
    for file in settings.database_files:  # the process has them open
        file.rename(tmp_path / file.name)
    for use in (transaction, reading):
        with pytest.raises(StorageError, match=rf"segadmin.db is not there, {NO_DATABASE}"), use(settings):
            pass
    assert not any(path.exists() for path in settings.database_files)
    for file in settings.database_files:
        (tmp_path / file.name).rename(file)
    with transaction(settings) as session:
        assert session.get_one(Store, 1).buckets == 16


def test_a_process_goes_on_in_the_file_that_has_the_name_now(settings: Settings, tmp_path: Path) -> None:
    take(settings, tmp_path)
    path = settings.database_files[0]
    database.engine(settings).dispose()
    shutil.copy(path, tmp_path / "backup.db")
    schedules.add(settings, "later", "0 3 * * *", "compact", {})
    for file in settings.database_files:
        file.rename(tmp_path / file.name)
    shutil.copy(tmp_path / "backup.db", path)
    with transaction(settings) as session:
        assert session.exec(select(Schedule)).all() == []
        session.add(Job(kind="compact"))
    with reading(settings) as session:
        assert len(session.exec(select(Job)).all()) == 1


def test_a_database_of_another_store_that_has_the_name_now_is_refused(settings: Settings, tmp_path: Path) -> None:
    take(settings, tmp_path)
    other = Settings(home=tmp_path / "other")
    take(other, tmp_path)
    for each in (settings, other):
        database.engine(each).dispose()
    other.database_files[0].replace(settings.database_files[0])
    with pytest.raises(ConfigurationError, match=r"is the store \w{8}…, and the database .* belongs to the store"):
        take(settings, tmp_path)


def test_a_new_file_can_be_read_by_its_owner_only(settings: Settings) -> None:
    database.upgrade(settings)
    path = settings.database_files[0]
    for file in settings.database_files:
        file.unlink(missing_ok=True)
    with transaction(settings):  # nothing was imported, so nothing is lost but what the file held
        pass
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_running_step_stops_when_the_database_is_gone(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"LEASE": "0.6", "HEARTBEAT": "0.1", "BACKOFF": "0"}.items():
        monkeypatch.setenv(f"SEGADMIN_{name}_SECONDS", value)
    get_settings.cache_clear()
    settings, messages = get_settings(), Messages()
    take(settings, tmp_path)
    job = enqueue(settings, messages, "probe", {"pieces": 6000, "sleep": 0.01}).job.id or 0
    run_step(settings, messages, messages.take()[0], "me")
    step_id = messages.take()[0]
    working = threading.Thread(target=run_step, args=(settings, messages, step_id, "me"))
    working.start()
    try:
        wait_until(lambda: control.view(settings, job).steps[1].state == "running", 20, "the step runs")
        away = tmp_path / "away"
        away.mkdir()
        for file in settings.database_files:
            file.rename(away / file.name)
    finally:
        working.join(20)
    assert not working.is_alive(), "it would take a minute"
    assert not settings.database_files[0].exists()
    for file in away.iterdir():
        file.rename(settings.root / file.name)
    assert control.view(settings, job).steps[1].state == "running"
    assert reap(settings, messages).expired == 1, "another worker takes it over"


def test_a_postgresql_database_that_was_replaced_is_noticed(
    postgres_url: str, settings: Settings, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"database_url": fresh_database(postgres_url)})
    database.upgrade(settings)
    take(settings, tmp_path)
    with transaction(settings) as session:  # as after DROP DATABASE and CREATE DATABASE
        for table in reversed(database.own_tables()):
            session.execute(text(f'DROP TABLE "{table.name}" CASCADE'))
        session.execute(text("DROP TABLE alembic_version"))
    with pytest.raises(StorageError, match=r'cannot be used: relation ".*" does not exist'):
        take(settings, tmp_path)
    with pytest.raises(StorageError, match=f"has no tables, {NO_DATABASE}"):
        take(settings, tmp_path)
    assert adopt_store(settings).buckets == 16
    database.engine(settings).dispose()
