"""A home in which 200 users are in every place that users can be in."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl
import pytest
import redis
from sqlmodel import select

from segadmin.events import ingest
from segadmin.events.import_request import ImportRequest
from segadmin.events.inbox import Inbox
from segadmin.events.ingest import import_file
from segadmin.events.mapping import Mapping
from segadmin.jobs.quarantine import set_aside
from segadmin.settings import Settings
from segadmin.snapshots.delivery import deliver_changes
from segadmin.snapshots.feed import write_changes
from segadmin.snapshots.feeds import add_feed
from segadmin.storage.database import transaction
from segadmin.storage.records import Job, Step
from tests.conftest import Cli
from tests.planted import LABELS, START, label_future_spend, through_the_engine

#: The first and the last of them are the first and the last of every sorted column.
USERS = [f"shopper~é{number:03}" for number in range(200)]
TINY = {"max_tokens": 24, "epochs": 1, "batch_size": 32, "words": 300}
HEAD = "user,kind,item,at,price,rating,text\n"


def text_of(user: str) -> str:
    """Return what a user wrote, and nobody else."""
    return f"wrote-{user[-3:]}-unforgettable"


@dataclass
class PlantedHome:
    """What holds files open while users are erased, as running processes do."""

    settings: Settings
    outside: Path
    log: IO[str]
    client: redis.Redis


def plant(settings: Settings, outside: Path, cli: Cli, client: redis.Redis, patch: pytest.MonkeyPatch) -> PlantedHome:
    """Put the users everywhere."""
    learn(settings, outside)
    quarantine(settings, outside)
    live(settings, client)
    follow(settings)
    interrupt(settings, outside, patch)
    wait_in_inbox(settings)
    mention(settings, cli)
    export(settings, cli)
    settings.run_path.mkdir(exist_ok=True)
    log = (settings.run_path / "worker-cpu.log").open("a", encoding="utf-8")
    for user in USERS:
        print(
            f"[2026-01-01] ValueError: cannot read the row of {user}: {text_of(user)} of {user}", file=log, flush=True
        )
    checkpoint = settings.store_path / "work" / "job-1" / "finetune-9" / "checkpoints" / "text"
    checkpoint.mkdir(parents=True)
    (checkpoint / "rows.jsonl").write_text("\n".join(map(json.dumps, USERS)))
    return PlantedHome(settings, outside, log, client)


def learn(settings: Settings, outside: Path) -> None:
    """Import events with reviews, and labels; train and score."""
    random = np.random.default_rng(0)
    rows = []
    for user, rate in zip(USERS, random.gamma(2.0, 1.0, len(USERS)), strict=True):
        for week in range(14):
            for _ in range(1 + random.poisson(rate)):
                at = START + timedelta(weeks=week, seconds=int(random.integers(7 * 86_400)))
                kind = "purchase" if random.random() < 0.8 else "view"
                rows.append(f"{user},{kind},item-{random.integers(12)},{at:%FT%T},{random.uniform(5, 15):.2f},,")
        rows.append(f"{user},review,item-1,{START + timedelta(weeks=3):%FT%T},,4,{text_of(user)}")
    put(settings, outside / "events.csv", HEAD, rows)
    # A second import, so that there are several files, commits and statistics of each table.
    put(settings, outside / "more.csv", HEAD, [f"{user},view,item-2,2025-02-01T10:00:00,,," for user in USERS[::2]])
    label_future_spend(settings)
    put(
        settings,
        outside / "labels.csv",
        "user,segment\n",
        [f"{user},{'ab'[n % 2]}" for n, user in enumerate(USERS)],
        "labels",
    )
    retrain = {"labels": LABELS, "backbone": "tiny", "backbone_options": TINY, "baselines": [], "margin": -1}
    for seed in (17, 17):
        through_the_engine(settings, "retrain", retrain | {"seed": seed})


def put(settings: Settings, path: Path, head: str, rows: Sequence[str], table: str = "events") -> None:
    """Write a CSV file and import it."""
    path.write_text(head + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    import_file(settings, ImportRequest(table, str(path), label_set="own" if table == "labels" else ""))


def quarantine(settings: Settings, outside: Path) -> None:
    """Import rows that cannot be used, or not even be read."""
    put(settings, outside / "bad.csv", HEAD, [f"{user},stare,item-1,2025-02-01,,,{text_of(user)}" for user in USERS])
    broken = [f'{{"user": {json.dumps(user)}, "kind": "view", "at": [' for user in USERS]
    whole = ['{"user": "somebody", "kind": "view", "item": "a", "at": "2025-02-01"}']
    (outside / "broken.jsonl").write_text("\n".join([*whole, *broken]) + "\n")
    (outside / "latin.jsonl").write_bytes(
        "\n".join([*whole, *(f'{{"user": "{user}", "k"' for user in USERS)]).encode("latin-1")
    )
    for name in ("broken.jsonl", "latin.jsonl"):
        import_file(settings, ImportRequest("events", str(outside / name)))
    one_user = Mapping(constants={"user": USERS[0]})
    (outside / "one.csv").write_text("kind,item,at\nstare,item-1,2025-02-01\nview,item-1,2025-02-03\n")
    import_file(settings, ImportRequest("events", str(outside / "one.csv"), one_user))


def live(settings: Settings, client: redis.Redis) -> None:
    """Import from a stream, and let more come."""
    where = f"unix://{settings.redis_socket}"
    for user in USERS:
        client.xadd("shop", {"user": user, "kind": "view", "item": "item-3", "at": "2025-02-02T10:00:00"})
    import_file(settings, ImportRequest("events", where, options={"stream": "shop", "idle_seconds": "0.1"}))
    for user in USERS:
        client.xadd("shop", {"json": json.dumps({"user": user, "kind": "view", "item": "item-4", "at": "2025-02-04"})})


def follow(settings: Settings) -> None:
    """Deliver all changes to a stream."""
    add_feed(settings, "crm", "redis-stream", {"stream": "changes"}, LABELS)
    write_changes(settings, LABELS)
    assert deliver_changes(settings, LABELS, lambda _: None)["crm"] >= len(USERS)


def interrupt(settings: Settings, outside: Path, patch: pytest.MonkeyPatch) -> None:
    """Let an import of a file and one of what was posted be killed before they enter the lake."""
    lines = [json.dumps({"user": user, "kind": "view", "item": "item-5", "at": "2025-02-05"}) for user in USERS]
    Inbox.of(settings).add([*lines, *(line[:-9] for line in lines)])
    (outside / "killed.csv").write_text(HEAD + "".join(f"{user},view,item-6,2025-02-06,,,\n" for user in USERS))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with patch.context() as patched:
        patched.setattr(ingest, "add_to_lake", die)
        for where in ("inbox://", str(outside / "killed.csv")):
            with pytest.raises(KeyboardInterrupt):
                import_file(settings, ImportRequest("events", where))


def wait_in_inbox(settings: Settings) -> None:
    """Post events that nobody imports yet."""
    for some in (USERS[:100], USERS[100:]):
        lines = [json.dumps({"user": user, "kind": "view", "item": "item-7", "at": "2025-02-07"}) for user in some]
        Inbox.of(settings).add([*lines, *(line[:-9] for line in lines)])


def mention(settings: Settings, cli: Cli) -> None:
    """Look at users and correct some, and let descriptions and messages quote them."""
    for user in (USERS[0], USERS[100], USERS[101], USERS[199]):
        cli("users", "show", user)
    for user in (USERS[0], USERS[101], USERS[150]):
        cli("users", "correct", user, "--segment", "low", "--reason", f"{user} lives with {USERS[102]}")
    cli("users", "correct", USERS[101], "--withdraw", "--reason", f"{USERS[102]} moved")
    for texts in (("--text", f"such as {USERS[0]}"), ("--owner", f"{USERS[101]}, sales")):
        cli("segments", "describe", "low", *texts)
    with transaction(settings) as session:
        for row in [*session.exec(select(Job)).all(), *session.exec(select(Step)).all()]:
            row.error = f"ValueError: {USERS[0]} and {USERS[101]} cannot be read"
    for user in USERS:
        set_aside(settings, "cpu", "not ours", json.dumps({"user": user}), "me")


def export(settings: Settings, cli: Cli) -> None:
    """Keep exports and a card in the store."""
    folder = settings.store_path / "exports"
    folder.mkdir()
    for suffix in ("csv", "jsonl", "parquet"):
        cli("snapshots", "export", "--out", str(folder / f"ids.{suffix}"), "--with-user-ids")
        cli("snapshots", "export", "--out", str(folder / f"pseudonyms.{suffix}"))
        cli("data", "quarantine", "--import", "4", "--out", str(folder / f"quarantine.{suffix}"))
        cli("data", "quarantine", "--import", "5", "--out", str(folder / f"broken.{suffix}"))
    (folder / "old.csv.gz").write_bytes(gzip.compress((folder / "ids.csv").read_bytes()))
    cli("models", "card", "champion", "--out", str(folder / "card.html"))


def rows_of(path: Path) -> pl.DataFrame:
    """Return what an export holds."""
    if path.suffix == ".parquet":
        return pl.read_parquet(path)
    return pl.read_csv(path, infer_schema=False) if path.suffix == ".csv" else pl.read_ndjson(path)
