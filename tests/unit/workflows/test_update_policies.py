"""Which schedules train the model again, as people see it."""

from __future__ import annotations

import json

from segadmin.jobs import schedules
from segadmin.jobs.requests import default_options
from segadmin.settings import Settings
from segadmin.workflows.update_policies import update_policies
from tests.conftest import Cli
from tests.planted import LABELS


def test_policies_of_schedules(shop: Settings, cli: Cli) -> None:
    cli("schedule", "add", "plain", "--cron", "0 3 * * *", "refresh", "--labels", LABELS)
    words = ("--policy", "retrain", "--max-age", "30d", "--on-drift", "--max-loss", "0.02")
    cli("schedule", "add", "nightly", "--cron", "0 3 * * *", "refresh", "--labels", LABELS, *words)
    cli("schedule", "pause", "nightly")
    [policy] = update_policies(shop)
    assert (policy.schedule, policy.label_set, policy.policy, policy.paused) == ("nightly", LABELS, "retrain", True)
    line = "update policy of nightly: retrain (--max-age 30d, --on-drift, --max-loss 0.02), paused"
    assert line in cli("schedule", "show", "nightly").stdout
    assert "update policy" not in cli("schedule", "show", "plain").stdout
    facts = json.loads(cli("schedule", "show", "nightly", "--json").stdout)["update_policy"]
    assert facts == [
        {
            "schedule": "nightly",
            "label_set": LABELS,
            "policy": "retrain",
            "max_age_days": 30.0,
            "on_drift": True,
            "max_loss": 0.02,
            "paused": True,
        }
    ]
    assert json.loads(cli("status", "--json", check=False).stdout)["policies"] is None, "nothing runs here"


def test_options_of_another_version_have_no_policy(shop: Settings) -> None:
    options = default_options("refresh", {}) | {"policy": "sometimes"}
    schedules.add(shop, "odd", "0 3 * * *", "refresh", options)
    schedules.add(shop, "import", "0 3 * * *", "ingest", {"policy": "retrain"})
    assert update_policies(shop) == []
