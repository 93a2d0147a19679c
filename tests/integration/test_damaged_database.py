"""A damaged database: one line says so, nobody goes on writing, and nothing becomes current over it."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlmodel import select

from segadmin import preflight
from segadmin.errors import DatabaseDamaged, StorageError
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.models.registry import promote_version
from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.damage import marker
from segadmin.storage.database import reading, transaction
from segadmin.storage.integrity import check_database, clear_damage, read_tables
from segadmin.storage.lake import Lake
from segadmin.storage.records import Job, ModelVersion
from tests.conftest import Cli
from tests.integration.test_doctor import look
from tests.planted import retrain
from tests.servers import fresh_database

FIX = "Run: segadmin down, then: segadmin restore BACKUP"


def overwrite(path: Path, start: int, length: int) -> None:
    """Write random bytes over a part of a file, as a failing disk does."""
    with path.open("r+b") as file:
        file.seek(start)
        file.write(random.Random(7).randbytes(length))


def in_the_middle(path: Path) -> None:
    overwrite(path, path.stat().st_size // 2, 16_384)


def header(path: Path) -> None:
    overwrite(path, 0, 100)


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


DAMAGES = pytest.mark.parametrize("damage", [in_the_middle, header, truncated])


def file_of(settings: Settings) -> Path:
    return settings.database_files[0]


@DAMAGES
def test_a_damaged_file_is_one_line_with_the_fix_and_is_not_written(
    shop: Settings, cli: Cli, damage: Callable[[Path], None]
) -> None:
    path = file_of(shop)
    damage(path)
    content = path.read_bytes()
    findings = look(cli, code=1)
    assert findings["database"]["level"] == "fail"
    assert FIX in findings["database"]["detail"]
    for words in (("jobs", "list"), ("users", "show", "user-1"), ("db", "check"), ("enqueue", "retrain"), ("beat",)):
        done = cli(*words, check=False)
        assert done.returncode == 1
        lines = [
            line for line in done.stderr.splitlines() if not line.startswith("Warning: ")
        ]  # planted files are open
        assert len(lines) == 1, done.stderr
        [line] = lines
        assert line.startswith("Error: ")
        assert f"The database {path} is damaged" in line
        assert FIX in line
    assert path.read_bytes() == content


def test_every_session_refuses_a_file_in_which_another_process_found_damage(shop: Settings, cli: Cli) -> None:
    with transaction(shop) as session:  # keeps a connection with pages from before the damage
        session.exec(select(Job)).all()
    in_the_middle(file_of(shop))
    assert cli("doctor", check=False).returncode == 1
    message = r"segadmin.db is damaged: .* \(detected .*\)\. Run: segadmin down"
    with pytest.raises(DatabaseDamaged, match=message), transaction(shop) as session:
        session.add(Job(kind="refresh"))
    with pytest.raises(DatabaseDamaged), reading(shop):
        pass
    assert list(preflight.CHECKS["database_url"](shop)), "`up` refuses, too"


def test_damage_that_a_query_meets_marks_the_file(shop: Settings) -> None:
    database.engine(shop).dispose()
    size = file_of(shop).stat().st_size
    overwrite(file_of(shop), size // 4, size // 2)  # pages of rows, too, not of indexes only
    with pytest.raises(DatabaseDamaged):
        _read_everything(shop)
    assert marker(file_of(shop)).exists()
    assert marker(file_of(shop)).stat().st_mode & 0o777 == file_of(shop).stat().st_mode & 0o777


def _read_everything(settings: Settings) -> None:
    with reading(settings) as session:
        for table in session.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars().all():
            session.execute(text(f'SELECT * FROM "{table}"')).all()


def test_a_repaired_file_is_used_again_after_a_check(shop: Settings, cli: Cli) -> None:
    path = file_of(shop)
    intact = path.read_bytes()
    in_the_middle(path)
    assert "is damaged" in cli("db", "check", check=False).stderr
    path.write_bytes(intact)
    assert "If it was repaired: segadmin db check" in cli("jobs", "list", check=False).stderr
    assert cli("db", "check").stdout == f"sqlite:///{path} is in order.\n"
    cli("jobs", "list")
    assert look(cli, code=0)["database"]["level"] == "ok"


def test_a_retrain_does_not_change_the_champion_over_a_damaged_file(shop: Settings) -> None:
    run = retrain(shop).until("gate")
    damage_an_unread_page(shop)
    with pytest.raises(DatabaseDamaged):
        run.stage("gate")
    assert champions(shop) == [1]


def test_a_snapshot_is_not_published_over_a_damaged_file(shop: Settings) -> None:
    run = retrain(shop).until("publish")
    damage_an_unread_page(shop)
    with pytest.raises(DatabaseDamaged):
        run.stage("publish")
    assert champions(shop, "snapshot") == [1]


def test_a_promotion_by_hand_does_not_change_the_champion_of_a_damaged_file(shop: Settings) -> None:
    with transaction(shop) as session:
        first = session.get_one(ModelVersion, 1)
        copy = first.model_dump(exclude={"id"}) | {"state": "challenger"}
        session.add(ModelVersion(**copy))
    damage_an_unread_page(shop)
    with pytest.raises(DatabaseDamaged):
        promote_version(shop, "2")
    assert champions(shop) == [1]


def test_an_import_adds_nothing_over_a_damaged_file(shop: Settings, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user,kind,item,at\nu1,view,a,2026-01-01\n")
    lake = Lake.of(shop)
    before = lake.version("events")
    damage_an_unread_page(shop)
    with pytest.raises(DatabaseDamaged):
        import_file(shop, ImportRequest("events", str(tmp_path / "events.csv")))
    assert lake.version("events") == before


def damage_an_unread_page(settings: Settings) -> None:
    """Damage the table of keys, which neither a job nor an import reads."""
    with reading(settings) as session:
        page = session.execute(text("SELECT rootpage FROM sqlite_master WHERE name = 'apikey'")).scalar_one()
        size = session.execute(text("PRAGMA page_size")).scalar_one()
    database.engine(settings).dispose()  # what is in the write-ahead log enters the file
    overwrite(file_of(settings), (page - 1) * size, size)


def champions(settings: Settings, name: str = "champion") -> list[int]:
    """Return what the aliases refer to, read as if nothing had been detected."""
    marker(file_of(settings)).unlink(missing_ok=True)
    with reading(settings) as session:
        return list(session.execute(text(f"SELECT target_id FROM current WHERE name LIKE '{name}:%'")).scalars())


def test_a_file_that_is_no_database_gets_no_marker(settings: Settings, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("Buy milk. " * 1000)
    other = settings.model_copy(update={"database_url": f"sqlite:///{notes}"})
    for use in (check_database, database.revision, clear_damage):
        with pytest.raises(DatabaseDamaged, match=r"or another file: .*; or correct SEGADMIN_DATABASE_URL\.$"):
            use(other)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["notes.txt"]


def test_damage_that_postgresql_reports_is_damage(postgres_url: str, settings: Settings) -> None:
    damaged = settings.model_copy(update={"database_url": fresh_database(postgres_url)})
    database.upgrade(damaged)
    report = "DO $$ BEGIN RAISE EXCEPTION 'invalid page in block 7' USING ERRCODE = 'data_corrupted'; END $$"
    message = r"is damaged: invalid page in block 7\. Run: segadmin down, then: segadmin restore BACKUP\.$"
    with pytest.raises(DatabaseDamaged, match=message), transaction(damaged) as session:
        session.execute(text(report))
    check_database(damaged)
    database.engine(damaged).dispose()


def test_a_damaged_table_of_postgresql_is_reported(
    postgres_url: str, settings: Settings, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = settings.model_copy(update={"database_url": fresh_database(postgres_url)})
    database.upgrade(sound)
    with transaction(sound) as session:
        session.add(Job(kind="refresh", state="succeeded"))
    monkeypatch.setenv("SEGADMIN_DATABASE_URL", damaged_copy(postgres_url, sound))
    for words in (("jobs", "list"), ("jobs", "show", "1")):
        done = cli(*words, check=False)
        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert "is damaged: invalid page in block 0" in line
        assert FIX in line
    findings = look(cli, code=1)
    assert findings["database"]["level"] == "fail"
    assert FIX in findings["database"]["detail"]


def damaged_copy(server: str, settings: Settings) -> str:
    """Copy a PostgreSQL database, write random bytes over the first page of its jobs, and return the copy's URL.

    The server has read no page of the copy, so it has none in memory.
    """
    with reading(settings) as session:
        folder = session.execute(text("SHOW data_directory")).scalar_one()
        path = session.execute(text("SELECT pg_relation_filepath('job')")).scalar_one()
    database.engine(settings).dispose()
    name = make_url(settings.database_url).database
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}_copy TEMPLATE {name} STRATEGY file_copy"))
        oid = connection.execute(text(f"SELECT oid FROM pg_database WHERE datname = '{name}_copy'")).scalar_one()
    engine.dispose()
    overwrite(Path(folder) / "base" / str(oid) / Path(path).name, 0, 8_192)
    return make_url(settings.database_url).set(database=f"{name}_copy").render_as_string(hide_password=False)


def test_a_sound_database_passes(any_database: Settings) -> None:
    database.upgrade(any_database)
    check_database(any_database)
    read_tables(any_database)
    clear_damage(any_database)


def test_a_file_that_cannot_be_opened_is_not_damaged(settings: Settings) -> None:
    database.upgrade(settings)
    database.engine(settings).dispose()
    path = file_of(settings)
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageError, match=r"cannot be checked: .* Check its permissions"):
        check_database(settings)
    assert not marker(path).exists()
