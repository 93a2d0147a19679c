"""Every registered feed keeps the contract with a real receiver, and the suite notices those that do not."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from segadmin.contracts.feed import Feed, FeedBatch
from segadmin.contracts.plugins import load_plugins
from segadmin.settings import Settings
from segadmin.testing import check_feed
from tests.feeds import Receiver, stream_records
from tests.servers import ROOT, redis_server


def test_the_built_in_feeds_are_tested_here() -> None:
    assert load_plugins(Settings()).names("feed") == ["redis-stream", "webhook"]


def test_the_contract_of_redis_stream(settings: Settings) -> None:
    with redis_server(settings):
        check_feed(
            load_plugins(settings).make("feed", "redis-stream"), lambda: stream_records(settings, "segadmin:changes")
        )


def test_the_contract_of_webhook(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEED_SECRET", "秘密")
    receiver = Receiver("秘密")
    with receiver.serving() as url:
        feed = load_plugins(settings).make("feed", "webhook", {"url": url, "secret_env": "FEED_SECRET"})
        check_feed(feed, lambda: receiver.records["sample"])


def test_the_example_of_the_guide_works(settings: Settings, tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "how-to" / "write-a-plugin.md").read_text()
    [source] = [code for code in re.findall(r"```python\n(.*?)```", guide, re.DOTALL) if "register_feeds" in code]
    path = tmp_path / "mine.py"
    path.write_text(source)
    plugins = load_plugins(settings.model_copy(update={"plugin_files": (path,)}))
    feed = plugins.make("feed", "sqlite", {"path": str(tmp_path / "changes.db")})
    names = ("sequence", "position", "user", "change", "from_segment", "to_segment")
    query = f"SELECT {', '.join(names)} FROM changes ORDER BY sequence, position"

    def received() -> list[dict[str, Any]]:
        with closing(sqlite3.connect(tmp_path / "changes.db")) as database:
            return [dict(zip(names, row, strict=True)) for row in database.execute(query)]

    check_feed(feed, received)


@dataclass
class Good(Feed):
    """A list in memory."""

    name = "good"
    records: list[Any] = field(default_factory=list)

    def deliver(self, batch: FeedBatch) -> None:
        known = {(record["sequence"], record["position"]) for record in self.records}
        self.records += [each for each in batch.records if (each["sequence"], each["position"]) not in known]


class Doubles(Good):
    name = "doubles"

    def deliver(self, batch: FeedBatch) -> None:
        self.records += batch.records


class Loses(Good):
    name = "loses"

    def deliver(self, batch: FeedBatch) -> None:
        super().deliver(FeedBatch(batch.feed, batch.sequence, batch.position, batch.records[:1]))


class Blanks(Good):
    name = "blanks"

    def deliver(self, batch: FeedBatch) -> None:
        records = [{**record, "cause": record["cause"] or ""} for record in batch.records]
        super().deliver(FeedBatch(batch.feed, batch.sequence, batch.position, records))


def test_a_small_feed_keeps_it() -> None:
    feed = Good()
    check_feed(feed, lambda: feed.records)


@pytest.mark.parametrize(
    ("feed", "message"),
    [
        (Doubles(), "after a repeated delivery"),
        (Loses(), "has the records .*'3-1'. and not"),
        (Blanks(), "has cause='' and not None"),
    ],
)
def test_a_violation_is_named(feed: Good, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_feed(feed, lambda: feed.records)
