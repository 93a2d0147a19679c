"""``make privacy``: of users who were forgotten, no byte of the home tells anything, and the others are all there."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import redis
from sqlmodel import select

from segadmin.events.import_request import ImportRequest
from segadmin.events.inbox import Inbox
from segadmin.events.ingest import import_file
from segadmin.events.interrupted import list_interrupted
from segadmin.events.keys import show_key, user_key
from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Correction
from segadmin_worker import redis_server
from tests.conftest import Cli
from tests.privacy.planted_home import USERS, plant, rows_of, text_of
from tests.privacy.search import find, needles_of
from tests.servers import stop, wait_until

pytestmark = pytest.mark.privacy

#: The first, the last, some in the middle, and some all over.
FORGOTTEN = sorted({*USERS[:10], *USERS[-10:], *USERS[95:105], *USERS[20:80:3]})
KEPT = [user for user in USERS if user not in FORGOTTEN]
TABLES = ("events", "labels", "users", "assignments", "trainings", "predictions", "changes")


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    """The embedded Redis, as ``segadmin up`` starts it."""
    config = redis_server.write_config(settings)
    process = subprocess.Popen([str(redis_server.executable()), str(config)], stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: redis_server.answers(settings), 10, "Redis answers")
        with redis.Redis(unix_socket_path=str(settings.redis_socket), decode_responses=True) as connection:
            yield connection
    finally:
        stop(process)


def traces(settings: Settings, wanted: set[bytes]) -> dict[str, set[bytes]]:
    database.engine(settings).dispose()  # who closes a file in the same process takes SQLite's locks away
    return find(settings.root, wanted)


def needles(settings: Settings, users: list[str]) -> set[bytes]:
    return set().union(*(needles_of(settings.secret(), user, text_of(user)) for user in users))


def counts(settings: Settings, users: list[str]) -> dict[str, int]:
    """Return how many rows of some users there are, by table."""
    keys = [user_key(settings.secret(), user) for user in users]
    lake = Lake.of(settings)
    return {
        table: lake.scan(table).filter(pl.col("user_key").is_in(keys)).select(pl.len()).collect().item()
        for table in TABLES
    }


def quarantined(settings: Settings, users: list[str]) -> int:
    rows = Lake.of(settings).scan("quarantine").collect()["row"].to_list()
    forms = [form for user in users for form in (user, user.replace("é", "\\\\u00e9"), user.replace("é", "\\\\xe9"))]
    return sum(any(form in row for form in forms) for row in rows)


def test_no_byte_of_erased_users_is_left(
    settings: Settings, tmp_path: Path, cli: Cli, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(FORGOTTEN) == 50
    outside = tmp_path / "outside"
    outside.mkdir()
    home = plant(settings, outside, cli, client, monkeypatch)
    wanted = needles(settings, FORGOTTEN)
    places = {name.split("/")[0] + "/" + name.split("/")[-1].rpartition(".")[2] for name in traces(settings, wanted)}
    assert {
        "segadmin.db/db",
        "store/parquet",
        "store/jsonl",
        "store/arrow",
        "store/gz",
        "run/log",
        "redis/aof",
    } <= places
    before = counts(settings, KEPT)
    assert all(before.values())
    bad = quarantined(settings, KEPT)
    assert bad == 3 * len(KEPT)

    erasures = json.loads(cli("data", "forget", *FORGOTTEN, "--yes", "--json").stdout)
    assert all(erasure["known"] for erasure in erasures)
    assert all(erasure["rows"]["inbox"] == 2 and erasure["rows"]["spool"] == 3 for erasure in erasures)
    print("still there", file=home.log, flush=True)
    home.log.close()

    assert traces(settings, wanted) == {}
    with transaction(settings) as session:
        assert session.exec(select(Correction.user_key)).all() == [user_key(settings.secret(), USERS[150])]
    assert counts(settings, KEPT) == before
    assert counts(settings, USERS) == before
    assert quarantined(settings, KEPT) == bad
    assert users_left(settings, client) == {place: set(KEPT) for place in users_left(settings, client)}
    assert (settings.run_path / "worker-cpu.log").read_text().endswith("\nstill there\n")
    assert sum(user in (settings.run_path / "worker-cpu.log").read_text() for user in KEPT) == len(KEPT)

    for version in ("1", "2"):
        card = outside / f"{version}.html"
        cli("models", "card", version, "--out", str(card))
        assert "test rows were erased with their users" in card.read_text()
    assert json.loads(cli("models", "compare", "1", "2", "--json").stdout)["erased"] > 0
    # What was on its way still arrives, and nobody comes back with it.
    import_file(settings, ImportRequest("events", "inbox://"))
    import_file(
        settings,
        ImportRequest("events", f"unix://{settings.redis_socket}", options={"stream": "shop", "idle_seconds": "0.1"}),
    )
    assert list_interrupted(settings) == []
    grown = counts(settings, KEPT)["events"] - before["events"]
    assert grown == 3 * len(KEPT)  # the killed import, what waited in the inbox, and the stream
    assert traces(settings, wanted) == {}


def users_left(settings: Settings, client: redis.Redis) -> dict[str, set[str]]:
    """Return who is in each place beside the tables."""
    left: dict[str, set[str]] = {}
    posted = "".join(batch.read_text() for batch in Inbox.of(settings).batches())
    left["inbox"] = {user for user in USERS if posted.count(json.dumps(user)) == 2}
    [spooled] = list_interrupted(settings)
    left["spool"] = set(spooled.spool.users().collect()["user"])
    entries = str(client.xrange("shop"))
    left["stream"] = {user for user in USERS if user in entries and user.replace("é", "\\\\u00e9") in entries}
    names = {show_key(user_key(settings.secret(), user)): user for user in USERS}
    left["feed"] = {names[fields["user"]] for _, fields in client.xrange("changes")}  # type: ignore[union-attr, misc]
    for path in (settings.store_path / "exports").glob("ids.*"):
        left[path.name] = set(rows_of(path)["user"]) if path.suffix != ".html" else set()
    for path in (settings.store_path / "exports").glob("pseudonyms.*"):
        left[path.name] = {names[user] for user in rows_of(path)["user"]}
    for path in (settings.store_path / "exports").glob("quarantine.*"):
        left[path.name] = set(rows_of(path)["user"])
    return left
