"""``segadmin data`` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from segadmin.settings import Settings
from tests.conftest import Cli

EVENTS = "顾客,动作,商品,时间\n张伟,浏览,苹果,2026-01-01 08:00\n张伟,购买,苹果,2026-01-01 08:05\n李娜,发呆,梨,昨天\n"
MAP = ("--map", "user=顾客", "--map", "kind=动作", "--map", "item=商品", "--map", "at=时间")


def test_the_way_of_a_file(cli: Cli, settings: Settings, tmp_path: Path) -> None:
    assert "The store is empty. Import events: segadmin data import events FILE" in cli("data", "list").stdout
    assert "Nothing is in quarantine." in cli("data", "quarantine").stdout
    path = tmp_path / "事件.csv"
    path.write_text(EVENTS, encoding="utf-8")

    done = cli("data", "import", "events", str(path), *MAP, "--timezone", "Asia/Shanghai").stdout
    assert "events: 2 of 3 rows kept from 事件.csv." in done
    assert "1 rows are in quarantine (unknown_kind: 1). Look: segadmin data quarantine --import 1" in done
    assert "was imported before (import 1)" in cli("data", "import", "events", str(path), *MAP).stdout

    [bad] = json.loads(cli("data", "quarantine", "--import", "1", "--json").stdout)
    assert (bad["line"], bad["column"], bad["value"]) == (4, "kind", "发呆")
    out = tmp_path / "bad.parquet"
    cli("data", "quarantine", "--reason", "unknown_kind", "--out", str(out))
    assert pl.read_parquet(out)["row"].str.contains("李娜").all()

    facts = json.loads(cli("data", "list", "--json").stdout)
    assert {one["table"]: one["rows"] for one in facts["tables"]}["users"] == 1
    assert facts["imports"][0]["file"] == "事件.csv"
    assert "2026-01-01 to 2026-01-01" in cli("data", "list").stdout


def test_errors_are_one_line_with_the_mend(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_text(EVENTS, encoding="utf-8")
    for words, said in (
        (("import", "events", "nowhere.csv"), "There is no file nowhere.csv. Check the path."),
        (("import", "events", str(path)), "The file has no column for user, kind, item, at; its columns are: 顾客"),
        (("import", "events", str(path), "--source", "cvs"), "There is no source 'cvs'. Did you mean 'csv'?"),
        (("label", "x", "--labeler", "future-spnd"), "Did you mean 'future-spend'?"),
        (("label", "x"), "There are no events to derive labels from."),
        (("label", "x", "-o", "weeks=3"), "The labeler 'future-spend' has no option 'weeks'."),
    ):
        done = cli("data", *words, check=False)
        assert done.returncode == 1, words
        assert said in done.stderr, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert cli("data", "import", "events", str(path), "--map", "user", check=False).returncode == 2


def test_labels_and_items(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text(EVENTS, encoding="utf-8")
    (tmp_path / "i.jsonl").write_text('{"item": "苹果", "title": "红苹果", "price": 3}\n', encoding="utf-8")
    (tmp_path / "l.csv").write_text("user,segment\n张伟,高价值\n王芳,低价值\n", encoding="utf-8")
    cli("data", "import", "events", str(tmp_path / "e.csv"), *MAP)
    assert "items: 1 of 1 rows kept" in cli("data", "import", "items", str(tmp_path / "i.jsonl")).stdout
    labels = cli("data", "import", "labels", str(tmp_path / "l.csv"), "--name", "value").stdout
    assert "unknown_user: 1" in labels
    [one] = json.loads(cli("data", "list", "--json").stdout)["label_sets"]
    assert (one["name"], one["rows"], one["segments"]) == ("value", 1, ["高价值"])
