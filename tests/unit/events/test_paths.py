"""Folders and files of any name that the system allows, from the import to the export."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import polars as pl
import pytest
from deltalake import write_deltalake
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import DataError, StorageError
from segadmin.events.erase import forget
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.profile import profile
from segadmin.paths import local_path, sqlite_url
from segadmin.settings import Settings
from segadmin.snapshots.export import write
from segadmin.storage import database
from segadmin.storage.compaction import compact
from segadmin.storage.delta_tables import writing
from segadmin.storage.lake import Lake

AWKWARD = [
    "my shop", "店", "a#b", "a?b", "a%20b", "a*b", "[x]", "[", "]", "a'b", 'a"b', "a;b", "a:b", "a\\b", "-d", "a\nb",
    " a ", "😀", "\u202eabc", "..a", "~a", "$HOME", "{a,b}", "a|b", "a&b=c", "bucket=1", "a^`<>", "e\u0301", "%",
    "\x01", "file:", "\u2028", "a@b", "...", ",", "a\r",
]  # fmt: skip
NAMES = st.one_of(
    st.sampled_from(AWKWARD),
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40),
).filter(lambda name: name not in {".", ".."} and len(name.encode()) <= 80)
ROWS = pl.DataFrame({"user": ["u1", "u2"], "kind": "view", "item": ["a", "b"], "at": ["2024-03-01", "2024-03-02"]})


@pytest.fixture(scope="module", autouse=True)
def links(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep links to folders whose names are misread with the tests' other files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("tmp")))
        yield


def put(frame: pl.DataFrame, path: Path) -> None:
    """Write ``frame`` by its suffix, without what is tested."""
    if path.suffix == ".parquet":
        with path.open("wb") as file:
            frame.write_parquet(file)
    elif path.suffix == ".delta":
        path.mkdir()
        with writing(path) as address:
            write_deltalake(address.uri, frame.to_arrow(), storage_options=address.options)
    else:
        path.write_text(frame.write_csv() if path.suffix == ".csv" else frame.write_ndjson())


@hypothesis_settings(
    max_examples=16, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    folder=NAMES,
    name=NAMES,
    store=NAMES,
    suffix=st.sampled_from(["csv", "jsonl", "parquet", "delta"]),
    url=st.booleans(),
    erase=st.sampled_from([False, False, False, True]),
)
@example(folder="my shop #1 店%20*[x]", name="-a\n?", store="\\ =", suffix="delta", url=True, erase=True)
@example(folder="a b", name="[x]", store="店 #", suffix="csv", url=False, erase=True)
def test_any_name_works_from_import_to_export(
    tmp_path_factory: pytest.TempPathFactory, folder: str, name: str, store: str, suffix: str, url: bool, erase: bool
) -> None:
    base = tmp_path_factory.mktemp("paths") / folder
    base.mkdir()
    plugin = base / f"{name}.py"
    plugin.write_text("import segadmin\n\n\n@segadmin.hookimpl\ndef register_sinks():\n    return []\n")
    settings = Settings(home=base / "home", store=base / store / "store", plugin_files=(plugin,))
    assert str(plugin) in {plugin_name for plugin_name, _ in load_plugins(settings).manager.list_name_plugin()}
    users = ["u1", "u2", "u3", "u4"]
    for number in (0, 1):
        where = base / f"{name}{number}.{suffix}"
        put(ROWS.with_columns(user=pl.Series(users[number * 2 : number * 2 + 2])), where)
        request = ImportRequest("events", f"file://{quote(str(where))}" if url else str(where))
        record, fresh = import_file(settings, request)
        assert (record.rows_kept, record.file, fresh) == (2, where.name, True)
        assert import_file(settings, request)[1] is False
    assert (profile(settings).events, profile(settings).users) == (4, 4)
    assert sorted(Lake.of(settings).scan("users").collect()["user"]) == users
    if erase:
        compact(settings)
        assert forget(settings, [users.pop()])[0].rows["events"] == 1
        assert (profile(settings).events, profile(settings).users) == (3, 3)
    for ending in ("csv", "parquet"):
        out = base / f"{name}-out.{ending}"
        assert write(settings, Lake.of(settings).scan("users").select("user").sort("user"), out) == len(users)
        with out.open("rb") as file:
            back = pl.read_csv(file) if ending == "csv" else pl.read_parquet(file)
        assert back["user"].to_list() == users
    assert {path.name for path in base.parent.iterdir()} == {folder}  # nothing landed beside it
    assert (base / "home" / "segadmin.db").is_file()
    database.engine(settings).dispose()


LABELS = pl.DataFrame(
    {"bucket": [1, 2], "user_key": [5, 6], "segment": ["x", "y"], "observed_from": None, "as_of": None}
).with_columns(outcome_until=None)


@pytest.mark.parametrize("folder", ["plain", "a b", "[x] %20"])
def test_label_sets_of_any_name(tmp_path: Path, folder: str) -> None:
    """A label set is a partition of its table, so its name is part of a path in the lake too."""
    lake = Lake(tmp_path / folder / "lake")
    names = ["my set #1 %20 [x]", "店", "a'b", "x=y"]
    for name in (*names, *names):
        lake.replace_partition("labels", LABELS.with_columns(label_set=pl.lit(name)), "label_set", name)
    for name in names:
        assert lake.scan("labels", label_set=name).collect().height == 2
    lake.delete("labels", "user_key = 5")
    lake.compact("labels")
    lake.vacuum("labels", hours=0)
    assert sorted(lake.scan("labels").collect()["label_set"]) == sorted(names)


@pytest.mark.parametrize("folder", ["plain", "[x]"])
def test_writers_at_once_lose_nothing(tmp_path: Path, folder: str) -> None:
    lake = Lake(tmp_path / folder / "lake")
    rows = pl.DataFrame({"job_id": [1], "user_key": [2]})
    lake.append("trainings", rows)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: lake.append("trainings", rows), range(12)))
    assert lake.scan("trainings").collect().height == 13


def test_a_lake_that_cannot_be_written_where_it_was_moved_is_left_as_it_is(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "plain")
    lake.replace_partition("labels", LABELS.with_columns(label_set=pl.lit("a b")), "label_set", "a b")
    (tmp_path / "plain").rename(tmp_path / "[x]")
    moved = Lake(tmp_path / "[x]")
    with pytest.raises(StorageError, match="Rename the folders"):
        moved.vacuum("labels", hours=0)
    assert moved.scan("labels").collect().height == 2


def test_a_link_of_somebody_else_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"segadmin-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(StorageError, match="is not a folder that only you may open"):
        Lake(tmp_path / "[x]").append("trainings", pl.DataFrame({"job_id": [1], "user_key": [2]}))


@pytest.mark.parametrize("name", ["my shop", "a#b", "a?b", "a%20b", "a\nb", "店", "a@b:c", "\\"])
def test_a_database_url_of_any_path(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "own.db"
    settings = Settings(home=tmp_path / "home", database_url=sqlite_url(path))
    database.upgrade(settings)
    assert path.is_file()
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    database.engine(settings).dispose()


def test_a_question_mark_in_a_database_url_is_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"a question mark in a file's name is written %3F: .*what%3F/own.db"):
        Settings(home=tmp_path / "home", database_url=f"sqlite:///{tmp_path}/what?/own.db")


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"e\\xff.csv' is not UTF-8.*Rename it"):
        import_file(Settings(home=tmp_path / "home"), ImportRequest("events", str(tmp_path / "e\udcff.csv")))
    with pytest.raises(ValidationError, match=r"is not UTF-8.*Choose another"):
        Settings(home=tmp_path / "\udcff")


def test_paths_and_urls_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert local_path("a%20b.csv") == Path("a%20b.csv")
    assert local_path("file:///tmp/a%20b%23.csv") == Path("/tmp/a b#.csv")
    assert local_path("FILE://localhost/tmp/x") == Path("/tmp/x")
    assert local_path("s3://bucket/table") is None
    assert local_path("postgresql+psycopg://host/shop") is None
    assert local_path("店://x") == Path("店://x")
    (tmp_path / "s3:").mkdir()
    (tmp_path / "s3:" / "e.csv").touch()
    assert local_path("s3://e.csv") == Path("s3:/e.csv")  # there is such a file
    with pytest.raises(DataError, match="not the URL of a file on this machine"):
        local_path("file://other/tmp/x")
