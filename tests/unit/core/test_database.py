"""The schema: migrations equal the models, on both databases; and what is said when it is not so."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, inspect, text
from sqlalchemy.engine.interfaces import ReflectedIndex
from sqlmodel import SQLModel

from segadmin.errors import SchemaOutOfDate, StorageError
from segadmin.settings import Settings, get_settings
from segadmin.storage import database
from segadmin.storage.database import transaction
from segadmin.storage.records import Job, JobState, Schedule
from tests.conftest import Cli


@pytest.mark.parametrize("way", ["migrated", "created"])
def test_the_schema_equals_the_models(any_database: Settings, way: str) -> None:
    if way == "migrated":
        with database.engine(any_database).begin() as connection:
            database.migrate(connection)
    else:
        database.upgrade(any_database)
    assert database.revision(any_database) == database.HEAD
    with database.engine(any_database).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []


def test_a_database_that_is_created_equals_one_that_was_migrated(any_database: Settings) -> None:
    """But for what an older row gets in a new column: the models set it themselves."""
    with database.engine(any_database).begin() as connection:
        database.migrate(connection)
        migrated = _schema(connection)
        tables = MetaData()
        tables.reflect(connection)
        tables.drop_all(connection)
    database.upgrade(any_database)
    with database.engine(any_database).connect() as connection:
        assert _schema(connection) == migrated


def _schema(connection: Connection) -> dict[str, object]:
    """Return columns, keys and indexes of every table, without their order and without defaults of columns."""
    inspector = inspect(connection)

    def of(table: str) -> list[list[str]]:
        columns = [
            {name: str(value) for name, value in column.items() if name not in {"default", "autoincrement"}}
            for column in inspector.get_columns(table)
        ]
        keys = [
            inspector.get_foreign_keys(table),
            inspector.get_unique_constraints(table),
            [{**index, "dialect_options": _texts(index)} for index in inspector.get_indexes(table)],
        ]
        parts = [columns, [inspector.get_pk_constraint(table)], *keys]
        return [sorted(map(repr, part)) for part in parts]

    return {table: of(table) for table in inspector.get_table_names()}


def _texts(index: ReflectedIndex) -> dict[str, str]:
    """Return the options of an index, such as the condition of one of some rows, as texts that can be compared."""
    return {name: str(value) for name, value in index.get("dialect_options", {}).items()}


def test_head_is_the_newest_migration() -> None:
    scripts = ScriptDirectory(str(Path(database.__file__).parent / "migrations"))
    assert scripts.get_current_head() == database.HEAD


def test_upgrade_is_safe_from_several_processes_at_once(any_database: Settings, cli: Cli) -> None:
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: cli("db", "upgrade", check=False), range(3)))
    assert [process.returncode for process in done] == [0, 0, 0], done
    assert database.revision(any_database) == database.HEAD


def test_times_come_back_in_utc(any_database: Settings) -> None:
    database.upgrade(any_database)
    shanghai = timezone(timedelta(hours=8))
    with transaction(any_database) as session:
        slot = datetime(2026, 1, 2, 3, 0, tzinfo=shanghai)
        session.add(Schedule(name="nightly", cron="0 3 * * *", kind="refresh", next_slot=slot))
    with transaction(any_database) as session:
        assert session.get_one(Schedule, "nightly").next_slot == datetime(2026, 1, 1, 19, 0, tzinfo=UTC)


def test_states_come_back_as_states(any_database: Settings) -> None:
    database.upgrade(any_database)
    with transaction(any_database) as session:
        session.add(Job(kind="refresh"))
    with transaction(any_database) as session:
        assert session.get_one(Job, 1).state is JobState.QUEUED


def test_an_empty_database_of_ones_own_is_not_filled_silently(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGADMIN_DATABASE_URL", f"sqlite:///{tmp_path / 'own.db'}")
    get_settings.cache_clear()
    with pytest.raises(SchemaOutOfDate, match=r"has no segadmin tables. Run: segadmin db upgrade"):
        database.ensure_schema(get_settings())


def test_an_older_schema_is_named_with_the_command_that_upgrades_it(settings: Settings, cli: Cli) -> None:
    database.upgrade(settings)
    with database.engine(settings).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    done = cli("jobs", "list", check=False)
    assert done.returncode == 1
    assert f"is at revision 0001, not {database.HEAD}. Run: segadmin db upgrade" in done.stderr
    assert cli("db", "status", check=False).returncode == 1


def test_a_schema_of_a_newer_version_is_refused_and_not_called_out_of_date(any_database: Settings, cli: Cli) -> None:
    database.upgrade(any_database)
    with database.engine(any_database).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0999'"))
    for words in (("jobs", "list"), ("db", "upgrade"), ("db", "status"), ("doctor",)):
        done = cli(*words, check=False)
        assert done.returncode == 1
        assert "a newer segadmin" in (done.stdout + done.stderr).lower()
        assert "pip install --upgrade segadmin" in done.stdout + done.stderr
        assert "segadmin db upgrade" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "it is not a URL such as scheme://user:password@host/name. Use sqlite:////path/to/segadmin.db or"),
        ("mongodb://localhost/x", "only SQLite and PostgreSQL are supported. Use sqlite:////path/to/segadmin.db or"),
        ("mysql://shop:hidden@h/x", "only SQLite and PostgreSQL are supported."),
        ("postgres://shop:hidden@h/x", "write postgresql:// for postgres://."),
        ("postgresql+asyncpg://shop:hidden@h/x", "the driver 'asyncpg' is not supported. Write postgresql://."),
        ("postgresql://shop:hid@den@h/x", "it has several @. In a user name or password write @ as %40"),
        ("postgresql://shop:hid#den@h/x", "it has a # in it."),
        ("postgresql://shop:hid/den@h/x", "it has an @ behind its host."),
        ("postgresql://shop:hidden@h:54x/x", "its port is not a number from 0 to 65535."),
        ("postgresql://shop:hidden", "its port is not a number from 0 to 65535."),
        ("sqlite://", "a database in memory is lost with its process. Write sqlite:////path/to/segadmin.db"),
    ],
)
def test_a_wrong_database_url_is_named(cli: Cli, url: str, message: str) -> None:
    done = cli("jobs", "list", check=False, SEGADMIN_DATABASE_URL=url)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: SEGADMIN_DATABASE_URL='")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert not any(part in done.stderr for part in ("hid", "den@"))


def test_an_unreachable_database_is_named_without_its_password(cli: Cli) -> None:
    url = "postgresql://me:hidden@127.0.0.1:1/shop"
    done = cli("jobs", "list", check=False, SEGADMIN_DATABASE_URL=url)
    assert done.returncode == 1
    assert "cannot be used" in done.stderr
    assert "hidden" not in done.stderr
    with pytest.raises(StorageError):
        database.revision(Settings(database_url=url))


def test_a_missing_driver_is_named_with_what_installs_it(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "psycopg.py").write_text("raise ModuleNotFoundError(\"No module named 'psycopg'\", name='psycopg')")
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = cli("db", "status", check=False, SEGADMIN_DATABASE_URL="postgresql://shop:hidden@h/x", PYTHONPATH=path)
    assert done.stderr == (
        "Error: SEGADMIN_DATABASE_URL='postgresql://shop:***@h/x' needs the driver psycopg, which is not installed. "
        "Run: pip install 'segadmin[postgres]'\n"
    )


def test_ready_steps_are_dispatched_after_an_upgrade(any_database: Settings) -> None:
    """Before 0013 a step held when to ring again; what was queued then must not wait for ever."""
    from segadmin.jobs.reap import reap

    with database.engine(any_database).begin() as connection:
        database.migrate(connection, "0009")
        moment = datetime.now(UTC)
        values = {
            "store": {"id": 1, "buckets": 8, "key_fingerprint": "", "created_at": moment},
            "job": {
                "id": 7,
                "kind": "compact",
                "options": "{}",
                "state": "queued",
                "priority": 5,
                "created_at": moment,
            },
            "step": {
                "id": 9,
                "job_id": 7,
                "stage": "compact",
                "queue": "cpu",
                "after": "[]",
                "state": "ready",
                "rings": 4,
            }
            | {"bucket_from": -1, "bucket_to": -1, "attempt": 0, "max_attempts": 3, "token": 0, "ring_at": moment}
            | {"progress": 0, "note": "", "result": "{}"},
        }
        for table, row in values.items():
            names = ", ".join(f'"{name}"' for name in row)
            marks = ", ".join(f":{name}" for name in row)
            connection.execute(text(f'INSERT INTO "{table}" ({names}) VALUES ({marks})'), row)
    database.upgrade(any_database)
    dispatched: list[int] = []
    reap(any_database, lambda messages: dispatched.extend(message.step_id for message in messages))
    assert dispatched == [9]


def test_readers_do_not_wait_for_writers(settings: Settings) -> None:
    database.upgrade(settings)
    with transaction(settings) as writer:
        writer.add(Job(kind="refresh"))
        writer.flush()
        with database.reading(settings) as reader:
            assert reader.get(Job, 1) is None, "what is not committed is not seen"
