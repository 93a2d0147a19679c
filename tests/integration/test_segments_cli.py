"""``segadmin segments``: list, show, compare and describe, as a person and as a program see them."""

from __future__ import annotations

import json

from segadmin.settings import Settings
from tests.conftest import Cli
from tests.planted import LABELS

HOSTILE = "\x1b[2J[red]everything[/red]"


def test_segments_are_described_and_shown(shop: Settings, cli: Cli) -> None:
    listed = json.loads(cli("segments", "list", "--json").stdout)
    assert [(row["label_set"], row["segment"]) for row in listed] == [(LABELS, name) for name in ("low", "mid", "high")]
    assert sum(row["users"] for row in listed) == 240
    assert "segadmin segments describe" in cli("segments", "show", "high").stdout
    done = cli("segments", "describe", "high", "--text", HOSTILE, "--owner", "CRM")
    assert "revision 1" in done.stdout
    assert "\x1b" not in done.stdout
    cli("segments", "describe", "high", "--owner", "Ann")
    history = json.loads(cli("segments", "describe", "high", "--history", "--json").stdout)
    assert [(row["revision"], row["owner"], row["description"]) for row in history] == [
        (2, "Ann", HOSTILE),
        (1, "CRM", HOSTILE),
    ]
    shown = cli("segments", "show", "high").stdout
    assert "games" in shown and "owner: Ann" in shown and "spend per user" in shown
    facts = json.loads(cli("segments", "show", "high", "--json").stdout)
    assert facts["profile"]["categories"][0]["name"] == "games"
    assert facts["description"]["owner"] == "Ann"
    assert facts["movement"] is None
    assert facts["calibration"]["rows"] > 0
    assert "Ann" in cli("segments", "list").stdout


def test_two_segments_stand_side_by_side(shop: Settings, cli: Cli) -> None:
    compared = json.loads(cli("segments", "compare", "high", "low", "--json").stdout)
    assert compared["high"]["profile"]["spend"]["low"] > compared["low"]["profile"]["spend"]["high"]
    table = cli("segments", "compare", "high", "low").stdout
    assert "games" in table and "share of revenue" in table


def test_what_cannot_be_done_names_the_fix(shop: Settings, cli: Cli) -> None:
    for words, message in (
        (("show", "hihg"), "Did you mean 'high'?"),
        (("compare", "high", "hihg"), "Did you mean 'high'?"),
        (("describe", "hihg", "--owner", "x"), "Did you mean 'high'?"),
        (("describe", "high"), "--text TEXT, --owner OWNER"),
        (("describe", "high", "--owner", "x", "--history"), "--text TEXT, --owner OWNER"),
        (("describe", "high", "--owner", "x" * 201), "200 are allowed"),
        (("show", "high", "--labels", "nothing"), "There is no snapshot for 'nothing'"),
    ):
        done = cli("segments", *words, check=False)
        assert done.returncode in {1, 2}
        assert message in " ".join(done.stderr.split()), words
