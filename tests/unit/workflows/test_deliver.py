"""Deliveries: by beat, in order, again after a failure; and what cannot be configured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
from sqlmodel import delete, select, update

from segadmin.errors import ConfigurationError, PluginNotFound
from segadmin.jobs.run import run_step
from segadmin.settings import Settings
from segadmin.snapshots.delivery import LONGEST_WAIT, deliver_changes
from segadmin.snapshots.feed import write_changes
from segadmin.snapshots.feeds import add_feed, find_feed, list_feeds, remove_feed
from segadmin.storage import database
from segadmin.storage.database import transaction
from segadmin.storage.records import ConfiguredFeed, Job, JobState, Lock, SnapshotSwitch, Step
from segadmin.storage.store import open_store
from segadmin.workflows.deliver import PAUSE
from segadmin_worker.app import app
from segadmin_worker.schedule import SqlScheduler
from tests.commands import command_server
from tests.conftest import Cli
from tests.feeds import History, Receiver, stream_records
from tests.planted import LABELS
from tests.servers import redis_server


@pytest.fixture
def history(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[History]:
    """A store with one snapshot of three users."""
    monkeypatch.setenv("FEED_SECRET", "secret")
    open_store(settings)
    made = History(settings)
    made.publish({1: "low", 2: None, -3: "high"})
    yield made
    database.engine(settings).dispose()


@pytest.fixture
def receiver_url() -> Iterator[str]:
    """The URL of a receiver that answers."""
    with Receiver("secret").serving() as url:
        yield url


def webhook(settings: Settings, url: str, name: str = "crm") -> ConfiguredFeed:
    return add_feed(settings, name, "webhook", {"url": url, "secret_env": "FEED_SECRET"})


def jobs(settings: Settings) -> list[Job]:
    with transaction(settings) as session:
        return list(session.exec(select(Job).where(Job.kind == "deliver").order_by(Job.id)).all())  # type: ignore[arg-type]


def tick() -> None:
    SqlScheduler(app=app, lazy=True).tick()


def work(settings: Settings) -> None:
    """Run the steps that are ready, as a worker does."""
    with transaction(settings) as session:
        steps = session.exec(select(Step.id).where(Step.state == "ready")).all()
    for step in steps:
        run_step(settings, lambda _: None, step or 0, "me")


def let_a_wait_pass(settings: Settings, name: str) -> timedelta:
    """Return how long a feed has to wait for its next attempt, and let this time pass."""
    with transaction(settings) as session:
        feed = session.get_one(ConfiguredFeed, name)
        assert feed.retry_at is not None
        wait = feed.retry_at - database.now(session)
        feed.retry_at = database.now(session)
    return wait


def test_beat_delivers_what_became_current_once(history: History) -> None:
    settings, receiver = history.settings, Receiver("secret")
    write_changes(settings, LABELS)
    tick()
    assert jobs(settings) == [], "nobody receives anything"
    with receiver.serving() as url:
        webhook(settings, url)
        for _ in range(2):
            tick()
        assert [job.state for job in jobs(settings)] == [JobState.QUEUED]
        work(settings)
        tick()
        assert [job.state for job in jobs(settings)] == [JobState.SUCCEEDED]
        history.publish({1: "mid", 2: None, 4: "low"})
        history.switch(history.snapshots[0])
        tick()
        work(settings)
    assert [job.options["labels"] for job in jobs(settings)] == [LABELS] * 2
    history.check(receiver.records["crm"])
    assert receiver.deliveries == ["crm-1-1", "crm-2-1", "crm-3-1"]


def test_records_that_nobody_wrote_are_written_by_a_delivery(history: History) -> None:
    with transaction(history.settings) as session:
        session.exec(update(SnapshotSwitch).values(created_at=database.now(session) - 2 * PAUSE))
    tick()
    work(history.settings)
    history.check(history.table())


def test_a_clock_that_was_set_back_holds_up_no_delivery(history: History, receiver_url: str) -> None:
    """A year ahead, a record was left unwritten, a feed failed, and so did a job."""
    settings, ahead = history.settings, timedelta(days=365)
    webhook(settings, receiver_url)
    with transaction(settings) as session:
        later = database.now(session) + ahead
        session.exec(update(SnapshotSwitch).values(created_at=later))
        session.exec(update(ConfiguredFeed).values(retry_at=later, failures=1))
    tick()
    [job] = jobs(settings)
    with transaction(settings) as session:
        session.exec(delete(Lock))
        session.exec(update(Step).values(state="failed"))
        session.exec(update(Job).values(state=JobState.FAILED, finished_at=later))
    tick()
    assert len(jobs(settings)) == 2, f"job {job.id} failed a year from now"
    work(settings)
    assert find_feed(settings, "crm").lag == 0


def test_a_receiver_that_is_down_for_an_hour_loses_nothing_and_gets_nothing_twice(history: History) -> None:
    settings, receiver = history.settings, Receiver("secret")
    with receiver.serving() as url:
        webhook(settings, url)
    waits = []
    for n in range(12):
        history.publish({key: ("low", "mid")[(n + key) % 2] for key in range(n + 1)})
        write_changes(settings, LABELS)
        assert deliver_changes(settings, LABELS, lambda _: None) == {"crm": 0}
        assert deliver_changes(settings, LABELS, lambda _: None) == {}, "it waits for its next attempt"
        waits.append(let_a_wait_pass(settings, "crm"))
    assert waits[1] > waits[0]
    assert sum(waits, timedelta()) > timedelta(hours=1)
    assert waits[-1] <= LONGEST_WAIT
    state = find_feed(settings, "crm")
    assert (state.feed.failures, state.lag) == (12, 13)
    assert "does not answer: ConnectionRefusedError" in (state.feed.error or "")
    with receiver.serving():
        history.deliver()
    history.check(receiver.records["crm"])
    state = find_feed(settings, "crm")
    assert (state.feed.failures, state.feed.error, state.lag, state.records) == (0, None, 0, 0)


def test_a_feed_that_fails_does_not_hold_up_the_others(history: History) -> None:
    receiver = Receiver("secret")
    with receiver.serving() as url:
        webhook(history.settings, "http://127.0.0.1:1/", "a")
        webhook(history.settings, url, "b")
        assert history.deliver() == {"a": 0, "b": 3}
    assert [state.lag for state in list_feeds(history.settings)] == [1, 0]


@pytest.mark.parametrize(
    ("status", "message"),
    [(301, "answers 301. Redirects"), (500, "answers 500. Check"), (0, "does not answer: RemoteDisconnected")],
)
def test_only_success_counts(history: History, status: int, message: str) -> None:
    receiver = Receiver("secret", fault=lambda _: status)
    with receiver.serving() as url:
        webhook(history.settings, url)
        history.deliver()
    feed = find_feed(history.settings, "crm").feed
    assert (feed.failures, feed.position) == (1, 0)
    assert message in (feed.error or "")


def test_a_wrong_secret_is_refused_and_a_missing_one_named(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = Receiver("secret")
    with receiver.serving() as url:
        webhook(history.settings, url)
        monkeypatch.setenv("FEED_SECRET", "another")
        history.deliver()
        assert "answers 401" in (find_feed(history.settings, "crm").feed.error or "")
        monkeypatch.delenv("FEED_SECRET")
        history.deliver()
    assert "The variable FEED_SECRET is not set" in (find_feed(history.settings, "crm").feed.error or "")
    assert receiver.records == {}


def test_a_new_feed_may_begin_now(history: History) -> None:
    receiver = Receiver("secret")
    with receiver.serving() as url:
        options = {"url": url, "secret_env": "FEED_SECRET"}
        add_feed(history.settings, "new", "webhook", options, from_now=True)
        assert find_feed(history.settings, "new").lag == 0
        history.deliver()
        assert receiver.records == {}
        history.publish({1: "low", 2: "mid", -3: "high"})
        history.deliver()
    assert [(record["change"], record["to_segment"]) for record in receiver.records["new"]] == [("moved", "mid")]


def test_a_stream_keeps_its_latest_entries_and_belongs_to_one_feed(history: History) -> None:
    settings = history.settings
    with redis_server(settings), redis.Redis(unix_socket_path=str(settings.redis_socket)) as client:
        add_feed(settings, "a", "redis-stream", {"stream": "short", "maxlen": "2"})
        client.xadd("others", {"event": "view"})
        add_feed(settings, "b", "redis-stream", {"stream": "others"})
        assert history.deliver() == {"a": 3, "b": 0}
        assert [record["position"] for record in stream_records(settings, "short")] == ["2", "3"]
        assert client.xlen("others") == 1
        history.publish({1: "mid"})
        history.deliver()
        assert [record["sequence"] for record in stream_records(settings, "short")] == ["2", "2"]
    assert "which the feed b did not add. Add a feed with another stream" in (find_feed(settings, "b").feed.error or "")


def test_what_a_stream_lost_at_its_end_is_delivered_again(history: History) -> None:
    """Redis was killed, and its disk has the stream as it was a second before."""
    add_feed(history.settings, "stream", "redis-stream", {})
    with redis_server(history.settings):
        history.deliver()
        for segments in ({1: "low", 2: "high", 3: "high"}, {1: "mid", 2: "low"}, {1: "mid", 2: "low"}):
            history.publish(segments)
            history.deliver()
        written = stream_records(history.settings, "segadmin:changes")
    assert len(written) > 5
    with redis_server(history.settings), redis.Redis(unix_socket_path=str(history.settings.redis_socket)) as client:
        for record in written[:4]:
            fields: dict[Any, Any] = {name: value for name, value in record.items() if value is not None}
            client.xadd("segadmin:changes", fields, id=f"{record['sequence']}-{record['position']}")
        assert history.deliver() == {"stream": 0}, "it is asked when there is something new"
        history.publish({1: "high", 2: "low"})
        history.deliver()
        history.check(stream_records(history.settings, "segadmin:changes"))
    assert [feed.lag for feed in list_feeds(history.settings)] == [0]


def test_a_process_killed_after_the_receiver_stored_a_batch(history: History) -> None:
    receiver, settings = Receiver("secret"), history.settings
    write_changes(settings, LABELS)
    deliver = "deliver_changes(get_settings(), 'spend3', lambda _: None)"
    imports = "from segadmin.settings import get_settings; from segadmin.snapshots.delivery import deliver_changes"
    with receiver.serving() as url:
        webhook(settings, url)
        killed = command_server().python(f"{imports}; {deliver}", SEGADMIN_FAILPOINT="deliver:kill")
        assert killed.returncode == -9
        assert find_feed(settings, "crm").records == 3
        history.deliver()
    assert receiver.deliveries == ["crm-1-1", "crm-1-1"]
    history.check(receiver.records["crm"])


@pytest.mark.parametrize(
    ("name", "kind", "options", "error", "message"),
    [
        ("a b", "redis-stream", {}, ConfigurationError, "A feed cannot be called 'a b'. Use up to 64"),
        ("a", "redis-streem", {}, PluginNotFound, "Did you mean 'redis-stream'"),
        ("a", "redis-stream", {"maxlen": "-1"}, ConfigurationError, "maxlen=-1: give 0"),
        ("a", "redis-stream", {"maxlen": "few"}, ConfigurationError, "maxlen='few'"),
        ("a", "redis-stream", {"url": "http://x"}, ConfigurationError, "url='http://x'. Give it a Redis"),
        ("a", "redis-stream", {"url": "redis://:pw@host/0"}, ConfigurationError, r"\*\*\*.*holds a secret. Write"),
        ("a", "webhook", {}, ConfigurationError, "url=''. Give a URL"),
        ("a", "webhook", {"url": "ftp://host/"}, ConfigurationError, "url='ftp://host/'. Give a URL"),
        ("a", "webhook", {"url": "file:///etc/passwd"}, ConfigurationError, "Give a URL"),
        ("a", "webhook", {"url": "https://h/?token=abc"}, ConfigurationError, "holds a secret"),
        ("a", "webhook", {"url": "https://h/"}, ConfigurationError, "secret_env=''. Give the name"),
        (
            "a",
            "webhook",
            {"url": "https://h/", "secret_env": "A", "timeout_seconds": "0"},
            ConfigurationError,
            "=0: give",
        ),
        ("a", "webhook", {"url": "https://$U:$P@h/", "secret_env": "A"}, ConfigurationError, "logins are not sent"),
    ],
)
def test_a_feed_that_cannot_be_added(
    history: History, name: str, kind: str, options: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        add_feed(history.settings, name, kind, options)
    assert list_feeds(history.settings) == []


def test_names_and_label_sets_that_are_not_there(history: History) -> None:
    add_feed(history.settings, "a", "redis-stream", {})
    with pytest.raises(ConfigurationError, match=r"a feed 'a' already. Remove it first"):
        add_feed(history.settings, "a", "redis-stream", {})
    with pytest.raises(ConfigurationError, match=r"no snapshot for 'spend4'. Did you mean 'spend3'"):
        add_feed(history.settings, "b", "redis-stream", {}, "spend4")
    with pytest.raises(ConfigurationError, match=r"no feed 'aa'. Did you mean 'a'"):
        remove_feed(history.settings, "aa")


def test_the_commands(history: History, cli: Cli) -> None:
    assert "No feeds yet. Add one: segadmin feeds add" in cli("feeds", "list").stdout
    cli("feeds", "add", "stream", "redis-stream", "-o", "maxlen=1000", "--label-set", LABELS)
    write_changes(history.settings, LABELS)
    [listed] = json.loads(cli("feeds", "list", "--json").stdout)
    assert (listed["name"], listed["lag"], listed["records_waiting"], listed["error"]) == ("stream", 1, 3, None)
    assert listed["options"] == {"maxlen": "1000"}
    shown = cli("feeds", "show", "stream").stdout
    assert "stream: redis-stream, the changes of spend3, since" in shown
    assert "  maxlen: 1000" in shown
    assert "behind by 1 change with 3 records" in shown
    with redis_server(history.settings):
        assert "Enqueued job" in cli("feeds", "deliver", "stream").stdout
    history.deliver()
    [listed] = json.loads(cli("feeds", "list", "--json").stdout)
    assert "The stream segadmin:changes at unix://" in listed["error"]
    assert "takes no records" in listed["error"]
    assert "redis-stream" in cli("feeds", "list").stdout
    assert "next attempt: 2" in cli("feeds", "show", "stream").stdout
    refused = cli("enqueue", "deliver", "--labels", "spend4", check=False)
    assert "There is no snapshot for 'spend4'. Did you mean 'spend3'" in refused.stderr
    cli("feeds", "remove", "stream")
    refused = cli("feeds", "show", "stream", check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "There is no feed 'stream'" in refused.stderr
    refused = cli("feeds", "add", "x", "webhook", "-o", "url=gopher://h", check=False)
    assert (refused.returncode, "url='gopher://h'" in refused.stderr) == (1, True)
