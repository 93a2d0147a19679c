"""What an operator sees of posted events that no import can take, and does about them."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from segadmin.events.inbox import Inbox
from segadmin.settings import Settings
from segadmin.storage.import_lock import no_step_runs
from segadmin.storage.lake import Lake
from tests.conftest import Cli

EVENT = {"user": "u1", "kind": "purchase", "item": "i", "at": "2026-01-31T18:05:00Z", "price": 1}


def test_a_failed_batch_is_listed_and_retried_or_dropped(settings: Settings, cli: Cli) -> None:
    box = Inbox.of(settings)
    assert "0 batches to be imported" in cli("data", "inbox").stdout
    poison = box.add([json.dumps(EVENT)])
    box.begin(box.batches())
    box.set_aside(box.batches()[0], "It ended the process.")
    box.add([json.dumps(EVENT | {"user": "u2"})])
    cli("data", "import", "events", "inbox://")
    assert Lake.of(settings).scan("users").collect()["user"].to_list() == ["u2"]

    shown = cli("data", "inbox").stdout
    assert poison in "".join(shown.split())
    assert "segadmin data inbox --retry" in shown
    inbox = json.loads(cli("data", "inbox", "--json").stdout)
    assert (inbox["waiting"], inbox["oldest"]) == (0, None)
    assert [(batch["name"], batch["attempts"]) for batch in inbox["failed"]] == [(poison, 1)]
    assert "It ended the process." in inbox["failed"][0]["reason"]
    findings = json.loads(cli("doctor", "--json", check=False).stdout)
    [finding] = [each for each in findings if each["what"] == "inbox"]
    assert (finding["level"], finding["mend"]) == ("fail", "segadmin data inbox")
    assert "It ended the process." in finding["detail"]

    assert cli("data", "inbox", "--retry", "nothing", check=False).returncode == 1
    both = cli("data", "inbox", "--retry", poison, "--drop", poison, check=False)
    assert both.returncode == 2
    cli("data", "inbox", "--retry", poison)
    assert [path.stem for path in box.batches()] == [poison]
    assert box.failed() == []
    jobs = json.loads(cli("jobs", "list", "--json").stdout)
    assert [job["kind"] for job in jobs] == ["ingest"], "it is imported by itself"

    box.set_aside(box.batches()[0], "It ended the process.")
    assert json.loads(cli("data", "inbox", "--drop", "all", "--yes", "--json").stdout) == {"dropped": [poison]}
    assert not list(box.failed_folder.iterdir())
    actions = [entry["action"] for entry in json.loads(cli("audit", "list", "--json").stdout)]
    assert {"data.inbox.retry", "data.inbox.drop"} <= set(actions)


def test_a_batch_is_retried_when_no_erasure_is_running(settings: Settings, cli: Cli) -> None:
    cli("data", "import", "events", "inbox://")
    box = Inbox.of(settings)
    name = box.add([json.dumps(EVENT)])
    [batch] = box.batches()
    box.set_aside(batch, "poison")
    with ThreadPoolExecutor(1) as pool:
        with no_step_runs(settings):
            retrying = pool.submit(cli, "data", "inbox", "--retry", name, check=False)
            with pytest.raises(TimeoutError):
                retrying.result(3)
            box.remove(box.failed_batches())  # all of it was the user's
        done = retrying.result(60)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"No batch {name!r} is set aside." in done.stderr


def test_posted_events_that_wait_for_long_are_a_warning(settings: Settings, cli: Cli) -> None:
    box = Inbox.of(settings)
    name = box.add([json.dumps(EVENT)])
    hour_ago = time.time() - 3600
    os.utime(box.folder / f"{name}.jsonl", (hour_ago, hour_ago))
    findings = json.loads(cli("doctor", "--json", check=False).stdout)
    [finding] = [each for each in findings if each["what"] == "inbox"]
    assert (finding["level"], finding["mend"]) == ("warn", "segadmin enqueue ingest inbox:// --wait")
