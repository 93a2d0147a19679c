"""What Delta's log may hold of users: nothing from the start, and nothing of what was once in it after an erasure."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake

from segadmin.errors import StorageError
from segadmin.events.erase import forget
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.settings import Settings
from segadmin.storage.lake import Commit, Lake
from segadmin.storage.schema import SCHEMAS, STATISTICS

AT = datetime(2025, 1, 1, tzinfo=UTC)
KEY = 7_318_349_394_477_056
ROWS = {
    table: pl.DataFrame(
        {
            name: ["secret"]
            if kind == pl.String
            else [[0.5]]
            if kind == pl.List
            else [AT]
            if kind.is_temporal()
            else [1]
            for name, kind in schema.items()
        }
    ).with_columns([pl.lit(KEY).alias("user_key")] if "user_key" in schema else [])
    for table, schema in SCHEMAS.items()
}
ROWS["item_vectors"] = ROWS["item_vectors"].with_columns(name=pl.lit("image"))  # operators choose it, users do not
MORE = "user,kind,item,at,text\n" + "".join(f"user~{n:02},review,a,2025-01-0{n % 9 + 1},said-{n}\n" for n in range(20))


def log_of(lake: Lake, table: str) -> str:
    """Return what the log of a table says, its checkpoints too."""
    texts = []
    for path in sorted((lake.path / table / "_delta_log").rglob("*")):
        if path.suffix == ".parquet":
            texts.append(json.dumps(pl.read_parquet(path, glob=False, hive_partitioning=False).to_dicts(), default=str))
        elif path.is_file():
            texts.append(path.read_text())
    return "\n".join(texts)


@pytest.mark.parametrize("folder", ["plain", "a[x]"])
@pytest.mark.parametrize("table", list(SCHEMAS))
def test_no_log_holds_ids_keys_or_texts(tmp_path: Path, table: str, folder: str) -> None:
    lake, rows = Lake(tmp_path / folder / "lake"), ROWS[table].with_columns(pl.lit("x").alias("label_set"))
    lake.append(table, rows, Commit("a", 1))
    lake.append(table, rows)
    lake.compact(table)
    lake.append(table, rows)
    lake.replace_rows(table, rows.head(0), "bucket = 5" if "bucket" in SCHEMAS[table] else "false")
    if table not in {"labels", "assignments", "predictions"}:
        lake.overwrite(table, rows)
    log = log_of(lake, table)
    assert "minValues" in log
    assert "secret" not in log
    assert str(KEY) not in log
    assert lake.scan(table).collect().height >= 1


def test_statistics_cover_no_identifying_columns() -> None:
    for table, columns in STATISTICS.items():
        kinds = [SCHEMAS[table][column] for column in columns if (table, column) != ("item_vectors", "name")]
        assert columns
        assert pl.String not in kinds
        assert "user_key" not in columns and "event_id" not in columns


def test_a_table_of_an_older_version_is_cleaned_by_an_erasure(settings: Settings, tmp_path: Path) -> None:
    """Its log has ids in statistics and keys in predicates, in commits and in checkpoints."""
    (tmp_path / "e.csv").write_text(MORE)
    import_file(settings, ImportRequest("events", str(tmp_path / "e.csv")))
    lake = Lake.of(settings)
    users = lake.scan("users").collect().sort("user")  # the fourth is another than the first, who is erased too
    folder = lake.path / "users"
    write_deltalake(
        str(folder), users, mode="overwrite", configuration={"delta.dataSkippingStatsColumns": "user,user_key"}
    )
    from deltalake import DeltaTable

    old = DeltaTable(str(folder))
    old.alter.set_table_properties({"delta.dataSkippingStatsColumns": "user,user_key"})
    write_deltalake(str(folder), users, mode="overwrite")
    old = DeltaTable(str(folder))
    old.delete(f"user_key = {users['user_key'][3]}")
    old.create_checkpoint()
    write_deltalake(str(folder), users.filter(pl.col("user") == users["user"][3]), mode="append")
    assert "user~00" in log_of(lake, "users")
    assert str(users["user_key"][3]) in log_of(lake, "users")
    forget(settings, ["user~00", users["user"][3]])
    log = log_of(lake, "users")
    assert "user~" not in log.replace("user~19", "").replace("user~01", "")
    assert not any(str(key) in log for key in users["user_key"])
    assert not any(path.read_bytes().count(b"said-0") for path in settings.store_path.rglob("*") if path.is_file())
    assert lake.scan("users").collect().height == 18


@pytest.mark.parametrize("folder", ["plain", "a=b"])
def test_a_log_that_begins_anew_keeps_rows_properties_and_what_was_committed(tmp_path: Path, folder: str) -> None:
    lake = Lake(tmp_path / folder / "lake")
    for number in range(1, 13):
        lake.append("trainings", ROWS["trainings"], Commit(f"app-{number}", number))
    lake.delete("trainings", f"user_key = {KEY} AND job_id = 5")
    table = lake.path / "trainings"
    (table / "part-1.parquet#1").write_text("a killed writer's")
    (table / "_delta_log" / "00000000000000000099.json#2").write_text("likewise")
    lake.drop_history("trainings")
    lake.drop_history("trainings")
    names = {path.name for path in (table / "_delta_log").iterdir()}
    assert len([name for name in names if name.endswith(".json")]) == 1
    assert len([name for name in names if ".checkpoint" in name]) == 1
    assert not list(table.rglob("*#*"))
    assert str(KEY) not in log_of(lake, "trainings")
    assert lake.scan("trainings").collect().height == 12
    assert [lake.last_version("trainings", f"app-{number}") for number in range(1, 13)] == list(range(1, 13))
    assert not lake.append("trainings", ROWS["trainings"], Commit("app-3", 3))
    assert lake.append("trainings", ROWS["trainings"], Commit("app-3", 4))
    assert lake.scan("trainings").collect().height == 13
    lake.compact("trainings")
    assert (lake.scan("trainings").collect().height, lake.files("trainings")) == (13, 1)


def test_an_import_is_still_known_after_the_log_began_anew(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text(MORE)
    import_file(settings, ImportRequest("events", str(tmp_path / "e.csv")))
    forget(settings, ["user~05"])
    _, fresh = import_file(settings, ImportRequest("events", str(tmp_path / "e.csv")))
    assert not fresh
    again, fresh = import_file(settings, ImportRequest("events", str(tmp_path / "e.csv"), again=True))
    assert fresh
    assert again.rows_kept == 1  # asked for by hand, the user comes back; all others are duplicates


def test_history_is_kept_where_a_file_cannot_be_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(tmp_path / "lake")
    lake.append("trainings", ROWS["trainings"])

    def fail(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch, pytest.raises(StorageError, match=r"'trainings'.*cannot be written"):
        patch.setattr(Path, "unlink", fail)
        lake.drop_history("trainings")
    assert lake.scan("trainings").collect().height == 1
    lake.drop_history("trainings")
