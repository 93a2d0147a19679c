"""Backups: what is restored gives the same answers, and what is not a whole backup is refused without a trace."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlalchemy import MetaData, text
from sqlmodel import select

from segadmin.backup.archive import CONTENTS, Contents, new_archive, open_archive
from segadmin.backup.create import create_backup
from segadmin.backup.restore import restore_backup
from segadmin.backup.rows import copied_tables, lines_of
from segadmin.errors import ConfigurationError, DataError, SegadminError, StorageError
from segadmin.events.erasure_mark import begin
from segadmin.events.import_request import ImportRequest
from segadmin.events.inbox import Inbox
from segadmin.events.ingest import import_file
from segadmin.jobs import schedules
from segadmin.settings import Settings, get_settings
from segadmin.storage import database
from segadmin.storage.damage import marker
from segadmin.storage.database import transaction
from segadmin.storage.import_lock import alone
from segadmin.storage.lake import Lake
from segadmin.storage.records import Import, Job, SegmentSnapshot
from segadmin.training.study import load_summary, study_of
from tests.conftest import Cli
from tests.integration.test_doctor import look
from tests.planted import plant, retrain
from tests.servers import fresh_database, wait_until


def rows_of(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of all tables but the audit log, with times without their zone."""
    rows = {}
    with database.engine(settings).connect() as connection:
        metadata = MetaData()
        metadata.reflect(connection)
        for table in metadata.sorted_tables:
            if table.name != "audit":
                found = connection.execute(select(table).order_by(*table.columns.values()[:1])).mappings()
                rows[table.name] = [{name: _plain(value) for name, value in row.items()} for row in found]
    return rows


def _plain(value: Any) -> Any:
    return value.replace(tzinfo=None) if hasattr(value, "tzinfo") else value


def files_of(store: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and path.suffix != ".lock" and not path.name.endswith("-shm")
    }


@pytest.fixture
def saved(shop: Settings, tmp_path: Path) -> Path:
    create_backup(shop, tmp_path / "shop.tar")
    return tmp_path / "shop.tar"


def search(settings: Settings, job_id: int) -> None:
    """Run three trials of a search, and close its connections."""
    study = study_of(settings, job_id, seed=1)
    study.optimize(lambda trial: trial.suggest_float("rate", 0, 1), n_trials=3)
    storage: Any = study._storage
    storage.remove_session()
    storage._backend.engine.dispose()


At = Callable[..., Settings]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Iterator[At]:
    """Return settings of another home and database, which commands use from then on, too."""
    used = []

    def move(home: Path, database_url: str = "") -> Settings:
        monkeypatch.setenv("SEGADMIN_HOME", str(home))
        monkeypatch.setenv("SEGADMIN_DATABASE_URL", database_url)
        get_settings.cache_clear()
        used.append(get_settings())
        return used[-1]

    yield move
    get_settings.cache_clear()
    for settings in used:
        database.engine(settings).dispose()


@pytest.mark.parametrize("kinds", ["sqlite sqlite", "sqlite postgresql", "postgresql sqlite", "postgresql postgresql"])
def test_a_restored_home_gives_the_same_answers(
    trained_home: Path,
    tmp_path: Path,
    cli: Cli,
    request: pytest.FixtureRequest,
    at: At,
    kinds: str,
) -> None:
    def url(kind: str) -> str:
        return fresh_database(request.getfixturevalue("postgres_url")) if kind == "postgresql" else ""

    before, after = kinds.split()
    old = at(tmp_path / "old", url(before))
    if before == "sqlite":
        shutil.copytree(trained_home, old.root)
    else:  # the planted home is one of SQLite: what is restored from it is then saved from PostgreSQL
        shutil.copytree(trained_home, tmp_path / "planted")  # a backup is in the audit log of its home
        create_backup(Settings(home=tmp_path / "planted", database_url=""), tmp_path / "planted.tar")
        restore_backup(old, tmp_path / "planted.tar")
    schedules.add(old, "nightly", "0 3 * * *", "compact", {}, timezone="Asia/Shanghai")
    with transaction(old) as session:
        job = Job(kind="tune", state="cancelled", idempotency_key="x")
        session.add(job)
        session.flush()
        number = job.id or 0
    search(old, number)
    Inbox.of(old).add(['{"user": "u1"}'])
    looks = [
        ("users", "show", "user-1"), ("snapshots", "show", "1"), ("models", "show", "1"), ("schedule", "list"),
        ("jobs", "list"),
    ]  # fmt: skip
    answers = [json.loads(cli(*words, "--json").stdout) for words in looks]
    expected, files = rows_of(old), files_of(old.store_path)
    done = json.loads(cli("backup", str(tmp_path / "shop.tar"), "--json").stdout)
    assert done["secret"]
    assert done["left_out"] == []
    assert (tmp_path / "shop.tar").stat().st_mode & 0o777 == 0o600

    new = at(tmp_path / "new", url(after))
    assert "as of 20" in cli("restore", str(tmp_path / "shop.tar")).stdout
    assert rows_of(new) == expected
    assert files_of(new.store_path) == files
    assert (new.root / "user_key_secret").read_text() == (old.root / "user_key_secret").read_text()
    after_all = [cli(*words, "--json").stdout.replace(str(new.root), str(old.root)) for words in looks]
    assert [json.loads(answer) for answer in after_all] == answers
    assert load_summary(new, number, importance=False) == load_summary(old, number, importance=False)
    assert not {name for name, found in look(cli, code=0).items() if found["level"] == "fail"}
    with transaction(new) as session:  # the numbers go on
        last = max(row["id"] for row in expected["job"])
        session.add(job := Job(kind="refresh"))
        session.flush()
        assert job.id == last + 1
    retrain(new, language="en").all()
    with transaction(new) as session:
        assert session.get_one(SegmentSnapshot, 2).users == session.get_one(SegmentSnapshot, 1).users


def test_a_backup_is_made_while_events_are_imported(settings: Settings, tmp_path: Path) -> None:
    plant(settings, users=40)
    stop, numbers = threading.Event(), []

    def import_some() -> None:
        while not stop.is_set():
            number = len(numbers)
            file = tmp_path / f"{number}.csv"
            file.write_text(f"user,kind,item,at\nnew-{number},view,a,2026-01-01\n")
            import_file(settings, ImportRequest("events", str(file)))
            numbers.append(number)

    thread = threading.Thread(target=import_some)
    thread.start()
    try:
        for index in range(3):
            before = len(numbers)
            wait_until(lambda count=before: len(numbers) > count, 60, "one more is imported")
            create_backup(settings, tmp_path / f"{index}.tar")
    finally:
        stop.set()
        thread.join()
    for index in range(3):
        restored = Settings(home=tmp_path / f"home-{index}")
        restore_backup(restored, tmp_path / f"{index}.tar")
        with transaction(restored) as session:
            imports = session.exec(select(Import)).all()
        assert {row.state for row in imports} == {"succeeded"}
        events = Lake.of(restored).scan("events").filter(pl.col("at") >= pl.datetime(2026, 1, 1, time_zone="UTC"))
        assert events.select(pl.len()).collect().item() == len(imports)


def test_imports_wait_for_a_backup_and_a_backup_for_imports(shop: Settings, tmp_path: Path) -> None:
    done = threading.Event()

    def save() -> None:
        create_backup(shop, tmp_path / "shop.tar")
        done.set()

    thread = threading.Thread(target=save)
    with alone(shop):
        thread.start()
        assert not done.wait(1)
    thread.join(60)
    assert done.is_set()


def test_the_same_file_is_not_overwritten(shop: Settings, saved: Path, cli: Cli) -> None:
    content = saved.read_bytes()
    done = cli("backup", str(saved), check=False)
    assert done.stderr.splitlines()[-1] == f"Error: {saved} exists, and is not overwritten. Choose another name."
    assert saved.read_bytes() == content
    assert [path.name for path in saved.parent.iterdir() if path.suffix == ".tar" or path.name[0] == "."] == [
        saved.name
    ]


def test_a_file_that_changes_while_it_is_copied_is_noticed(shop: Settings, tmp_path: Path) -> None:
    victim = next(iter((shop.store_path / "models").rglob("*.json")))

    def write(done: int, total: int) -> None:
        victim.write_text(f"{done} of {total}")

    with pytest.raises(StorageError, match=r"was changed while the backup was made\. Run the command again"):
        create_backup(shop, tmp_path / "shop.tar", write)
    assert [path.name for path in tmp_path.iterdir() if ".tar" in path.name] == []


def test_a_file_of_a_job_that_is_removed_meanwhile_is_left_out(shop: Settings, tmp_path: Path) -> None:
    folder = shop.store_path / "work" / "job-9"
    folder.mkdir()
    (folder / "first.parquet").write_bytes(b"x" * 100_000)
    (folder / "second.parquet").write_bytes(b"y")

    def remove(_done: int, _total: int) -> None:
        opened = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        if folder / "first.parquet" in opened:
            (folder / "second.parquet").unlink(missing_ok=True)

    assert create_backup(shop, tmp_path / "shop.tar", remove).left_out == ("work/job-9/second.parquet",)
    restored = Settings(home=tmp_path / "new")
    restore_backup(restored, tmp_path / "shop.tar")
    assert (restored.store_path / "work" / "job-9" / "first.parquet").read_bytes() == b"x" * 100_000


def test_what_cannot_be_saved_is_named(shop: Settings, tmp_path: Path) -> None:
    def refused(message: str, settings: Settings = shop, out: Path = tmp_path / "x.tar") -> None:
        with pytest.raises(SegadminError, match=message):
            create_backup(settings, out)
        assert not out.exists()

    refused("is inside the store", out=shop.store_path / "x.tar")
    refused("There is no folder", out=tmp_path / "nowhere" / "x.tar")
    refused("object storage is not copied", shop.model_copy(update={"store": Path("s3://shop/events")}))
    (shop.store_path / "models" / "link").symlink_to(tmp_path)
    refused("link is a link, which is not copied")
    (shop.store_path / "models" / "link").unlink()
    secret = (shop.root / "user_key_secret").rename(tmp_path / "secret")
    refused("The store was made with the user-key secret .*, which is not here")
    secret.rename(shop.root / "user_key_secret")
    begin(shop, {1: "user-1"})
    refused("An erasure of users was interrupted. Complete it first: segadmin data forget")


def rewritten(path: Path, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes] | None]) -> None:
    """Write the archive anew, with members changed, or left out for ``None``."""
    with tarfile.open(path) as archive:
        members = [(member, (archive.extractfile(member) or io.BytesIO()).read()) for member in archive]
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for member, content in members:
            if (changed := change(member, content)) is not None:
                changed[0].size = len(changed[1]) if changed[0].isreg() else 0
                archive.addfile(changed[0], io.BytesIO(changed[1]))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    with tarfile.open(path) as archive:
        member = next(member for member in archive if member.name.endswith(".parquet"))
        content[member.offset_data + member.size // 2] ^= 1
    path.write_bytes(content)


def flipped_contents(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"revision"', b'"revisoin"'))


def without_a_member(path: Path) -> None:
    rewritten(path, lambda member, content: None if member.name.endswith("store.json") else (member, content))


def with_another_member(path: Path) -> None:
    def double(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if member.name.endswith("store.json"):
            member.name = "store/other.json"
        return member, content

    rewritten(path, double)


def linked(path: Path) -> None:
    def link(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if member.name.endswith("store.json"):
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        return member, content

    rewritten(path, link)


def no_archive(path: Path) -> None:
    path.write_text("a letter")


def made_of(path: Path, **facts: Any) -> None:
    """Write an archive that is in order, with other facts or files in its contents."""
    path.unlink()
    with new_archive(path, lambda _: None) as writer:
        for name in facts.pop("names", ()):
            writer.add(name, io.BytesIO(b"x"), 1)
        common = {"version": "99.0", "revision": database.HEAD, "created": "2026-01-01", "tables": ()}
        writer.finish(Contents(**{**common, "files": dict(writer.files), **facts}))


def of_a_newer_schema(path: Path) -> None:
    made_of(path, revision="9999")


def with_an_unsafe_path(path: Path) -> None:
    made_of(path, names=["store/../../escaped"])


def with_an_absolute_path(path: Path) -> None:
    made_of(path, names=["store//etc/escaped"])


def with_a_strange_file(path: Path) -> None:
    made_of(path, names=["bin/sh"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "is damaged|was cut off"),
        (flipped, "is damaged: its SHA-256 differs"),
        (flipped_contents, f"{CONTENTS} is damaged"),
        (without_a_member, "lacks 'store/store.json'"),
        (with_another_member, "'store/other.json' is not in its contents.json"),
        (linked, "is not a plain file"),
        (no_archive, "is not a backup"),
        (of_a_newer_schema, "made by segadmin 99.0.* Upgrade segadmin first"),
        (with_an_unsafe_path, "not a path inside"),
        (with_an_absolute_path, "not a path inside"),
        (with_a_strange_file, "'bin/sh', which is nothing that segadmin saves"),
        (Path.unlink, "There is no file"),
    ],
)
def test_a_file_that_is_no_whole_backup_is_refused_and_leaves_nothing(
    saved: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(saved)
    new = Settings(home=tmp_path / "new")
    with pytest.raises((DataError, StorageError), match=message):
        restore_backup(new, saved)
    assert not new.root.exists()
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("content", [b"", b"[", b"\xff", b"{}", b'["id"]\n3', b'["id"]\n[1, 2]', b"[" * 100_000])
def test_rows_that_cannot_be_read_are_refused_and_leave_nothing(saved: Path, tmp_path: Path, content: bytes) -> None:
    tables = with_other_rows(saved, content)
    new = Settings(home=tmp_path / "new")
    with pytest.raises(DataError, match="The table job in the backup is damaged"):
        restore_backup(new, saved)
    assert "job" in tables
    assert not new.root.exists()


def with_other_rows(path: Path, content: bytes) -> tuple[str, ...]:
    """Write an archive whose checksums are right, with ``content`` as the rows of the jobs; return its tables."""
    with open_archive(path) as (archive, contents):
        members = {name: (archive.extractfile(name) or io.BytesIO()).read() for name in contents.files}
    path.unlink()
    with new_archive(path, lambda _: None) as writer:
        for name, written in members.items():
            own = content if name == "database/job.jsonl" else written
            writer.add(name, io.BytesIO(own), len(own))
        writer.finish(replace(contents, files=dict(writer.files)))
    return contents.tables


@pytest.mark.parametrize("fact", [{"files": None}, {"tables": None}, {"revision": ["0012"]}, {"created": 3}])
def test_contents_of_other_types_are_refused(saved: Path, tmp_path: Path, fact: dict[str, Any]) -> None:
    saved.unlink()
    with new_archive(saved, lambda _: None) as writer:
        common = {"version": "1", "revision": database.HEAD, "created": "2026-01-01", "tables": ()}
        writer.finish(Contents(**{**common, "files": {}, **fact}))
    with pytest.raises(DataError, match=r"its contents\.json is damaged"):
        restore_backup(Settings(home=tmp_path / "new"), saved)


def test_a_newer_layout_is_refused(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segadmin.backup.archive.FORMAT", 0)
    with pytest.raises(DataError, match=r"which is newer\. Upgrade segadmin first"):
        restore_backup(Settings(home=tmp_path / "new"), saved)


def test_only_an_empty_place_is_restored_into(shop: Settings, saved: Path, cli: Cli, tmp_path: Path) -> None:
    content = files_of(shop.root)
    done = cli("restore", str(saved), check=False)
    assert f"{shop.root} is not empty, and a backup is restored only into an empty home." in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("Error: ")]) == 1
    assert files_of(shop.root) == content
    full = f"sqlite:///{shop.root}/segadmin.db"
    with pytest.raises(ConfigurationError, match="has tables, and a backup is restored only into an empty one"):
        restore_backup(Settings(home=tmp_path / "new", database_url=full), saved)
    with pytest.raises(ConfigurationError, match="set SEGADMIN_STORE to another folder"):
        restore_backup(Settings(home=tmp_path / "new", store=shop.store_path), saved)
    assert files_of(shop.root) == content
    assert not (tmp_path / "new").exists()


def test_a_damaged_home_is_replaced_by_its_backup(shop: Settings, saved: Path, cli: Cli, tmp_path: Path) -> None:
    path = shop.database_files[0]
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 16_384)
    assert cli("backup", str(tmp_path / "damaged.tar"), check=False).returncode == 1
    assert not (tmp_path / "damaged.tar").exists()
    assert marker(path).exists()
    shop.root.rename(tmp_path / "old")
    cli("restore", str(saved))
    assert look(cli, code=0)["database"]["level"] == "ok"


def test_a_secret_of_the_environment_is_not_saved(
    settings: Settings, tmp_path: Path, cli: Cli, at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGADMIN_USER_KEY_SECRET", "from elsewhere")
    get_settings.cache_clear()
    (tmp_path / "events.csv").write_text("user,kind,item,at\nu1,view,a,2026-01-01\n")
    import_file(get_settings(), ImportRequest("events", str(tmp_path / "events.csv")))
    assert "keep SEGADMIN_USER_KEY_SECRET" in cli("backup", str(tmp_path / "x.tar")).stdout
    assert b"from elsewhere" not in (tmp_path / "x.tar").read_bytes()
    monkeypatch.delenv("SEGADMIN_USER_KEY_SECRET")
    new = at(tmp_path / "new")
    assert "set SEGADMIN_USER_KEY_SECRET as before" in cli("restore", str(tmp_path / "x.tar")).stdout
    assert Lake.of(new).scan("events").collect().height == 1


def test_a_home_without_events_has_no_secret_to_keep(settings: Settings, cli: Cli, tmp_path: Path, at: At) -> None:
    schedules.add(settings, "nightly", "0 3 * * *", "compact", {})
    assert "SECRET" not in cli("backup", str(tmp_path / "x.tar")).stdout
    new = at(tmp_path / "new")
    assert "SECRET" not in cli("restore", str(tmp_path / "x.tar")).stdout
    assert [schedule.name for schedule in schedules.list_schedules(new)] == ["nightly"]


def test_a_backup_of_an_older_schema_is_migrated(settings: Settings, tmp_path: Path) -> None:
    """Steps that wait have been rung for since 0011: in an older row that is not known."""
    job = {"id": 7, "kind": "compact", "options": "{}", "state": "queued", "priority": 5}
    job |= {"created_at": "2026-01-02 00:00:00.000000"}
    with database.engine(settings).begin() as connection:
        database.migrate(connection, "0010")
        names = ", ".join(job)
        marks = ", ".join(f":{name}" for name in job)
        connection.execute(text(f"INSERT INTO job ({names}) VALUES ({marks})"), job)
        tables, _ = copied_tables(connection)
        rows = {f"database/{table.name}.jsonl": b"".join(lines_of(connection, table)) for table in tables}
    with new_archive(tmp_path / "old.tar", lambda _: None) as writer:
        for name, lines in rows.items():
            writer.add(name, io.BytesIO(lines), len(lines))
        contents = Contents("0.1", "0010", "2026-01-03", tuple(table.name for table in tables), dict(writer.files))
        writer.finish(contents)
    new = Settings(home=tmp_path / "new")
    assert restore_backup(new, tmp_path / "old.tar").version == "0.1"
    assert database.revision(new) == database.HEAD
    with transaction(new) as session:
        assert session.get_one(Job, 7).created_at == datetime(2026, 1, 2, tzinfo=UTC)
