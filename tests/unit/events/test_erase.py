"""Erasing exactly the users who are asked for, and saying whom there was nothing of."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from sqlmodel import select

from segadmin.errors import DataError
from segadmin.events.erase import forget
from segadmin.events.erasure_mark import was_interrupted
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.keys import show_key, user_key
from segadmin.events.mapping import Mapping
from segadmin.events.user_list import read_users
from segadmin.settings import Settings
from segadmin.storage.audit import entries
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Import
from tests.conftest import Cli


def put(settings: Settings, name: str, content: str, mapping: Mapping | None = None, table: str = "events") -> None:
    path = settings.root.parent / name
    path.write_text(content, encoding="utf-8")
    import_file(settings, ImportRequest(table, str(path), mapping or Mapping()))


def users(settings: Settings) -> list[str]:
    return sorted(Lake.of(settings).scan("users").collect()["user"])


def quarantined(settings: Settings) -> list[str]:
    return Lake.of(settings).scan("quarantine").sort("import_id", "line").collect()["row"].to_list()


def work(settings: Settings) -> Path:
    """Make something that a job left, as an erasure removes it."""
    left = settings.store_path / "work" / "text"
    left.parent.mkdir(parents=True, exist_ok=True)
    left.touch()
    return left


@pytest.mark.parametrize(
    "content",
    [
        b'user\n"Doe, Jo"\n\nu2\n',
        b'\xef\xbb\xbf"Doe, Jo"\r\n\r\nu2\r\n',
        b'name;customer_id\nx;"Doe, Jo"\n\ny;u2\n',
        '\ufeffUser ID\n"Doe, Jo"\n\nu2'.encode("utf-16-le"),
        b"user\nDoe, Jo\n\nu2\n",
        b'user;id\n"Doe, Jo";1\n\nu2;2\n',
        b"customer\temail\nDoe, Jo\tx@y\n\nu2\tz@y\n",
        b'id,\xe7\x94\xa8\xe6\x88\xb7\n1,"Doe, Jo"\n\n2,u2\n',
    ],
)
def test_a_list_of_users_is_csv(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "users.csv").write_bytes(content)
    listed = read_users(tmp_path / "users.csv")
    assert [entry.user for entry in listed] == ["Doe, Jo", "u2"]
    assert [entry.line for entry in listed] in ([2, 4], [1, 3])


def test_lines_are_counted_behind_ids_that_have_line_breaks(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text('"a\nb"\n\nc\n')
    assert [(entry.user, entry.line) for entry in read_users(tmp_path / "users.csv")] == [("a\nb", 1), ("c", 4)]


def test_a_file_that_holds_only_the_word_user_names_one(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("user\n")
    assert [entry.user for entry in read_users(tmp_path / "users.csv")] == ["user"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"a,b\n",
            "line 1: several columns, and no header that says which has the users. Name it: --column a",
        ),
        (b"a;b\nc;d\n", "line 1: several columns, .*--column a, of a, b"),
        (b"a\nb\tc\n", "line 2: several columns"),
        (b'user\nok\n"open\n', "line 3: .*quote"),
        (b"user,x\n,1\n", "line 2: there is no user in column 1"),
        (b"user\n\xff\n", "is not UTF-8: .*byte 5"),
    ],
)
def test_an_unreadable_list_erases_no_user(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "users.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_users(tmp_path / "users.csv")


def test_the_column_of_users_may_be_named(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text("name;Kunden Nr;E-Mail\na@b;7;c@d\n")
    assert [(entry.user, entry.column) for entry in read_users(path)] == [("c@d", "E-Mail")]
    assert [(entry.user, entry.column) for entry in read_users(path, "kunden nr")] == [("7", "Kunden Nr")]
    with pytest.raises(DataError, match=r"no column 'kunde'\. There are: name, Kunden Nr, E-Mail"):
        read_users(path, "kunde")


def test_the_column_that_was_read_is_reported(settings: Settings, cli: Cli, tmp_path: Path) -> None:
    put(settings, "e.csv", "user,kind,item,at\nu1,view,a,2024-03-01\nu2,view,a,2024-03-01\n")
    (tmp_path / "users.csv").write_text("name;email\nu1;u2\n")
    done = cli("data", "forget", "--file", str(tmp_path / "users.csv"), check=False)
    assert "users.csv: the users are read from the column 'email'. To use another one: --column NAME" in done.stderr
    assert users(settings) == ["u1", "u2"]
    cli("data", "forget", "--file", str(tmp_path / "users.csv"), "--column", "name", "--yes")
    assert users(settings) == ["u2"]
    none = cli("data", "forget", "u2", "--column", "name", "--yes", check=False)
    assert (none.returncode, users(settings)) == (2, ["u2"])


def test_known_users_are_erased_and_unknown_ones_named(settings: Settings, cli: Cli, tmp_path: Path) -> None:
    put(settings, "e.csv", 'user,kind,item,at\n"Doe, Jo",view,a,2024-03-01\nu2,view,a,2024-03-01\n')
    left = work(settings)
    (tmp_path / "users.csv").write_text('user\n"Doe, Jo"\n\nnobody\nＵ2\n', encoding="utf-8")
    done = cli("data", "forget", "--file", str(tmp_path / "users.csv"), "--yes", check=False)
    assert done.returncode == 1
    assert f"user {show_key(user_key(settings.secret(), 'Doe, Jo'))}: erased (events: 1, users: 1)." in done.stdout
    assert "1 of 3 users erased; 2 not found." in done.stdout
    assert f"{tmp_path}/users.csv, line 4: user 'nobody' (" in done.stderr
    assert "line 5: user 'Ｕ2'" in done.stderr and "Did you mean 'u2'?" in done.stderr
    assert users(settings) == ["u2"]
    assert not left.exists()


def test_an_unknown_id_changes_nothing(settings: Settings, cli: Cli) -> None:
    put(settings, "e.csv", "user,kind,item,at\nu1,view,a,2024-03-01\nu1,stare,u3,2024-03-01\n")
    left = work(settings)
    versions = Lake.of(settings).current_versions()
    done = cli("data", "forget", "u3", "--yes", "--json", check=False)
    [report] = json.loads(done.stdout)
    assert (done.returncode, report["known"], report["user"], set(report["rows"].values())) == (1, False, "u3", {0})
    assert left.exists()
    assert Lake.of(settings).current_versions() == versions
    assert (users(settings), len(quarantined(settings))) == (["u1"], 1)
    assert [entry.action for entry in entries(settings)] == ["data.forget"]  # somebody asked, and was answered


def test_ids_are_read_as_an_import_reads_them(settings: Settings) -> None:
    put(settings, "e.csv", "user,kind,item,at\n13085,view,a,2024-03-01\n u2 ,view,a,2024-03-01\n")
    assert [erasure.is_known for erasure in forget(settings, ["13085.0", " u2"])] == [True, True]
    assert users(settings) == []


def test_only_a_users_own_rows_leave_quarantine(settings: Settings) -> None:
    """Another's row may hold the id as an item, a number or a date, or a longer id that has it inside."""
    mapping = Mapping(columns={"user": "who"}, extras=("note",))
    head = "who,kind,item,at,quantity,note\n"
    kept = [
        "7,stare,12,2024-03-12,12,",
        "112,stare,a,2024-01-01,1,12",
        ",view,12,2024-01-01,1,",
        "9,stare,a,2024-12-12,",
    ]
    gone = ["12,stare,a,2024-01-01,1,", " 12 ,view,a,never,1,", "12,view,a,2024-01-01,1,,x"]
    put(settings, "e.csv", head + "".join(f"{row}\n" for row in [*kept, *gone]), mapping)
    assert len(quarantined(settings)) == 7
    [erased] = forget(settings, ["12"])
    assert (erased.is_known, erased.rows["quarantine"]) == (True, 3)
    rows = quarantined(settings)
    assert len(rows) == 4
    assert not any('"who":"12"' in row for row in rows)


def test_rows_without_a_user_that_name_one_in_another_column_go(settings: Settings) -> None:
    head = "user,kind,item,at,text,note,mail\n"
    gone = [
        ",view,a,2024-01-01,,ask ann-b,",
        "NULL,view,a,2024-01-01,ann-b was here,,",
        ' ,view,a,2024-01-01,,"{""who"": {""id"": ""ann-b""}}",',
        "-,view,a,2024-01-01,,,Ann &lt;ann&#45;b&gt;",
    ]
    kept = [
        ",view,ann-b,2024-01-01,,,",  # an item that is called so
        ",view,a,2024-01-01,,ann-bo,x.ann-b@shop.example",
        ',view,a,2024-01-01,,"{""ann-b"": 1}",',
        "7,stare,a,2024-01-01,,ann-b,",  # what another wrote
    ]
    rows = "".join(f"{row}\n" for row in [*gone, *kept])
    put(settings, "e.csv", head + rows, Mapping(nulls=("NULL", "-")))
    assert len(quarantined(settings)) == 8
    [erased] = forget(settings, ["ann-b"])
    assert erased.rows["quarantine"] == 4
    assert len(quarantined(settings)) == 4


@pytest.mark.parametrize("user", ["12", "12345", "ab"])
def test_ids_that_are_words_of_other_things_too_take_no_row_without_a_user(settings: Settings, user: str) -> None:
    put(settings, "e.csv", f"user,kind,item,at,note\n{user},view,a,2024-01-01,\n,view,b,2024-01-01,{user} {user}\n")
    assert forget(settings, [user])[0].rows["quarantine"] == 0
    assert len(quarantined(settings)) == 1


def test_a_user_inside_json_is_found_by_the_path_of_the_mapping(settings: Settings) -> None:
    rows = [
        {"kind": "stare", "at": "2024-01-01", "item": "12", "who": {"id": 7, "friend": "12"}},
        {"kind": "stare", "at": "2024-01-01", "item": "a", "who": {"id": 12, "friend": "7"}},
    ]
    content = "".join(f"{json.dumps(row)}\n" for row in rows)
    put(settings, "e.jsonl", content, Mapping(columns={"user": "who.id"}))
    assert forget(settings, ["12"])[0].rows["quarantine"] == 1
    [left] = quarantined(settings)
    assert json.loads(json.loads(left)["who"])["id"] == 7


def test_a_user_may_be_in_any_of_the_columns_that_the_mapping_names(settings: Settings) -> None:
    mapping = Mapping.model_validate({"columns": {"user": ["uid", "anonymous"]}})
    put(settings, "e.csv", "uid,anonymous,kind,item,at\n,12,stare,a,2024-01-01\n7,8,stare,12,2024-01-01\n", mapping)
    assert forget(settings, ["12"])[0].rows["quarantine"] == 1
    assert len(quarantined(settings)) == 1


def test_a_user_of_an_element_is_found(settings: Settings) -> None:
    mapping = Mapping.model_validate({"columns": {"user": "all.who"}, "each": "all"})
    rows = [{"kind": "stare", "at": "2024-01-01", "item": "12", "all": [{"who": user}, {"who": 9}]} for user in (12, 7)]
    put(settings, "e.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows), mapping)
    assert len(quarantined(settings)) == 4
    assert forget(settings, ["12"])[0].is_known
    assert all(json.loads(json.loads(row)["all"])[0]["who"] == 7 for row in quarantined(settings))


def test_many_rows_leave_quarantine_in_one_commit(settings: Settings) -> None:
    put(settings, "e.csv", "user,kind,item,at\n" + "u1,stare,a,2024-01-01\n" * 30_000 + "u2,stare,a,2024-01-01\n")
    before = pl.DataFrame(Lake.of(settings).scan("quarantine").collect()).height
    commits = len(list((settings.store_path / "lake" / "quarantine" / "_delta_log").glob("*.json")))
    assert forget(settings, ["u1", "u3"])[0].rows["quarantine"] == 30_000 == before - 1
    after = len(list((settings.store_path / "lake" / "quarantine" / "_delta_log").glob("*.json")))
    assert after - commits <= 3  # deleting; beginning and ending to remove old files
    assert len(quarantined(settings)) == 1


def test_thousands_of_users_are_erased_at_once(settings: Settings) -> None:
    ids = [f"u{number}" for number in range(3000)]
    put(
        settings,
        "e.csv",
        "user,kind,item,at\nother,view,a,2024-01-01\n" + "".join(f"{user},view,a,2024-01-01\n" for user in ids),
    )
    assert all(erasure.is_known for erasure in forget(settings, ids))
    assert users(settings) == ["other"]
    commits = list((settings.store_path / "lake" / "events" / "_delta_log").glob("*.json"))
    assert len(commits) < 15


def test_rows_of_imports_whose_mapping_was_not_kept(settings: Settings) -> None:
    put(settings, "e.csv", "who,kind,item,at\n12,stare,a,2024-01-12\n112,stare,b12,2024-01-01\n",
        Mapping(columns={"user": "who"}))  # fmt: skip
    with transaction(settings) as session:
        [record] = session.exec(select(Import)).all()
        record.mapping = {}
        session.add(record)
    assert forget(settings, ["12"])[0].rows["quarantine"] == 1
    assert len(quarantined(settings)) == 1


def test_all_rows_of_an_import_may_be_of_one_user(settings: Settings) -> None:
    put(settings, "e.csv", "kind,item,at\nstare,a,2024-01-12\n", Mapping(constants={"user": "bob"}))
    put(settings, "f.csv", "kind,item,at\nstare,bob,2024-01-12\n", Mapping(constants={"user": "eve"}))
    with transaction(settings) as session:
        assert "bob" not in json.dumps([record.mapping for record in session.exec(select(Import)).all()])
    assert forget(settings, ["bob"])[0].rows["quarantine"] == 1
    assert len(quarantined(settings)) == 1


def test_users_of_whom_all_rows_are_in_quarantine_are_known_by_pseudonym_too(settings: Settings) -> None:
    put(settings, "e.csv", "user,kind,item,at\nghost,stare,a,2024-01-12\nu1,view,a,2024-01-12\n")
    [erased] = forget(settings, [show_key(user_key(settings.secret(), "ghost"))])
    assert (erased.is_known, quarantined(settings)) == (True, [])


def test_similar_ids_are_suggested(settings: Settings) -> None:
    put(settings, "e.csv", "user,kind,item,at\nJosé,view,a,2024-03-01\nANNA,view,a,2024-03-01\n")
    ids = ["JOSE\u0301", "anna", "ＡＮＮＡ", "bob"]
    assert [erasure.similar for erasure in forget(settings, ids)] == [["José"], ["ANNA"], ["ANNA"], []]
    assert users(settings) == ["ANNA", "José"]


def test_an_erasure_that_was_killed_before_its_end_is_completed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(settings, "e.csv", "user,kind,item,at\nu1,view,a,2024-03-01\nu2,view,a,2024-03-01\n")

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Lake, "drop_history", die)
        forget(settings, ["u1"])
    assert was_interrupted(settings)
    left = work(settings)
    assert not forget(settings, ["u1"])[0].is_known
    assert not left.exists()
    assert not was_interrupted(settings)
    files = [pl.read_parquet(path) for path in (settings.store_path / "lake" / "users").glob("*.parquet")]
    assert pl.concat(files)["user"].to_list() == ["u2"]
