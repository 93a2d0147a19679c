"""What the command line says of quarantine, merges and saved mappings."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Cli


def test_quarantine_says_what_it_does_not_show(cli: Cli, tmp_path: Path) -> None:
    rows = "".join(f"u{number},view,i,never\n" for number in range(25))
    (tmp_path / "bad.csv").write_text(f"user,kind,item,at\n{rows}u,stare,i,2025-01-01\n")
    cli("data", "import", "events", str(tmp_path / "bad.csv"))
    shown = cli("data", "quarantine")
    assert "6 more rows of 26 not shown" in shown.stderr
    assert "bad_time: The value is not a time" in shown.stdout
    listed = cli("data", "quarantine", "--json")
    assert (len(json.loads(listed.stdout)), "6 more rows" in listed.stderr) == (20, True)
    assert "more row" not in cli("data", "quarantine", "--limit", "26").stderr
    assert "more row" not in cli("data", "quarantine", "--reason", "unknown_kind").stderr


def test_a_merge_that_cannot_be_asks_nothing(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user,kind,item,at\nada,view,i,2025-01-01\nbob,view,i,2025-01-01\n")
    cli("data", "import", "events", str(tmp_path / "events.csv"))
    same = cli("data", "merge", "ada", "ada", check=False)
    assert (same.returncode, "the same user" in same.stderr, "[y/N]" in same.stdout) == (1, True, False)
    unknown = cli("data", "merge", "ada", "eve", check=False)
    assert (unknown.returncode, "There is no user 'eve'" in unknown.stderr, "[y/N]" in unknown.stdout) == (
        1,
        True,
        False,
    )
    assert "[y/N]" in cli("data", "merge", "ada", "bob", check=False).stdout, "what can be is asked for"


def test_a_mapping_is_saved_and_taken_by_its_name(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "shop.toml").write_text('[columns]\nuser = "customer"\n')
    (tmp_path / "events.csv").write_text("customer,kind,item,at\nada,view,i,2025-01-01\n")
    saved = cli("data", "mappings", "save", "shop", str(tmp_path / "shop.toml"))
    assert "--mapping shop" in saved.stdout
    assert 'user = "customer"' in cli("data", "mappings", "show", "shop").stdout
    assert json.loads(cli("data", "mappings", "--json").stdout)[0]["name"] == "shop"
    taken = cli("data", "mappings", "save", "shop", str(tmp_path / "shop.toml"), check=False)
    assert (taken.returncode, "already" in taken.stderr) == (1, True)
    assert (
        "1 of 1 row kept" in cli("data", "import", "events", str(tmp_path / "events.csv"), "--mapping", "shop").stdout
    )
    cli("data", "mappings", "remove", "shop", "--yes")
    assert cli("data", "mappings", "show", "shop", check=False).returncode == 1
