"""Users who are hard to find, things that lie about, and deaths in the middle: all of it goes, and no more."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import multiprocessing
import os
import sqlite3
import threading
import time
import zipfile
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlmodel import col, select

from segadmin.errors import DataError, JobError, StorageError
from segadmin.events import erase, ingest
from segadmin.events.erase import Erased, forget, remove_older
from segadmin.events.erasure_mark import was_interrupted
from segadmin.events.import_request import ImportRequest
from segadmin.events.inbox import Inbox
from segadmin.events.ingest import import_file
from segadmin.events.interrupted import list_interrupted
from segadmin.events.keys import keys_of, show_key, user_key
from segadmin.events.mapping import Mapping
from segadmin.settings import Settings, get_settings
from segadmin.storage import database, sqlite
from segadmin.storage import import_lock as events_alone
from segadmin.storage.audit import entries, record
from segadmin.storage.compaction import compact
from segadmin.storage.database import transaction
from segadmin.storage.import_lock import alone, users_stay
from segadmin.storage.lake import Lake
from segadmin.storage.mark import MARK
from segadmin.storage.records import Import, Job, JobState, LabelSet, Schedule, Step, utcnow
from segadmin.storage.store import open_store
from tests.privacy.search import find
from tests.privacy.victim import HEAD, event, fill, left_of, post, put, quarantined, users


def counts(erased: Erased) -> dict[str, int]:
    return {table: count for table, count in erased.rows.items() if count}


def die(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


HARD = [
    'O\'Brien "Jo"; DROP TABLE users --',
    "back\\slash\\u0041",
    "a,b;c\td",
    "(.*)+[x]?",
    "用户·张三",
    "😀-user",
    "José Ñandú",
    "x" * 600,
    "user 17",
    "%41%42",
    "&amp;co",
    "=cmd|'/c calc'!A0",
    "null-byte",
    "line1 line2",
    "-42",
    "1e5",
]


@pytest.mark.parametrize("user", HARD, ids=range(len(HARD)))
def test_hard_ids_go_from_tables_quarantine_and_the_inbox(settings: Settings, user: str) -> None:
    def lines(kind: str) -> str:
        return "".join(f"{json.dumps(event(user_id, kind=kind))}\n" for user_id in (user, f"{user}~2", "other"))

    put(settings, "e.jsonl", lines("view"))
    put(settings, "bad.jsonl", lines("stare") + f'{json.dumps(event(user))[:-12]}\n{{"user": "other", "k\n')
    post(settings, event(user), event("other"), json.dumps(event(user))[:-9])
    [erased] = forget(settings, [user])
    assert counts(erased) == {"quarantine": 2, "events": 1, "users": 1, "inbox": 2}
    assert users(settings) == {f"{user}~2", "other"}
    assert len(quarantined(settings)) == 3
    key = user_key(settings.secret(), user)
    assert (
        find(settings.root, [show_key(key).encode(), str(key).encode(), key.to_bytes(8, "little", signed=True)]) == {}
    )
    assert Inbox.of(settings).batches()[0].read_text().count("\n") == 1


def test_ids_that_begin_with_others_stay(settings: Settings) -> None:
    ids = ["u1", "u10", "u100", "u1-2", "u1.5", "xu1", "u1@shop.example", "u1/a"]
    put(settings, "e.csv", HEAD + "".join(f"{user},view,a,2025-01-01\n{user},stare,a,2025-01-01\n" for user in ids))
    broken = "".join(f'{{"user":"{user}", broken\n' for user in ids)
    put(settings, "b.jsonl", f"{json.dumps(event('other'))}\n{broken}")
    [erased] = forget(settings, ["u1"])
    assert counts(erased) == {"quarantine": 2, "events": 1, "users": 1}
    assert users(settings) == {*ids[1:], "other"}
    assert len(quarantined(settings)) == 2 * (len(ids) - 1)


def test_a_number_is_the_same_user_as_text_integer_and_decimal(settings: Settings) -> None:
    home = settings.root.parent
    for name, values in {
        "int": [13085, 7],
        "float": [13085.0, 7.0],
        "text": ["13085", "7"],
        "cut": ["13085.0", "7.0"],
    }.items():
        frame = pl.DataFrame({"user": values, "kind": ["view", "view"], "item": [name, name], "at": ["2025-01-01"] * 2})
        frame.write_parquet(home / f"{name}.parquet")
        frame.with_columns(kind=pl.lit("stare")).write_parquet(home / f"{name}-bad.parquet")
        for path in (f"{name}.parquet", f"{name}-bad.parquet"):
            import_file(settings, ImportRequest("events", str(home / path)))
    post(settings, event(13085), event(13085.0), event("13085"), event(7), event(130850))
    [erased] = forget(settings, ["13085.0"])
    assert counts(erased) == {"events": 4, "users": 1, "quarantine": 4, "inbox": 3}
    assert (users(settings), len(quarantined(settings))) == ({"7"}, 4)


@pytest.mark.parametrize(
    "written",
    [
        b'{"user": "Jos\\u00e9", "k',
        b'{"user": "Jos\\u00E9"',
        "{'user': 'José'}".encode("latin-1"),
        "user=José;".encode(),
        b'{"user": "Jos&eacute;", ',
        b"<u>Jos&#233;</u>",
        b"<u>Jos&#xE9;</u>",
        b"?user=Jos%C3%A9&x=1",
        b'{"user": "Jose\xcc\x81", ',
        b'{"user": "J\\u006f\\u0073\\u00e9", ',
        b'{"user": "\xe2\x80\x8bJos\xc3\xa9", ',
        b'["Jos\\u00e9", 1',
    ],
)
def test_an_id_that_is_encoded_in_a_broken_row_is_found(settings: Settings, written: bytes) -> None:
    whole = json.dumps(event("José")).encode()
    others = b'{"user": "Jos\\u00e9e", \n{"user": "Josephine", '
    put(settings, "b.jsonl", b"\n".join([whole, written, others]) + b"\n")
    assert len(quarantined(settings)) == 3
    [erased] = forget(settings, ["José"])
    assert counts(erased) == {"quarantine": 1, "events": 1, "users": 1}
    assert len(quarantined(settings)) == 2


NESTED = "".join(f"{json.dumps(event(user))}\n" for user in ("somebody", {"id": "王小明"}, {"id": "王小"}))


@pytest.mark.parametrize(
    ("user", "file", "content"),
    [
        ('A"B', "e.csv", f'{HEAD}"A""B",view,a,2025-01-01,too,many\n"A""BC",view,a,2025-01-01,too,many\n'.encode()),
        ("王小明", "e.csv", f"{HEAD}王小明,view,a,2025-01-01\n王小明明,view,a,2025-01-01\n".encode("gbk")),
        ("王小明", "e.jsonl", NESTED.encode()),
    ],
    ids=["doubled quotes", "another encoding", "an object as the user"],
)
def test_a_refused_row_that_names_the_user_otherwise_is_found(
    settings: Settings, user: str, file: str, content: bytes
) -> None:
    put(settings, "known.jsonl", f"{json.dumps(event(user))}\n")
    put(settings, file, content)
    assert len(quarantined(settings)) == 2
    [erased] = forget(settings, [user])
    assert counts(erased) == {"quarantine": 1, "events": 1, "users": 1}
    assert len(quarantined(settings)) == 1


def test_addresses_in_logs_that_name_the_user_are_erased(settings: Settings) -> None:
    put(settings, "known.jsonl", f"{json.dumps(event('zqalph'))}\n")
    settings.run_path.mkdir(exist_ok=True)
    log = settings.run_path / "web.log"
    log.write_text("GET /v1/users/zqalph 404\nGET /v1/users/zqalpha 404\n")
    forget(settings, ["zqalph"])
    assert [line for line in log.read_text().splitlines() if "zq" in line] == ["GET /v1/users/zqalpha 404"]


def test_other_spellings_of_a_known_id_are_hinted_at(settings: Settings) -> None:
    put(settings, "e.csv", HEAD + "".join(f"{user},view,a,2025-01-01\n" for user in ("u2", "Ｕ２", "U2", "José", "x")))
    first, second = forget(settings, ["u2", "JOSE\u0301"])
    assert first.is_known
    assert first.similar == ["U2", "Ｕ２"]
    assert (second.is_known, second.similar) == (False, ["José"])
    assert users(settings) == {"Ｕ２", "U2", "José", "x"}


def test_the_pseudonym_of_one_user_may_be_the_id_of_another(settings: Settings) -> None:
    key = user_key(settings.create_secret(), "alice")
    put(settings, "e.csv", HEAD + f"alice,view,a,2025-01-01\n{show_key(key)},view,a,2025-01-01\n")
    assert forget(settings, [show_key(key)])[0].user_key != show_key(key)  # the shop's id comes first
    assert users(settings) == {"alice"}
    assert forget(settings, [show_key(key)])[0].user_key == show_key(key)
    assert users(settings) == set()


@pytest.mark.parametrize("table", ["labels", "assignments", "trainings", "predictions", "changes"])
def test_a_user_may_be_in_one_table_only(settings: Settings, table: str) -> None:
    put(settings, "e.csv", HEAD + "other,view,a,2025-01-01\n")
    lake = Lake.of(settings)
    keyed = keys_of(pl.Series(["lonely", "other"]), settings.secret(), settings.buckets)
    schema = lake.scan(table).collect_schema()
    values = {"label_set": "x", "segment": "a", "snapshot_id": 1, "job_id": 1, "artifact": "x", "model_version_id": 1}
    rows = keyed.with_columns(pl.lit(values.get(name)).alias(name) for name in schema if name not in keyed.columns)
    lake.append(table, rows)
    [erased] = forget(settings, ["lonely"])
    assert counts(erased) == {table: 1}
    assert lake.scan(table).collect()["user_key"].to_list() == [user_key(settings.secret(), "other")]
    assert left_of(settings, "lonely") == {}


def test_a_user_whose_events_were_removed_for_their_age_is_still_known(settings: Settings) -> None:
    put(settings, "e.csv", HEAD + "old,view,a,2020-01-01\nnew,view,a,2025-01-01\n")
    put(settings, "l.csv", "user,segment\nold,a\nnew,b\n", table="labels", label_set="x")
    remove_older(settings, datetime(2024, 1, 1, tzinfo=UTC))
    assert counts(forget(settings, ["old"])[0]) == {"labels": 1, "users": 1}
    assert left_of(settings, "old~") == {}


@pytest.mark.parametrize("user", ["", " ", "\u200b", "M\udcfcller"])
def test_what_cannot_be_a_user_is_refused(settings: Settings, user: str) -> None:
    put(settings, "b.jsonl", f'{json.dumps(event("other"))}\n{{"user": "王小明", broken\n')
    with pytest.raises(DataError, match=r"is not a user|is not UTF-8"):
        forget(settings, ["other", user])
    assert users(settings) == {"other"}


def test_batches_that_no_import_could_take_lose_the_user_too(settings: Settings) -> None:
    open_store(settings)
    inbox = Inbox.of(settings)
    for lines in ([event("ann"), event("bob")], [event("ann", kind="stare")]):
        inbox.add([json.dumps(line) for line in lines])
    for batch in inbox.batches():
        inbox.set_aside(batch, "no import could take it: ann")
    [erased] = forget(settings, ["ann"])
    assert counts(erased) == {"inbox": 2}
    [left] = inbox.failed_batches()
    assert left.read_text() == f"{json.dumps(event('bob'))}\n"
    assert not any("ann" in path.read_text() for path in inbox.failed_folder.iterdir())


def test_a_user_only_in_the_inbox_or_the_spool_is_known(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    post(settings, event("spooled"), event("other"), event("spooled", kind="stare"), '{"user": "spooled", ')
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ingest, "add_to_lake", die)
        import_file(settings, ImportRequest("events", "inbox://"))
    post(settings, event("posted"), event("another"))
    first, second = forget(settings, ["spooled", "posted"])
    assert (counts(first), counts(second)) == ({"spool": 3}, {"inbox": 1})
    assert left_of(settings, "spooled") == left_of(settings, "posted") == {}
    done, _ = import_file(settings, ImportRequest("events", "inbox://"))
    assert users(settings) == {"other", "another"}
    assert (done.rows_read, done.rows_kept, done.rows_quarantined) == (2, 2, 0)


def test_a_user_only_in_what_a_killed_import_of_a_file_read_is_known(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(settings, "known.csv", HEAD + "other,view,a,2025-01-01\n")
    mapping = Mapping(columns={"user": "who"})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ingest, "add_to_lake", die)
        put(settings, "e.csv", "who,kind,item,at\nspooled,view,other,2025-01-01\nspooled,stare,a,2025-01-01\n", mapping)
    [interrupted] = list_interrupted(settings)
    (interrupted.spool.folder / "000002.raw.arrow").write_text("half a chunk of unfinished")
    assert not forget(settings, ["unfinished"])[0].is_known
    assert left_of(settings, "unfinished") == {}
    assert list_interrupted(settings), "what it read is nobody's who was asked for"
    assert counts(forget(settings, ["spooled"])[0]) == {"spool": 2}
    assert left_of(settings, "spooled") == {}
    assert list_interrupted(settings) == []
    assert users(settings) == {"other"}


def test_what_a_killed_import_read_in_another_way_is_not_kept(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for column in ("a", "b"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(ingest, "add_to_lake", die)
            put(settings, "e.csv", "a,b,kind,item,at\nann,bob,view,x,2025-01-01\n", Mapping(columns={"user": column}))
    [interrupted] = list_interrupted(settings)
    assert interrupted.spool.users().collect()["user"].to_list() == ["bob"]


def test_rows_that_are_left_in_a_spool_keep_their_lines(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "CHUNK_ROWS", 20)
    names = [f"u{n % 7}" for n in range(50)]
    for n in range(0, 50, 10):
        post(
            settings,
            *(
                event(name, kind="stare" if n % 3 else "view", item=f"i{n}")
                for n, name in enumerate(names[n : n + 10], n)
            ),
        )
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ingest, "add_to_lake", die)
        import_file(settings, ImportRequest("events", "inbox://"))
    forget(settings, ["u3"])
    forget(settings, ["u5"])
    done, _ = import_file(settings, ImportRequest("events", "inbox://"))
    kept = [f"i{n}" for n, name in enumerate(names) if name not in {"u3", "u5"}]
    assert done.rows_read == len(kept) == done.rows_kept + done.rows_quarantined
    bad = [json.loads(row) for row in quarantined(settings)]
    assert [row["item"] for row in bad] == [item for item in kept if int(item[1:]) % 3]
    assert all(row["kind"] == "stare" for row in bad)


def test_the_inbox_is_read_by_the_mapping_of_events(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.toml").write_text('each = "lines"\n[columns]\nuser = ["lines.who", "guest"]\nkind = "lines.kind"\n')
    monkeypatch.setenv("SEGADMIN_EVENTS_MAPPING", str(tmp_path / "m.toml"))
    get_settings.cache_clear()
    batch = post(
        get_settings(), {"lines": [{"who": 12}, {"who": 7}]}, {"guest": "12", "lines": []}, {"guest": "7", "user": "12"}
    )
    assert counts(forget(get_settings(), ["12"])[0]) == {"inbox": 2}
    assert [json.loads(line) for line in batch.read_text().splitlines()] == [{"guest": "7", "user": "12"}]


def test_batches_of_the_user_alone_and_drafts_of_dead_processes_are_removed(settings: Settings) -> None:
    post(settings, event("u1"))
    dead = multiprocessing.get_context("fork").Process(target=lambda: None)
    dead.start()
    dead.join()
    for process in (dead.pid, os.getpid()):
        (Inbox.of(settings).folder / f".0123.{process}.abcd").write_text("u1")
    forget(settings, ["u1"])
    assert Inbox.of(settings).batches() == []
    assert [path.name for path in Inbox.of(settings).folder.iterdir()] == [f".0123.{os.getpid()}.abcd"]


def test_exports_lose_rows_pages_are_removed_and_the_rest_stays(settings: Settings, tmp_path: Path) -> None:
    put(settings, "e.csv", HEAD + "12,view,a,2025-01-01\nann,view,a,2025-01-01\n7,view,12,2025-01-01\n")
    folder = settings.store_path / "exports" / "deep"
    folder.mkdir(parents=True)
    table = "\ufeffuser,segment,model_version\n12,a,12\n7,b,12\nann,c,12\n'=x,d,12\n"
    files = {
        "a.csv": table.encode(),
        "b.tsv": table.replace(",", "\t").encode(),
        "c.CSV": b"who;item\n12;a\n7;b\nann;12\n",
        "d.jsonl": b'{"user": 12, "n": 12}\n{"user": 7, "n": 12}\n{"user": "ann"}\nbroken "ann"\n',
        "e.html": b"<p>12 rows</p>",
        "f.html": b"<p>ann</p>",
        "g.csv": b"",
        "h.csv": b"\x00\xff\xfe not \n a,table\n ann,x,y,z\n",
        "i.parquet": b"PAR1 no, ann",
        "k.zip": b"PK\x03\x04 ann",
        "l.zip": b"PK\x03\x04 anne of 12",
        "m.txt": b"anne",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    outside = tmp_path / "elsewhere" / "mine.txt"
    outside.parent.mkdir()
    outside.write_text("ann")
    (folder / "link.txt").symlink_to(outside)
    for place in (folder, settings.store_path):
        (place / "linked").symlink_to(outside.parent)
    forget(settings, ["12", "ann"])
    left = {path.name: path.read_bytes() for path in folder.iterdir() if not path.is_symlink()}
    assert (settings.store_path / "linked").is_symlink()
    assert left["a.csv"].decode().splitlines() == ["\ufeffuser,segment,model_version", "7,b,12", "'=x,d,12"]
    assert left["b.tsv"].decode().splitlines()[1:] == ["7\tb\t12", "'=x\td\t12"]
    assert left["c.CSV"].decode().splitlines() == ["who;item", "7;b"]  # which column has users is not known there
    assert left["d.jsonl"] == b'{"user": 7, "n": 12}\n'
    assert set(left) == {"a.csv", "b.tsv", "c.CSV", "d.jsonl", "e.html", "g.csv", "l.zip", "m.txt"}
    assert outside.read_text() == "ann"


def zipped(**files: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return archive.getvalue()


def test_lists_without_a_header_lose_their_first_line_and_archives_are_removed(settings: Settings) -> None:
    put(settings, "e.csv", HEAD + "ann,view,a,2025-01-01\nbob,view,a,2025-01-01\n")
    folder = settings.store_path / "exports"
    folder.mkdir()
    parquet = io.BytesIO()
    pl.DataFrame({"who": ["ann"] * 3}).write_parquet(parquet)
    plain = b"x" * 9000 + b"\nann\n"
    files = {
        "list.csv": b"ann\nbob\nann\n",
        "mark.csv": b'\xef\xbb\xbf"ann",1\nbob,2\n',
        "others.csv": b"bob\nann\n",
        "header.csv": b"user,ann\nbob,1\nann,2\n",
        "one.csv": b"ann\n",
        "a.zip": zipped(deep=plain),
        "b.zip": zipped(deep=zipped(deep=gzip.compress(plain))),
        "c.zip": zipped(table=parquet.getvalue()),
        "d.bin": parquet.getvalue(),
        "e.xz": lzma.compress(plain),
        "f.bz2": bz2.compress(plain),
        "g.zip": zipped(deep=b"anne, bob"),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    forget(settings, ["ann"])
    left = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert left == {
        "list.csv": b"bob\n",
        "mark.csv": b"\xef\xbb\xbfbob,2\n",
        "others.csv": b"bob\n",
        "header.csv": b"user,ann\nbob,1\n",
        "one.csv": b"",
        "g.zip": files["g.zip"],
    }


def test_an_archive_that_cannot_be_looked_into_is_named(settings: Settings) -> None:
    put(settings, "e.csv", HEAD + "ann,view,a,2025-01-01\n")
    archive = bytearray(zipped(deep=b"bob"))
    for start in (archive.index(b"PK\x03\x04") + 6, archive.index(b"PK\x01\x02") + 8):
        archive[start] |= 1  # encrypted, it says
    (settings.store_path / "a.zip").write_bytes(archive)
    with pytest.raises(StorageError, match=r"a.zip may name users .*password.*Move it out of the store"):
        forget(settings, ["ann"])
    (settings.store_path / "a.zip").unlink()
    assert forget(settings, []) == []
    assert users(settings) == set()


def test_an_unknown_user_changes_no_export(settings: Settings) -> None:
    put(settings, "e.csv", HEAD + "7,view,a,2025-01-01\n")
    (settings.store_path / "a.csv").write_text("user\nnobody\n")
    assert not forget(settings, ["nobody"])[0].is_known
    assert (settings.store_path / "a.csv").read_text() == "user\nnobody\n"


def test_sql_keeps_the_action_and_not_the_user(settings: Settings) -> None:
    record(
        settings, "data.forget", f"user {show_key(user_key(settings.create_secret(), 'earlier'))}"
    )  # as versions before did
    fill(settings)
    put(settings, "victim~1.csv", "kind,item,at\nstare,a,2025-01-01\n", Mapping(constants={"user": "victim~1"}))
    forget(settings, ["victim~1"])
    actions = [(entry.action, entry.subject) for entry in entries(settings)]
    assert actions == [
        ("data.forget", "1 user"),
        ("mappings.save", "mapping of one"),
        *[(action, "user (erased)") for action in ("users.show", "data.forget")],
    ]
    assert entries(settings, "data.forget")[0].details["rows"]["events"] == 1
    with transaction(settings) as session:
        [job] = session.exec(select(Job)).all()
        assert job.error == "(erased) cannot be read"
        assert job.options["mapping"]["constants"] == {"user": "(erased)"}
        last = session.exec(select(Import).order_by(Import.id.desc())).first()  # type: ignore[union-attr]
        assert last is not None
        assert (last.file, last.mapping["constants"]["user"]) == ("(erased).csv", "(erased)")
    assert left_of(settings, "victim~1") == {}
    assert not forget(settings, ["(erased)"])[0].is_known


def test_a_database_of_either_kind_is_cleaned(any_database: Settings) -> None:
    database.upgrade(any_database)
    fill(any_database)
    forget(any_database, ["victim~1"])
    with transaction(any_database) as session:
        [job] = session.exec(select(Job)).all()
    assert job.error == "(erased) cannot be read"
    assert users(any_database) == {"other"}


def test_a_schedule_that_would_bring_a_user_back_is_named(settings: Settings) -> None:
    put(settings, "e.csv", HEAD + "bob,view,a,2025-01-01\n")
    options = {"where": "x.csv", "mapping": {"constants": {"user": "bob"}}}
    with transaction(settings) as session:
        session.add(Schedule(name="nightly", cron="0 3 * * *", kind="ingest", options=options, next_slot=utcnow()))
    with pytest.raises(JobError, match=r"'nightly' will give every row.*segadmin schedule remove nightly"):
        forget(settings, ["bob"])
    assert users(settings) == {"bob"}


@pytest.mark.parametrize("state", [JobState.QUEUED, None], ids=["job", "schedule"])
def test_a_file_to_be_imported_that_is_named_after_a_user_is_named(settings: Settings, state: JobState | None) -> None:
    put(settings, "e.csv", HEAD + "bobby,view,a,2025-01-01\nb,view,a,2025-01-01\n")
    options = {"where": "/b/bobby/x.csv", "mapping": {}}
    nightly = Schedule(name="nightly", cron="0 3 * * *", kind="ingest", options=options, next_slot=utcnow())
    with transaction(settings) as session:
        session.add(nightly if state is None else Job(kind="ingest", options=options, state=state))
    with pytest.raises(JobError, match=r"(Job 1|'nightly') will import a file that is named after a user"):
        forget(settings, ["bobby"])
    assert forget(settings, ["b"])[0].is_known, "too short to be told from other words"
    assert users(settings) == {"bobby"}


def test_paths_of_jobs_lose_the_user(settings: Settings) -> None:
    put(settings, "e.csv", HEAD + "bobby,view,a,2025-01-01\n")
    options = {"where": "/data/bobby/bobby.csv?x=bobby", "mapping": {}}
    with transaction(settings) as session:
        session.add(Job(kind="ingest", options=options, asked=options, state=JobState.FAILED))
    forget(settings, ["bobby"])
    with transaction(settings) as session:
        job = session.get_one(Job, 1)
        assert job.options["where"] == job.asked["where"] == "/data/(erased)/(erased).csv?x=(erased)"
    assert left_of(settings, "bobby") == {}


def _hold(settings: Settings, started: object, seconds: float) -> None:
    with alone(settings):
        started.set()  # type: ignore[attr-defined]
        time.sleep(seconds)


def test_an_erasure_waits_for_an_import_that_is_going_on(settings: Settings) -> None:
    put(settings, "e.csv", HEAD + "u1,view,a,2025-01-01\n")
    database.engine(settings).dispose()
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    importing = context.Process(target=_hold, args=(settings, started, 1.0))
    importing.start()
    assert started.wait(60)
    assert forget(settings, ["u1"])[0].is_known
    assert not importing.is_alive() or importing.join(5) is None
    assert importing.exitcode == 0


def test_the_write_ahead_log_is_emptied_or_a_warning_is_given(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(settings)
    monkeypatch.setattr(sqlite, "_EMPTYING_ATTEMPTS", 2)
    path = settings.root / "segadmin.db"
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM audit").fetchall()
        with pytest.raises(StorageError, match=r"still holds what was erased.*segadmin data forget"):
            forget(settings, ["victim~1"])
        reader.rollback()
    assert was_interrupted(settings)
    forget(settings, ["victim~1"])
    assert left_of(settings, "victim~1") == {}
    assert not (log := settings.root / "segadmin.db-wal").exists() or log.stat().st_size == 0


def test_a_folder_of_any_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "a[x]=b%20" / "home")
    settings.root.mkdir(parents=True)
    fill(settings)
    forget(settings, ["victim~1"])
    assert left_of(settings, "victim~1") == {}
    assert users(settings) == {"other"}
    database.engine(settings).dispose()


def test_what_writers_left_when_they_were_killed_is_removed(settings: Settings) -> None:
    fill(settings)
    lake = Lake.of(settings).path
    for name in (
        "events/bucket=1/orphan.parquet",
        "users/part-0.parquet#1",
        "users/_delta_log/1.json#2",
        "users/_delta_log/_commit_x.json.tmp",
    ):
        (lake / name).parent.mkdir(exist_ok=True)
        (lake / name).write_text("victim~1")
    forget(settings, ["victim~1"])
    assert left_of(settings, "victim~1") == {}


def test_a_spool_of_an_older_version_and_an_unknown_one(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    post(settings, event("u1"), event("u2"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ingest, "add_to_lake", die)
        import_file(settings, ImportRequest("events", "inbox://"))
    [interrupted] = list_interrupted(settings)
    [marker] = interrupted.spool.folder.glob("*.json")
    facts = json.loads(marker.read_text())
    marker.write_text(json.dumps({name: value for name, value in facts.items() if name != "files"}))
    unknown = interrupted.spool.folder.parent.parent / "0123456789abcdef-01234567" / "any"
    unknown.mkdir(parents=True)
    for path in interrupted.spool.folder.iterdir():
        (unknown / path.name).write_bytes(path.read_bytes())
    (unknown / "000002.raw.arrow").write_text("u1, half a chunk")
    [erased] = forget(settings, ["u1"])
    assert counts(erased) == {"spool": 2}
    assert left_of(settings, "u1") == {}
    assert [sorted(interrupted.spool.users().collect()["user"]) for interrupted in list_interrupted(settings)] == [
        ["u2"],
        ["u2"],
    ]


def test_a_redis_that_does_not_run_is_named_where_its_file_has_the_user(settings: Settings) -> None:
    fill(settings)
    file = settings.root / "redis" / "appendonly.aof"
    file.parent.mkdir()
    file.write_bytes(b"XADD shop user somebody")
    forget(settings, ["other"])
    file.write_bytes(b"XADD shop user victim~1")
    with pytest.raises(StorageError, match=r"embedded Redis does not run.*Start it: segadmin up"):
        forget(settings, ["victim~1"])
    assert users(settings) == {"victim~1"}


def test_nothing_to_erase_in_an_empty_store(settings: Settings) -> None:
    assert [erasure.is_known for erasure in forget(settings, ["a", "b"])] == [False, False]


def by_name(erasures: Sequence[Erased]) -> set[str]:
    return {erasure.user_key for erasure in erasures}


def test_the_same_user_may_be_named_in_several_ways(settings: Settings) -> None:
    put(settings, "e.csv", HEAD + "13085,view,a,2025-01-01\n")
    key = show_key(user_key(settings.secret(), "13085"))
    erasures = forget(settings, ["13085", "13085.0", key, "'13085", "\u200b13085 "])
    assert by_name(erasures) == {key}
    assert all(erasure.is_known for erasure in erasures)


@pytest.mark.parametrize("user", ["id", "buckets", "events", "users"])
def test_files_of_the_store_itself_that_have_the_id_as_a_word_stay(settings: Settings, user: str) -> None:
    put(settings, "e.csv", HEAD + f"{user},view,a,2025-01-01\nother,view,a,2025-01-01\n")
    compact(settings)
    mine = [settings.store_path / name for name in (MARK, "compacted.json")]
    assert all(path.exists() for path in mine)
    assert forget(settings, [user])[0].is_known
    assert all(path.exists() for path in mine)
    assert users(settings) == {"other"}


def test_a_home_that_is_its_own_store_keeps_its_secret_and_its_queue(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", store=tmp_path / "home")
    put(settings, "e.csv", HEAD + "victim~1,view,a,2025-01-01\nother,view,a,2025-01-01\n")
    (settings.run_path / "web.log").parent.mkdir(exist_ok=True)
    (settings.run_path / "web.log").write_text("GET /users?id=victim~1\nother line\n")
    (settings.root / "page.html").write_text("victim~1")
    forget(settings, ["victim~1"])
    assert (settings.run_path / "web.log").read_text().endswith("other line\n")
    assert (settings.root / "user_key_secret").exists()
    assert not (settings.root / "page.html").exists()
    assert users(settings) == {"other"}
    database.engine(settings).dispose()


def test_ids_in_keys_of_jobs_and_in_files_of_label_sets_go(settings: Settings) -> None:
    fill(settings)
    put(settings, "victim~1.csv", "user,segment\nvictim~1,a\nother,b\n", table="labels", label_set="y")
    with transaction(settings) as session:
        for key in ("import victim~1", "import 'victim~1'", "import other"):
            done = {"file": "victim~1.csv"} if key == "import victim~1" else {}
            job = Job(kind="ingest", state=JobState.SUCCEEDED, idempotency_key=key)
            session.add(job)
            session.flush()
            assert job.id is not None
            session.add(Step(job_id=job.id, stage="ingest", queue="cpu", max_attempts=1, result=done))
    forget(settings, ["victim~1"])
    with transaction(settings) as session:
        keys = session.exec(select(Job.idempotency_key).where(col(Job.idempotency_key).is_not(None))).all()
        assert sorted(str(key) for key in keys) == ["import '(erased)' 3", "import (erased) 2", "import other"]
        label_set = session.get_one(LabelSet, "y")
    assert (label_set.definition["file"], label_set.rows) == ("(erased).csv", 2)
    assert left_of(settings, "victim~1") == {}


@pytest.mark.parametrize("step", ["erase_in_database", "erase_waiting", "_erase_rows"])
@pytest.mark.parametrize("others", [["other"], ["nobody"], []])
def test_an_erasure_that_was_killed_is_finished_by_that_of_others(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, step: str, others: list[str]
) -> None:
    fill(settings)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(erase, step, die)
        forget(settings, ["victim~1"])
    assert was_interrupted(settings)
    assert [erasure.is_known for erasure in forget(settings, others)] == [other == "other" for other in others]
    assert left_of(settings, "victim~1") == {}
    assert not was_interrupted(settings)
    assert users(settings) == {"other"} - set(others)
    assert entries(settings, "data.forget")[0].details["unknown"] == others.count("nobody")


def test_what_an_older_version_left_of_an_erasure_is_finished_too(settings: Settings) -> None:
    fill(settings)
    (settings.store_path / "erasure").touch()
    assert was_interrupted(settings)
    assert forget(settings, []) == []
    assert not was_interrupted(settings)
    assert users(settings) == {"other", "victim~1"}


def test_no_step_runs_while_users_are_erased(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(settings)
    with (
        monkeypatch.context() as patch,
        users_stay(settings),
        pytest.raises(JobError, match="A step of a job is still"),
    ):
        patch.setattr(events_alone, "_TIMEOUT_SECONDS", 0.0)
        forget(settings, ["victim~1"])
    assert users(settings) == {"other", "victim~1"}
    began = threading.Event()

    def step() -> None:
        with users_stay(settings):
            began.set()

    other = threading.Thread(target=step)
    real = erase._erase_rows

    def erase_rows(*arguments: Any) -> None:
        other.start()
        assert not began.wait(0.2)
        real(*arguments)

    monkeypatch.setattr(erase, "_erase_rows", erase_rows)
    forget(settings, ["victim~1"])
    assert began.wait(60)
    other.join()


def test_imports_that_are_queued_do_not_keep_users_from_being_erased(settings: Settings) -> None:
    """A shop that posts events has one queued nearly always."""
    fill(settings)
    with transaction(settings) as session:
        session.add(Job(kind="ingest", options={"where": "inbox://", "mapping": {}}))
        session.add(Job(kind="compact"))
    assert forget(settings, ["victim~1"])[0].is_known
    with transaction(settings) as session:
        session.add(Job(kind="ingest", options={"mapping": {"constants": {"user": "other"}}}))
    with pytest.raises(JobError, match=r"will give every row that it imports to a user.*segadmin jobs cancel 4"):
        forget(settings, ["other"])
    assert users(settings) == {"other"}
