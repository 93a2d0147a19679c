"""Previewing a file, and the profile of what the lake holds, as a user asks for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from segadmin.events.generator.shop import Plan
from segadmin.events.generator.write import write
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from tests.conftest import Cli


@pytest.fixture
def planted(settings: Settings, tmp_path: Path) -> dict[str, object]:
    written = write(Plan(users=200, days=30, locale="zh", seed=2, dirty_share=0.01), tmp_path / "shop")
    import_file(settings, ImportRequest("items", str(tmp_path / "shop/items.parquet")))
    for path in sorted((tmp_path / "shop/events").iterdir()):
        import_file(settings, ImportRequest("events", str(path)))
    return written


def test_the_profile_adds_up(planted: dict[str, object], settings: Settings, cli: Cli, tmp_path: Path) -> None:
    profile = json.loads(cli("data", "profile", "--json").stdout)
    assert profile["events"] == planted["usable"] == sum(profile["by_kind"].values())
    assert sum(sum(day.values()) for day in profile["by_day"].values()) == profile["events"]
    assert sum(profile["by_history"].values()) == profile["users"]
    assert profile["quarantine"] == {reason: count for reason, count in planted["quarantine"].items() if count}  # type: ignore[attr-defined]
    assert profile["filled"]["text"]["review"] == 1.0
    assert profile["filled"]["rating"]["purchase"] == 0.0
    assert profile["items_known"] == {"known": 1.0, "title": 1.0, "category": 1.0, "brand": 1.0}
    output = cli("data", "profile").stdout
    assert "母婴" in output
    assert "fields that are filled" in output
    done = cli("data", "profile", "--html", str(tmp_path / "p.html"))
    page = (tmp_path / "p.html").read_text()
    assert "Open it in a browser" in done.stdout
    assert page[: page.index("</figure>")].count("<rect") == 5 * 30
    assert f"{profile['events']:,}" in page
    nowhere = cli("data", "profile", "--html", str(tmp_path / "nowhere" / "p.html"), check=False)
    assert "Name a folder that exists" in nowhere.stderr


def test_an_empty_store_has_no_profile(cli: Cli) -> None:
    done = cli("data", "profile", check=False)
    assert (done.returncode, "There are no events yet" in done.stderr) == (1, True)


def test_a_preview_writes_nothing(settings: Settings, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("会员,商品,时间\nu1,a,2026-01-01\nu2,,2026-01-01\nu3,b,soon\n")
    mapping = '[columns]\nuser = "会员"\nitem = "商品"\nat = "时间"\n[constants]\nkind = "view"\n'
    (tmp_path / "shop.toml").write_text(mapping)
    words = ("data", "preview", str(tmp_path / "e.csv"))
    refused = cli(*words, check=False)
    assert refused.returncode == 1
    assert "Did you mean: --map user=会员 --map item=商品 --map at=时间?" in refused.stderr
    preview = json.loads(cli(*words, "--mapping", str(tmp_path / "shop.toml"), "--json").stdout)
    assert (preview["rows"], preview["usable"], preview["reasons"]) == (3, 1, {"missing_item": 1, "bad_time": 1})
    assert {field["field"]: field["column"] for field in preview["fields"]}["kind"] == "always 'view'"
    assert [problem["line"] for problem in preview["problems"]] == [3, 4]
    output = cli(*words, "--mapping", str(tmp_path / "shop.toml")).stdout
    assert "1 of the first 3 rows can be used as events" in output
    assert "Nothing was written" in output
    assert Lake.of(settings).scan("events").collect().is_empty()
    done = cli("data", "import", "events", str(tmp_path / "e.csv"), "--mapping", str(tmp_path / "shop.toml"))
    assert "1 of 3 rows kept" in done.stdout


def test_brackets_are_shown_as_they_are(cli: Cli, tmp_path: Path) -> None:
    """A masked number, and markup that somebody sent, are text."""
    line = "u1,stare,[bold]a[/],2026-01-01,call 13812345678"
    (tmp_path / "e.csv").write_text(f"user,kind,item,at,text\n{line}\n{line.replace('stare', 'review')}\n")
    output = cli("data", "preview", str(tmp_path / "e.csv")).stdout
    assert "call [phone]" in output
    assert "[bold]a[/]" in output
