"""``segadmin data`` as a user types it."""

from __future__ import annotations

import json
import shlex
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from segadmin.settings import Settings
from tests.conftest import Cli

EVENTS = "顾客,动作,商品,时间\n张伟,浏览,苹果,2026-01-01 08:00\n张伟,购买,苹果,2026-01-01 08:05\n李娜,发呆,梨,昨天\n"
MAP = ("--map", "user=顾客", "--map", "kind=动作", "--map", "item=商品", "--map", "at=时间")


def test_a_file_is_imported_quarantined_and_listed(cli: Cli, settings: Settings, tmp_path: Path) -> None:
    assert "The store is empty. Import events: segadmin data import events FILE" in cli("data", "list").stdout
    assert "Nothing is in quarantine." in cli("data", "quarantine").stdout
    path = tmp_path / "事件.csv"
    path.write_text(EVENTS, encoding="utf-8")

    done = cli("data", "import", "events", str(path), *MAP, "--timezone", "Asia/Shanghai").stdout
    assert "events: 2 of 3 rows kept from 事件.csv." in done
    assert "In quarantine: 1 row (unknown_kind: 1). Look: segadmin data quarantine --import 1" in done
    assert "was imported before (import 1)" in cli("data", "import", "events", str(path), *MAP).stdout

    [bad] = json.loads(cli("data", "quarantine", "--import", "1", "--json").stdout)
    assert (bad["line"], bad["column"], bad["value"]) == (4, "kind", "发呆")
    out = tmp_path / "bad.parquet"
    cli("data", "quarantine", "--reason", "unknown_kind", "--out", str(out))
    assert pl.read_parquet(out)["顾客"].to_list() == ["李娜"]

    facts = json.loads(cli("data", "list", "--json").stdout)
    assert {table["table"]: table["rows"] for table in facts["tables"]}["users"] == 1
    assert facts["imports"][0]["file"] == "事件.csv"
    assert "2026-01-01 to 2026-01-01" in cli("data", "list").stdout


def test_vectors_are_imported_by_column_or_by_name(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text('item,title,embedding\na,Cup,"[1, 2.5]"\nb,Mug,"[1, NaN]"\n')
    previewed = cli("data", "preview", str(path), "--table", "items", "--vector", "look=embedding").stdout
    assert "NaN at place 2" in previewed
    command = previewed.strip().splitlines()[-1].partition("To import: segadmin ")[2]
    assert command == f"data import items {path} --vector look=embedding"
    assert "items: 1 of 2 rows kept" in cli(*shlex.split(command)).stdout
    assert "vectors: look of 1 item" in cli("data", "list").stdout
    slip = cli("data", "import", "items", str(path), "--vector", "embeding", "--again", check=False).stderr
    assert "The file has no column 'embeding'. Did you mean 'embedding'?" in slip


def test_of_several_label_sets_the_next_command_names_one(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    days = [date(2024, 1, 1) + timedelta(days=day) for day in range(0, 380, 4)]
    rows = [f"u{n},purchase,i,{day},{n}\n" for n in range(1, 31) for day in days]
    path.write_text(f"user,kind,item,at,price\n{''.join(rows)}")
    cli("data", "import", "events", str(path))
    assert cli("data", "label", "one").stdout.endswith(" Next: segadmin enqueue retrain --wait\n")
    assert cli("data", "label", "my own").stdout.endswith(" Next: segadmin enqueue retrain --labels 'my own' --wait\n")


def test_errors_are_one_line_with_the_fix(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_text(EVENTS, encoding="utf-8")
    for words, message in (
        (("import", "events", "nowhere.csv"), "There is no file nowhere.csv. Check the path."),
        (("import", "events", str(path)), "The file has no column for user, kind, item, at; its columns are: 顾客"),
        (("import", "events", str(path), "--source", "cvs"), "There is no source 'cvs'. Did you mean 'csv'?"),
        (("label", "x", "--labeler", "future-spnd"), "Did you mean 'future-spend'?"),
        (("label", "x"), "There are no events to derive labels from."),
        (("label", "x", "-o", "weeks=3"), "The labeler 'future-spend' has no option 'weeks'."),
    ):
        done = cli("data", *words, check=False)
        assert done.returncode == 1, words
        assert message in done.stderr, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert cli("data", "import", "events", str(path), "--map", "user", check=False).returncode == 2


def test_labels_and_items(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text(EVENTS, encoding="utf-8")
    (tmp_path / "i.jsonl").write_text('{"item": "苹果", "title": "红苹果", "price": 3}\n', encoding="utf-8")
    (tmp_path / "l.csv").write_text("user,segment\n张伟,高价值\n王芳,低价值\n", encoding="utf-8")
    cli("data", "import", "events", str(tmp_path / "e.csv"), *MAP)
    assert "items: 1 of 1 row kept" in cli("data", "import", "items", str(tmp_path / "i.jsonl")).stdout
    labels = cli("data", "import", "labels", str(tmp_path / "l.csv"), "--name", "value").stdout
    assert "unknown_user: 1" in labels
    [label_set] = json.loads(cli("data", "list", "--json").stdout)["label_sets"]
    assert (label_set["name"], label_set["rows"], label_set["segments"]) == ("value", 1, ["高价值"])


HEADER = "user,kind,item,at\n"


def test_an_unreadable_file_does_not_stop_the_others(cli: Cli, tmp_path: Path) -> None:
    for name, header in (("one", HEADER), ("two words", "uid,kind,item,at\n"), ("three", HEADER)):
        (tmp_path / f"{name}.csv").write_text(f"{header}{name},view,a,2026-01-01\n")
    paths = [str(tmp_path / f"{name}.csv") for name in ("one", "two words", "three")]

    done = cli("data", "import", "events", *paths, "--timezone", "Asia/Shanghai", "--extra", "item", check=False)
    assert done.returncode == 1
    assert "kept from one.csv" in done.stdout
    assert "kept from three.csv" in done.stdout
    assert f"Error: {paths[1]}: The file has no column for user" in done.stderr
    command = f"segadmin data import events --extra item --timezone Asia/Shanghai {shlex.quote(paths[1])}"
    assert f"2 of 3 are imported; failed: {paths[1]}. When that is corrected: {command}" in done.stderr

    done = cli("data", "import", "events", *paths, "--json", check=False)
    assert done.returncode == 1
    results = json.loads(done.stdout)
    assert [(result["file"], result["state"]) for result in results] == [
        ("one.csv", "succeeded"), (paths[1], "failed"), ("three.csv", "succeeded")
    ]  # fmt: skip
    assert "no column for user" in results[1]["error"]

    done = cli("data", "import", "events", *paths, "--source", "cvs", check=False)
    assert f"0 of 3 are imported; failed: {paths[0]}; not tried: {paths[1]}, {paths[2]}." in done.stderr


def test_folders_and_patterns(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for name in ("a", "b"):
        (tmp_path / "logs" / f"{name}.csv").write_text(f"{HEADER}{name},view,a,2026-01-01\n")
    (tmp_path / "logs" / "readme.txt").write_text("?")
    folder = str(tmp_path / "logs")
    for words in ((folder,), (folder, "--source", "csv")):
        done = cli("data", "import", "events", *words, check=False)
        assert done.returncode == 1
        assert f"{folder} is a folder. Name its files: {folder}/*.csv" in done.stderr
    done = cli("data", "import", "events", f"{folder}/*.csv")  # a pattern that no shell has replaced
    assert "from a.csv" in done.stdout
    assert "from b.csv" in done.stdout
    assert "There is no file" in cli("data", "import", "events", f"{folder}/*.tsv", check=False).stderr


def test_rows_in_quarantine_are_corrected_in_a_file(cli: Cli, tmp_path: Path) -> None:
    path, out = tmp_path / "e.csv", tmp_path / "q.csv"
    path.write_text("who,kind,item,at,price\nu1,view,=a,2026-01-01,\nu1,purchase,=b,2026-01-02,12;50\n")
    cli("data", "import", "events", str(path), "--map", "user=who")
    output = cli("data", "quarantine", "--import", "1", "--out", str(out)).stdout
    assert "Wrote 1 row to" in output
    assert f"segadmin data import events {out}" in output
    assert "segadmin data quarantine --import 1 --drop" in output
    out.write_text(out.read_text(encoding="utf-8-sig").replace("12;50", "12.50"), encoding="utf-8")
    assert "1 of 1 row kept" in cli("data", "import", "events", str(out), "--map", "user=who").stdout
    assert cli("data", "quarantine", "--import", "1", "--drop", check=False).returncode == 1  # nobody says yes
    assert "Deleted 1 row from" in cli("data", "quarantine", "--import", "1", "--drop", "--yes").stdout
    assert "Nothing is in quarantine." in cli("data", "quarantine").stdout
    actions = {entry["action"] for entry in json.loads(cli("audit", "list", "--json").stdout)}
    assert actions == {"data.quarantine", "data.quarantine.drop"}


def test_quarantine_of_an_unknown_import(cli: Cli) -> None:
    done = cli("data", "quarantine", "--import", "99", check=False)
    assert done.returncode == 1
    assert "There is no import 99. See: segadmin data list" in done.stderr
