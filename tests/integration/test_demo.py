"""The whole of it, as a user does it: the demo, then new events and a refresh, then a schedule."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from segadmin_api.cli.demo_scale import SCALES, chinese_users, choose, explain_chinese, measure
from segadmin_worker.services import free_port
from tests.conftest import Cli
from tests.servers import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def demo(settings: Settings, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run the quick demo and yield what it printed; everything that it started is stopped afterwards."""
    monkeypatch.setenv("SEGADMIN_FLOWER_PORT", str(free_port(0)))
    try:
        yield cli("demo", "--quick").stdout
    finally:
        cli("down", check=False)


@pytest.mark.timeout(600)
def test_the_demo_then_a_refresh_then_a_schedule(demo: str, settings: Settings, cli: Cli, tmp_path: Path) -> None:
    # What the demo prints.
    assert "165,314 of 165,314 rows kept" in demo
    for words in ("stacked", "tabular", "majority", "test, unseen users", "Flower: http://127.0.0.1:"):
        assert words in demo

    # The model is better than chance, and stands beside its baselines.
    [model] = json.loads(cli("models", "list", "--json").stdout)
    assert model["state"] == "champion"
    shown = json.loads(cli("models", "show", "champion", "--json").stdout)
    test = {
        evaluation["name"]: evaluation["metrics"]
        for evaluation in shown["evaluations"]
        if evaluation["split"] == "test"
    }
    assert set(test) == {"stacked", "tabular", "majority"}
    assert test["stacked"]["auroc"] > 0.7 > test["majority"]["auroc"]

    # Everybody is in one segment, under a pseudonym.
    audience = tmp_path / "segments.csv"
    cli("snapshots", "export", "--out", str(audience))
    with audience.open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 300
    assert {row["segment"] for row in rows} <= {"low", "mid", "high"}
    raw = set(Lake.of(settings).scan("users").collect()["user"])
    assert not raw & {row["user"] for row in rows}

    # Three users buy again; only they are read.
    events = tmp_path / "new.csv"
    last = Lake.of(settings).scan("events").select(pl.col("at").max()).collect().item()
    lines = [f"{user},839656,{last:%Y-%m-%d %H:%M:%S},900" for user in sorted(raw)[:3]]
    events.write_text("user,item,at,price\n" + "\n".join(lines))
    cli("data", "import", "events", str(events), "--set", "kind=purchase")
    cli("enqueue", "refresh", "--wait")
    snapshot = json.loads(cli("snapshots", "show", "--json").stdout)
    assert (snapshot["users"], snapshot["previous_id"]) == (300, 1)
    assert (snapshot["rescored"], snapshot["rescored_by"]) == (3, {"new events": 3})
    assert snapshot["rescored"] + snapshot["carried"] == 300

    # Beat enqueues what is scheduled; the refresh finds nothing changed, and publishes nothing.
    cli("schedule", "add", "often", "--cron", "* * * * *", "refresh")
    wait_until(lambda: len(json.loads(cli("jobs", "list", "--json").stdout)) == 3, 90, "beat enqueues the slot")
    cli("schedule", "remove", "often")
    assert "Nothing changed since snapshot 2" in cli("jobs", "watch", "3").stdout
    assert json.loads(cli("snapshots", "show", "--json").stdout)["id"] == 2

    # One user, from end to end.
    user = json.loads(cli("users", "show", sorted(raw)[0], "--text", "--json").stdout)
    assert len(user["history"]) == 2
    assert user["history"][0]["segment"] in {"low", "mid", "high"}
    assert user["text"]["spend3"][0].startswith("newspend")


@pytest.mark.timeout(600)
def test_the_chinese_demo_finds_the_planted_segments(settings: Settings, cli: Cli) -> None:
    try:
        output = cli("demo", "--language", "zh", "--quick", "--no-flower").stdout
        shown = json.loads(cli("models", "show", "champion", "--json").stdout)
        other = cli("demo", check=False)
    finally:
        cli("down", check=False)
    assert "bargain" in output
    assert shown["manifest"]["backbone_options"]["text"] == "e5"
    assert shown["manifest"]["recipe"]["language"] == "zh"
    [test] = [row for row in shown["evaluations"] if (row["name"], row["split"]) == ("stacked", "test")]
    assert test["metrics"]["macro_f1"] > 0.8
    assert other.returncode == 1
    assert "holds other data (items.parquet). Give the demo a home of its own" in other.stderr


def test_the_speed_of_this_machine_can_be_measured() -> None:
    speed = measure()
    assert speed > 0
    assert choose(speed) in SCALES


def test_on_slow_machines_the_chinese_demo_has_fewer_users() -> None:
    assert [chinese_users(speed) for speed in (1_000, 5, 0.1)] == [2_000, 300, 300]
    assert "with 300 users the demo takes about " in explain_chinese(300, 5)
