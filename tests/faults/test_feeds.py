"""Deliveries are killed at random points, and receivers fail: every record arrives once, in order."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys

import pytest

from segadmin.settings import Settings
from segadmin.snapshots import delivery
from segadmin.snapshots.feeds import add_feed, list_feeds
from segadmin.storage import database
from segadmin.storage.store import open_store
from tests.feeds import History, Receiver, stream_records
from tests.planted import LABELS
from tests.servers import PATH, redis_server

pytestmark = pytest.mark.faults

BATCH = 4
#: A delivery in a process of its own, with small batches.
_DELIVER = f"""
from segadmin.settings import get_settings
from segadmin.snapshots import delivery, feed
delivery.BATCH = {BATCH}
feed.write_changes(get_settings(), {LABELS!r})
delivery.deliver_changes(get_settings(), {LABELS!r}, lambda _: None, at_once=True)
"""


class Chaos:
    """A history that goes on while deliveries are killed by their failpoints and by what they send."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self.random, self.history, self.receiver = random.Random(seed), History(settings), Receiver("secret")
        self.child: subprocess.Popen[bytes] | None = None
        self.kills = 0

    def change(self) -> None:
        """Publish another snapshot, or go back to an earlier one."""
        if len(self.history.snapshots) > 1 and self.random.random() < 0.25:
            self.history.switch(self.random.choice(self.history.snapshots))
            return
        keys = self.random.sample(range(-20, 20), self.random.randint(0, 30))
        self.history.publish({key: self.random.choice(["low", "mid", "high", None]) for key in keys})

    def fail(self, place: str) -> int:
        """Kill the delivery while its request is received, or answer with a failure, now and then."""
        chance = self.random.random()
        if chance < 0.1 and self.child is not None:
            os.kill(self.child.pid, signal.SIGKILL)
            return 0
        return 503 if chance < 0.15 else 200

    def deliver(self) -> None:
        """Run a delivery that may be killed."""
        point = self.random.choice(["", "", "changes:kill", "deliver:kill"])
        environment = {**os.environ, "PYTHONPATH": PATH, "SEGADMIN_FAILPOINT": point}
        self.child = subprocess.Popen([sys.executable, "-c", _DELIVER], env=environment)
        code = self.child.wait(120)
        assert code in {0, -signal.SIGKILL}
        self.kills += code != 0


@pytest.mark.parametrize("seed", range(4))
def test_no_record_is_missing_or_doubled(settings: Settings, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEED_SECRET", "secret")
    monkeypatch.setattr(delivery, "BATCH", BATCH)
    open_store(settings)
    chaos = Chaos(settings, seed)
    chaos.change()
    with redis_server(settings), chaos.receiver.serving() as url:
        add_feed(settings, "hook", "webhook", {"url": url, "secret_env": "FEED_SECRET"})
        add_feed(settings, "stream", "redis-stream", {})
        chaos.receiver.fault = chaos.fail
        for _ in range(12):
            chaos.change()
            chaos.deliver()
        assert chaos.kills >= 3, "the seed kills too little"
        chaos.receiver.fault = lambda _: 200
        chaos.history.deliver()
        for records in (
            chaos.history.table(),
            chaos.receiver.records["hook"],
            stream_records(settings, "segadmin:changes"),
        ):
            chaos.history.check(records)
    assert [state.lag for state in list_feeds(settings)] == [0, 0]
    database.engine(settings).dispose()
