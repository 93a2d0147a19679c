"""Whatever becomes current, the feed rebuilds every snapshot: in the lake, in a Redis stream and behind a webhook."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from segadmin.settings import Settings
from segadmin.snapshots import delivery
from segadmin.snapshots.feeds import add_feed, list_feeds
from segadmin.storage import database
from segadmin.storage.store import open_store
from tests.feeds import History, Receiver, stream_records
from tests.servers import redis_server

SEGMENTS = st.sampled_from(["low", "mid", "high", None])
#: A snapshot of users by key, or the number of an earlier one to go back to; and what the receiver does meanwhile.
STEPS = st.lists(
    st.tuples(
        st.one_of(st.dictionaries(st.integers(-6, 6), SEGMENTS, max_size=12), st.integers(0, 9)),
        st.sampled_from(["ok", "ok", "down", "stores and breaks"]),
    ),
    min_size=1,
    max_size=8,
)
_numbers = itertools.count()


@pytest.fixture(scope="module")
def receivers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Receiver, str]]:
    """A store, a Redis and a receiver of webhooks; each example has a label set of its own."""
    settings, receiver = Settings(home=tmp_path_factory.mktemp("feeds") / "home"), Receiver("secret")
    open_store(settings)
    with redis_server(settings), receiver.serving() as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEED_SECRET", "secret")
        patch.setattr(delivery, "BATCH", 3)  # several batches of a few users
        yield settings, receiver, url
    database.engine(settings).dispose()


@given(steps=STEPS)
@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_replay_from_empty_gives_every_snapshot(
    receivers: tuple[Settings, Receiver, str], steps: list[tuple[dict[int, str | None] | int, str]]
) -> None:
    settings, receiver, url = receivers
    history, name = History(settings, f"labels{next(_numbers)}"), f"hook{next(_numbers)}"
    history.publish({1: "low"})
    add_feed(settings, name, "webhook", {"url": url, "secret_env": "FEED_SECRET"}, history.label_set)
    add_feed(settings, f"{name}-redis", "redis-stream", {"stream": name}, history.label_set)
    for step, fault in steps:
        receiver.fault = {
            "ok": lambda _: 200,
            "down": lambda _: 503,
            "stores and breaks": lambda place: 200 if place == "before" else 0,
        }[fault]
        if isinstance(step, int):
            history.switch(history.snapshots[step % len(history.snapshots)])
        else:
            history.publish(step)
        history.deliver()
    receiver.fault = lambda _: 200
    history.deliver()
    for records in (history.table(), receiver.records[name], stream_records(settings, name)):
        history.check(records)
    assert {state.lag for state in list_feeds(settings) if state.feed.label_set == history.label_set} == {0}
