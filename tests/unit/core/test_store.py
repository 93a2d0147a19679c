"""The store and its database know each other, and neither is taken for another or made anew by accident."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from segadmin import preflight
from segadmin.errors import ConfigurationError, StorageError, StoreMissing
from segadmin.events.adopt import adopt_store
from segadmin.events.import_record import ALL_KNOWN
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.jobs.requests import check_request
from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.database import transaction
from segadmin.storage.import_lock import alone
from segadmin.storage.lake import Lake
from segadmin.storage.mark import MARK, read_mark
from segadmin.storage.records import Import, Step, Store
from segadmin.storage.store import check_folder, check_store, note_import, open_store
from tests.conftest import Cli
from tests.planted import through_the_engine
from tests.privacy.victim import event, post

ROWS = "user,kind,item,at\nu1,view,a,2026-01-01\nu2,view,b,2026-01-02\n"


LAST_IMPORT_BROKEN = '{"id": "a", "buckets": 16, "key_fingerprint": "b", "last_import": "yesterday"}'


def take(settings: Settings, tmp_path: Path, rows: str = ROWS) -> Import:
    (tmp_path / "events.csv").write_text(rows)
    return import_file(settings, ImportRequest("events", str(tmp_path / "events.csv")))[0]


def forget_id(settings: Settings) -> None:
    """Make the store one of an older version, which had no ids."""
    (settings.store_path / MARK).unlink()
    with transaction(settings) as session:
        session.get_one(Store, 1).store_id = None


def fresh_database(settings: Settings, tmp_path: Path) -> Settings:
    """Return the settings with a database whose tables were created for another store, and which knows nothing."""
    other = settings.model_copy(update={"database_url": f"sqlite:///{tmp_path}/fresh.db"})
    database.upgrade(other.model_copy(update={"store": tmp_path / "no store"}))
    return other


def test_the_first_import_links_folder_and_database(any_database: Settings, tmp_path: Path) -> None:
    settings = any_database
    if settings.database_url:
        database.upgrade(settings)
    assert check_store(settings) is None
    take(settings, tmp_path)
    store = check_store(settings)
    mark = read_mark(settings)
    assert store is not None
    assert mark is not None
    assert (mark.id, mark.buckets, mark.key_fingerprint) == (store.store_id, 16, store.key_fingerprint)
    assert preflight.problems(settings) == []


def test_processes_that_open_a_store_at_once_get_the_same_one(any_database: Settings) -> None:
    settings = any_database
    database.upgrade(settings)
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(lambda _: open_store(settings), range(16)))
    assert len({(store.store_id, store.key_fingerprint) for store in stores}) == 1
    mark = read_mark(settings)
    assert mark is not None
    assert mark.id == stores[0].store_id
    assert [path.name for path in settings.store_path.iterdir()] == [MARK]


def test_two_first_imports_at_once_make_one_store(settings: Settings, tmp_path: Path, cli: Cli) -> None:
    files = [tmp_path / f"{n}.csv" for n in range(2)]
    for n, path in enumerate(files):
        path.write_text(f"user,kind,item,at\nu{n},view,a,2026-01-01\n")
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda path: cli("data", "import", "events", str(path)), files))
    assert [process.stderr for process in done] == ["", ""]
    assert Lake.of(settings).scan("users").collect().height == 2
    assert preflight.problems(settings) == []


def test_an_import_into_an_empty_folder_is_refused_and_nothing_is_lost(any_database: Settings, tmp_path: Path) -> None:
    settings = any_database
    database.upgrade(settings)
    take(settings, tmp_path)
    settings.store_path.rename(tmp_path / "away")
    with pytest.raises(StoreMissing, match=r"there is nothing, and the database .* knows of 1 import\. Mount it or"):
        take(settings, tmp_path, ROWS + "u3,view,c,2026-01-03\n")
    assert not settings.store_path.exists()
    settings.store_path.mkdir()
    for refused in (open_store, check_folder, Lake.of, lambda shop: check_request(shop, "compact", {})):
        with pytest.raises(StoreMissing):
            refused(settings)
    [line] = preflight.problems(settings)
    assert line.startswith(f"The store is not in {settings.store_path}: ")
    assert list(settings.store_path.iterdir()) == []
    settings.store_path.rmdir()
    (tmp_path / "away").rename(settings.store_path)
    assert take(settings, tmp_path, ROWS + "u3,view,c,2026-01-03\n").rows_kept == 1


def test_another_store_is_refused(any_database: Settings, tmp_path: Path) -> None:
    settings = any_database
    database.upgrade(settings)
    take(settings, tmp_path)
    other = Settings(home=tmp_path / "other", database_url="")
    take(other, tmp_path)
    swapped = settings.model_copy(update={"store": other.store_path})
    with pytest.raises(ConfigurationError, match=r"is the store \w{8}…, and the database .* belongs to the store"):
        take(swapped, tmp_path)
    assert preflight.problems(swapped)
    database.engine(other).dispose()


def test_a_store_of_an_older_version_gets_its_id(any_database: Settings, tmp_path: Path) -> None:
    settings = any_database
    database.upgrade(settings)
    take(settings, tmp_path)
    forget_id(settings)
    assert preflight.problems(settings) == []  # which writes nothing
    assert read_mark(settings) is None
    check_folder(settings)
    mark, store = read_mark(settings), check_store(settings)
    assert mark is not None
    assert store is not None
    assert mark.id == store.store_id


def test_a_store_of_an_older_version_that_is_gone_is_noticed(settings: Settings, tmp_path: Path) -> None:
    take(settings, tmp_path)
    forget_id(settings)
    shutil.rmtree(settings.store_path)
    with pytest.raises(StoreMissing):
        open_store(settings)
    assert not settings.store_path.exists()


def test_a_process_killed_between_folder_and_database_is_recovered_from(settings: Settings, tmp_path: Path) -> None:
    take(settings, tmp_path)
    with transaction(settings) as session:  # an older store: the folder was marked, the database not
        session.get_one(Store, 1).store_id = None
    assert open_store(settings).store_id == json.loads((settings.store_path / MARK).read_text())["id"]
    empty = Settings(home=tmp_path / "empty")
    store = open_store(empty)  # a new store: the database knew it, the folder was not marked
    (empty.store_path / MARK).unlink()
    assert open_store(empty).store_id == store.store_id
    assert read_mark(empty) is not None
    database.engine(empty).dispose()


def test_a_secret_that_is_lost_is_not_made_again(any_database: Settings, tmp_path: Path) -> None:
    settings = any_database
    database.upgrade(settings)
    take(settings, tmp_path)
    secret = settings.root / "user_key_secret"
    kept = secret.read_bytes()
    for state in (secret.unlink, lambda: secret.write_bytes(b" \n"), lambda: secret.write_bytes(b"\xff\xfe")):
        state()
        with pytest.raises(ConfigurationError, match=r"The store was made with the user-key secret .*Restore it from"):
            take(settings, tmp_path, ROWS + "u3,view,c,2026-01-03\n")
        assert len(preflight.problems(settings)) == 1
    secret.unlink()
    with pytest.raises(ConfigurationError, match="cannot be read: No such file or directory"):
        settings.secret()
    secret.mkdir()
    assert "Is a directory" in preflight.problems(settings)[0]
    secret.rmdir()
    secret.write_text("another")
    with pytest.raises(ConfigurationError, match=r"the settings have \w{16}…"):
        open_store(settings)
    secret.write_bytes(kept)
    assert preflight.problems(settings) == []


def test_a_new_database_makes_no_secret_for_a_store_that_is_there(settings: Settings, tmp_path: Path) -> None:
    take(settings, tmp_path)
    (settings.root / "user_key_secret").unlink()
    fresh = fresh_database(settings, tmp_path)
    with pytest.raises(ConfigurationError, match=r"which knows nothing of it\. Restore .*segadmin db adopt"):
        take(fresh, tmp_path)
    assert not (settings.root / "user_key_secret").exists()
    assert "segadmin db adopt" in preflight.problems(fresh)[0]
    with pytest.raises(ConfigurationError, match="user_key_secret cannot be read: No such file"):
        adopt_store(fresh)


@pytest.mark.parametrize("marked", [True, False], ids=["marked", "of an older version"])
def test_a_new_database_adopts_a_store(settings: Settings, tmp_path: Path, *, marked: bool) -> None:
    take(settings, tmp_path, ROWS + ",view,c,2026-01-03\n")
    lake = Lake.of(settings)
    assert lake.scan("quarantine").collect().height == 1
    if not marked:
        forget_id(settings)
    fresh = fresh_database(settings, tmp_path)
    adopted = adopt_store(fresh)
    assert adopted.buckets == 16
    assert preflight.problems(fresh) == []
    assert Lake.of(fresh).scan("events").collect().height == 2
    assert not Lake.of(fresh).exists("quarantine")  # its imports are counted from 1 again
    assert take(fresh, tmp_path, ROWS + "u3,view,c,2026-01-03\n").rows_kept == 1
    with transaction(fresh) as session:
        assert session.exec(select(Import.id)).all() == [1]
    if marked:
        with pytest.raises(ConfigurationError):  # the old database is no longer the store's
            open_store(settings)
    database.engine(fresh).dispose()


def test_a_new_database_that_counts_imports_again_loses_no_posted_events(settings: Settings, tmp_path: Path) -> None:
    take(settings, tmp_path)
    for number, user in enumerate(("u4", "u5", "u6")):
        post(settings, event(user))
        if number == 2:  # two imports of the inbox went before, and the new database gives them numbers again
            fresh = fresh_database(settings, tmp_path)
            adopt_store(fresh)
        used = fresh if number == 2 else settings
        done, _ = import_file(used, ImportRequest("events", "inbox://"))
        assert done.rows_kept == 1
    assert len(Lake.of(fresh).scan("events").collect()) == len(Lake.of(fresh).scan("users").collect()) == 5
    again = take(fresh, tmp_path)
    assert (again.rows_kept, again.rows_read, again.warnings) == (0, 2, [ALL_KNOWN])
    database.engine(fresh).dispose()


def test_a_store_is_adopted_when_no_import_goes_on(settings: Settings, tmp_path: Path) -> None:
    take(settings, tmp_path)
    fresh = fresh_database(settings, tmp_path)
    with ThreadPoolExecutor(1) as pool:
        with alone(settings):
            adopting = pool.submit(adopt_store, fresh)
            with pytest.raises(TimeoutError):
                adopting.result(0.3)
            assert read_mark(settings) is not None, "nothing is removed before"
        assert adopting.result(60).buckets == 16
    database.engine(fresh).dispose()


def test_a_store_that_does_not_match_is_not_adopted(settings: Settings, tmp_path: Path) -> None:
    fresh = fresh_database(settings, tmp_path)
    with pytest.raises(StoreMissing, match="There is no store in"):
        adopt_store(fresh)
    take(settings.model_copy(update={"buckets": 8}), tmp_path)
    forget_id(settings)
    for update, words in (
        ({"user_key_secret": "other"}, "another user-key secret"),
        ({"buckets": 1}, "not in 1 bucket"),
    ):
        wrong = Settings(home=settings.root, database_url=fresh.database_url, **update)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match=words):
            adopt_store(wrong)
    check_folder(settings)
    other = Settings(home=tmp_path / "other", user_key_secret=settings.secret().decode())  # type: ignore[arg-type]
    take(other, tmp_path)
    with pytest.raises(ConfigurationError, match="is another store than that of the database"):
        adopt_store(other.model_copy(update={"store": settings.store_path}))
    database.engine(other).dispose()


def test_a_lost_mark_is_written_again(cli: Cli, settings: Settings, tmp_path: Path) -> None:
    take(settings, tmp_path)
    before = open_store(settings).store_id
    (settings.store_path / MARK).unlink()
    with pytest.raises(ConfigurationError, match=r"has tables and no store\.json.*segadmin db adopt"):
        open_store(settings)
    assert "16 buckets" in cli("db", "adopt").stdout
    assert open_store(settings).store_id == before
    assert cli("audit", "list").stdout.count("store.adopt") == 1


@pytest.mark.parametrize("content", ["", "{", "[]", '{"id": 1}', "\xff", LAST_IMPORT_BROKEN])
def test_a_damaged_mark_is_named(settings: Settings, tmp_path: Path, content: str) -> None:
    take(settings, tmp_path)
    (settings.store_path / MARK).write_text(content)
    with pytest.raises(StorageError, match=r"store\.json is damaged\. Restore it from a backup"):
        open_store(settings)
    assert len(preflight.problems(settings)) == 1


def test_a_mark_that_cannot_be_read_is_named(settings: Settings, tmp_path: Path) -> None:
    take(settings, tmp_path)
    mark = settings.store_path / MARK
    mark.rename(tmp_path / MARK)
    mark.symlink_to("/nowhere")
    for refused in (open_store, adopt_store):
        with pytest.raises(StorageError, match=r"store\.json cannot be read: No such file or directory"):
            refused(settings)
    mark.unlink()
    mark.mkdir()
    with pytest.raises(StorageError, match=r"store\.json cannot be read: Is a directory"):
        open_store(settings)


def test_an_older_backup_of_the_store_is_noticed(cli: Cli, any_database: Settings, tmp_path: Path) -> None:
    settings = any_database
    database.upgrade(settings)
    take(settings, tmp_path)
    shutil.copytree(settings.store_path, tmp_path / "backup")
    for user in ("u3", "u4"):
        take(settings, tmp_path, f"user,kind,item,at\n{user},view,c,2026-01-03\n")
    assert preflight.problems(settings) == []
    shutil.rmtree(settings.store_path)
    shutil.copytree(tmp_path / "backup", settings.store_path)
    for refused in (open_store, check_folder, Lake.of, lambda shop: check_request(shop, "compact", {})):
        with pytest.raises(StoreMissing, match=r"is older than the database .*: it lacks 2 imports, 2 to 3\. Restore"):
            refused(settings)
    assert "✗ store: The store in" in cli("doctor", check=False).stdout  # a process that has seen nothing yet
    cli("db", "adopt")
    assert preflight.problems(settings) == []
    check_folder(settings)
    again = take(settings, tmp_path, "user,kind,item,at\nu4,view,c,2026-01-03\n")
    assert again.rows_kept == 1, "its file can be imported again"
    assert set(Lake.of(settings).scan("users").collect()["user"]) == {"u1", "u2", "u4"}
    with transaction(settings) as session:
        states = {record.id: record.state for record in session.exec(select(Import)).all()}
    assert states == {1: "succeeded", 2: "failed", 3: "succeeded"}
    assert check_store(settings) is not None


def test_an_older_backup_of_the_database_goes_on(settings: Settings, tmp_path: Path) -> None:
    take(settings, tmp_path)
    database.engine(settings).dispose()
    shutil.copy(settings.root / "segadmin.db", tmp_path / "backup.db")
    take(settings, tmp_path, "user,kind,item,at\nu3,view,c,2026-01-03\n")
    older = settings.model_copy(update={"database_url": f"sqlite:///{tmp_path}/backup.db"})
    assert preflight.problems(older) == []
    assert take(older, tmp_path, "user,kind,item,at\nu4,view,c,2026-01-03\n").rows_kept == 1
    database.engine(older).dispose()


def test_an_import_that_ends_by_an_earlier_clock_is_not_missing(settings: Settings, tmp_path: Path) -> None:
    take(settings, tmp_path)
    ahead = datetime.now(UTC) + timedelta(minutes=5)  # a machine whose clock is ahead had the last one
    with transaction(settings) as session:
        session.get_one(Import, 1).finished_at = ahead
    note_import(settings, ahead)
    take(settings, tmp_path, "user,kind,item,at\nu3,view,c,2026-01-03\n")
    mark = read_mark(settings)
    assert mark is not None
    assert mark.last_import == ahead
    assert preflight.problems(settings) == []


def test_doctor_says_what_is_wrong_with_the_store(cli: Cli, any_database: Settings, tmp_path: Path) -> None:
    settings = any_database
    database.upgrade(settings)

    def fails(**environment: str) -> list[str]:
        done = cli("doctor", check=False, **environment)
        assert done.returncode == 1
        return [line for line in done.stdout.splitlines() if line.startswith("✗")]

    take(settings, tmp_path)
    [line] = fails(SEGADMIN_BUCKETS="32")
    assert "SEGADMIN_BUCKETS=32, but the store was made with 16, which is fixed. Unset SEGADMIN_BUCKETS." in line
    (settings.root / "user_key_secret").rename(tmp_path / "secret")
    [line] = fails()
    assert line.startswith("✗ setting user_key_secret: The store was made with the user-key secret")
    (tmp_path / "secret").rename(settings.root / "user_key_secret")
    shutil.rmtree(settings.store_path)
    [line] = fails()
    assert line.startswith(f"✗ store: The store is not in {settings.store_path}: ")


def test_a_step_waits_for_a_store_that_is_not_mounted(settings: Settings, tmp_path: Path) -> None:
    take(settings, tmp_path)
    settings.store_path.rename(tmp_path / "away")
    job = through_the_engine(settings, "compact", {})
    with transaction(settings) as session:
        step = session.exec(select(Step).where(Step.job_id == job)).one()
        assert (step.state, step.error is not None and "The store is not in" in step.error) == ("ready", True)
    assert not settings.store_path.exists()
