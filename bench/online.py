"""How fast the HTTP API scores users and looks segments up: latencies at a steady rate, and what happens above it.

A planted shop with a fine-tuned MiniLM; requests arrive at fixed times, whether the ones before were answered or not,
and latency counts from the time at which a request was due. Lookups are measured in the process, in a snapshot of a
million users. Last line: JSON.

    python -m bench.online [--rate 50] [--seconds 20] [--users 900] [--lookup-users 1000000] [--backbone minilm]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

_FIELDS = ("kind", "item", "quantity", "price")


def prepare(home: Path, users: int, backbone: str) -> Any:
    """Train a model in ``home`` and publish a snapshot; return the settings."""
    os.environ["SEGADMIN_HOME"] = str(home)
    from tests.planted import LABELS, label_future_spend, plant, through_the_engine

    from segadmin.settings import get_settings

    get_settings.cache_clear()
    settings = get_settings()
    plant(settings, users=users)
    label_future_spend(settings)
    options = {"epochs": "1"} if backbone == "minilm" else {"rounds": "30"}
    retrain = {"backbone": backbone, "backbone_options": options, "baselines": [], "labels": LABELS, "margin": -1}
    through_the_engine(settings, "retrain", retrain | {"trackers": [], "language": "en"})
    return settings


def bodies(settings: Any) -> list[bytes]:
    """Return requests with the events of every user."""
    from segadmin.snapshots.read import find_snapshot
    from segadmin.storage.database import transaction
    from segadmin.storage.lake import Lake

    with transaction(settings) as session:
        as_of = find_snapshot(session, "current").as_of.isoformat()
    at = pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    events = Lake.of(settings).scan("events").select("user_key", *_FIELDS, at).collect()
    return [
        json.dumps({"user": str(key), "as_of": as_of, "events": rows.drop("user_key").to_dicts()}).encode()
        for (key,), rows in events.group_by("user_key")
    ]


def call(url: str, key: str, body: bytes | None = None) -> int:
    """Return the status of an answer."""
    request = urllib.request.Request(url, body, {"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def at_rate(send: Callable[[int], int], rate: float, seconds: float) -> dict[str, Any]:
    """Send requests at fixed times and return their statuses and latencies in milliseconds."""
    latencies: list[float] = []
    statuses: dict[int, int] = {}
    lock, began = threading.Lock(), time.perf_counter() + 0.2

    def one(number: int) -> None:
        due = began + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        status = send(number)
        with lock:
            statuses[status] = statuses.get(status, 0) + 1
            if status == 200:
                latencies.append(1000 * (time.perf_counter() - due))

    with ThreadPoolExecutor(128) as threads:
        list(threads.map(one, range(int(rate * seconds))))
    p50, p99 = (round(float(np.percentile(latencies, q)), 1) for q in (50, 99)) if latencies else (None, None)
    return {"rate": rate, "answers": statuses, "p50_ms": p50, "p99_ms": p99}


def lookups(settings: Any, users: int) -> dict[str, Any]:
    """Add users to the current snapshot and return the latencies of lookups in the process."""
    from segadmin.snapshots.lookup import SegmentLookup
    from segadmin.snapshots.read import assignments, find_snapshot
    from segadmin.storage.database import transaction
    from segadmin.storage.lake import Lake

    with transaction(settings) as session:
        number = find_snapshot(session, "current").id or 0
    row = assignments(settings, number).head(1).collect()
    keys = np.random.default_rng(17).integers(-(2**63), 2**63 - 1, users)
    rows = row.select(pl.all().repeat_by(users).explode()) if users else row
    Lake.of(settings).append("assignments", rows.with_columns(user_key=pl.Series(keys)))
    lookup, began = SegmentLookup(settings), time.perf_counter()
    lookup.find([int(keys[0])])
    build, latencies = time.perf_counter() - began, []
    for key in keys[:2000]:
        began = time.perf_counter()
        assert lookup.find([int(key)]) is not None
        latencies.append(1000 * (time.perf_counter() - began))
    p50, p99 = (round(float(np.percentile(latencies, q)), 3) for q in (50, 99))
    return {"users": users, "index_seconds": round(build, 2), "p50_ms": p50, "p99_ms": p99}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--warm-up", type=float, default=60, help="seconds of single requests before")
    parser.add_argument("--users", type=int, default=900)
    parser.add_argument("--lookup-users", type=int, default=1_000_000)
    parser.add_argument("--backbone", default="minilm", choices=["minilm", "tabular"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = prepare(Path(folder) / "home", arguments.users, arguments.backbone)
        from tests.servers import web_server

        from segadmin.storage import api_keys
        from segadmin.storage.records import Scope

        requests, key = bodies(settings), api_keys.create(settings, "bench", Scope.SEGMENTS)
        results: dict[str, Any] = {"backbone": arguments.backbone, "users": len(requests)}
        with web_server(settings) as url:

            def score(number: int) -> int:
                return call(f"{url}/v1/score", key, requests[number % len(requests)])

            ready = time.monotonic() + arguments.warm_up  # the model is loaded, and its engines are compared meanwhile
            while time.monotonic() < ready:
                score(0)
            for name, rate in (("steady", arguments.rate), ("twice", 2 * arguments.rate)):
                results[name] = at_rate(score, rate, arguments.seconds)
                print(name, results[name], flush=True)
        results["lookup"] = lookups(settings, arguments.lookup_users)
        print(results["lookup"])
    print(json.dumps(results))


if __name__ == "__main__":
    main()
