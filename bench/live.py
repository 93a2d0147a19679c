"""How fresh segments are while events come in: from an event to the first snapshot that it is in.

A model is trained on a synthetic shop whose log ends now. Then Redis, a worker of two processes, beat and the web
server run as in production, a schedule with an objective is added, and events are posted at a steady rate, each with
the time at which it was made. Reported are:

- freshness p50 and p95 over all events, by the lake and by the times at which SQL published the snapshots, and the
  greatest difference from what a snapshot states of itself;
- the same as a client sees it: users who were never seen before are posted, and looked up until they have a segment;
- events posted, stored, and counted by the snapshots: the three must be equal;
- the refreshes, their seconds, and the load of the machine before and during the run.

The last line is JSON.

    python -m bench.live [--seconds 300] [--rate 100] [--backbone tabular] [--freshness 10s]
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from sqlmodel import col, select

from bench.scale import LABELLED, run_job
from segadmin.settings import Settings, get_settings

#: Attempts to look a new user up, per second.
_LOOKS = 4
#: How long the last events may take until they are in a snapshot, in seconds.
_DRAIN_SECONDS = 120


def shop_until_now(settings: Settings, folder: Path, users: int, backbone: str) -> list[str]:
    """Import a synthetic shop whose log ends now, train a model, and return the user ids."""
    import polars as pl

    from segadmin.events.generator.shop import Plan
    from segadmin.events.generator.write import write
    from segadmin.events.import_request import ImportRequest
    from segadmin.events.ingest import import_file
    from segadmin.events.mapping import Mapping

    write(Plan(users=users, until=datetime.now(UTC)), folder)
    labelled = pl.scan_parquet(folder / "labels.parquet").sort("user").head(LABELLED)
    labelled.sink_parquet(folder / "labelled.parquet")
    import_file(settings, ImportRequest("items", str(folder / "items.parquet"), Mapping()))
    for part in sorted((folder / "events").glob("part-*")):
        import_file(settings, ImportRequest("events", str(part), Mapping()))
    import_file(settings, ImportRequest("labels", str(folder / "labelled.parquet"), Mapping(), label_set="segment"))
    options = {"backbone": backbone, "backbone_options": {} if backbone == "tabular" else {"epochs": "2"}}
    options |= {"labels": "segment", "margin": -1, "split": "user", "baselines": [], "trackers": [], "language": "en"}
    run_job(settings, "retrain", options)
    return sorted(pl.read_parquet(folder / "labels.parquet")["user"])


@dataclass
class Client:
    """What a shop does: it posts events, and looks users up."""

    address: str
    key: str
    lookup_key: str
    posted: int = 0
    seen_after: list[float] = field(default_factory=list)  #: seconds until a new user had a segment
    stopped: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def post(self, events: list[dict[str, Any]]) -> None:
        """Post events until they are accepted, and count them."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        while self._request("POST", "/v1/events", json.dumps(events), headers) != http.HTTPStatus.ACCEPTED:
            time.sleep(0.2)
        with self.lock:
            self.posted += len(events)

    def look(self) -> None:
        """Post an event of a new user and wait for its segment, again and again."""
        headers = {"Authorization": f"Bearer {self.lookup_key}"}
        for number in range(1_000_000):
            if self.stopped.is_set():
                return
            user, began = f"new-{number}", time.time()
            self.post([event(user, "view", "item-1")])
            while self._request("GET", f"/v1/users/{user}/segment", "", headers) != http.HTTPStatus.OK:
                if self.stopped.wait(1 / _LOOKS):
                    return
            self.seen_after.append(time.time() - began)

    def _request(self, method: str, path: str, body: str, headers: dict[str, str]) -> int:
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            return 0
        else:
            return answer.status
        finally:
            connection.close()


_numbers = iter(range(10**12))


def event(user: str, kind: str, item: str) -> dict[str, Any]:
    """Return an event of this moment."""
    at = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {"event_id": f"live-{next(_numbers)}", "user": user, "kind": kind, "item": item, "at": at, "price": 9.5}


def post_steadily(client: Client, users: list[str], items: list[str], options: argparse.Namespace) -> None:
    """Post events at the rate that is asked for; what is late is made up for."""
    chosen, began, batch = random.Random(0), time.monotonic(), options.batch
    for number in range(int(options.rate * options.seconds / batch)):
        time.sleep(max(0.0, began + number * batch / options.rate - time.monotonic()))
        kinds = chosen.choices(("view", "cart", "purchase"), (8, 1, 1), k=batch)
        client.post([event(chosen.choice(users), kind, chosen.choice(items)) for kind in kinds])


def snapshots(settings: Settings) -> list[Any]:
    """Return the snapshots that state their freshness, the oldest first."""
    from segadmin.storage.database import reading
    from segadmin.storage.records import SegmentSnapshot, SnapshotState

    with reading(settings) as session:
        published = select(SegmentSnapshot).where(SegmentSnapshot.state == SnapshotState.PUBLISHED)
        return [row for row in session.exec(published.order_by(col(SegmentSnapshot.id))).all() if row.freshness]


def counted(settings: Settings) -> int:
    """Return the events that the snapshots count."""
    return sum(sum(row.freshness[name] for name in ("events", "late", "ahead")) for row in snapshots(settings))


def job_seconds(settings: Settings) -> Iterator[tuple[str, float]]:
    """Yield kind and seconds of each job that succeeded."""
    from segadmin.storage.database import reading
    from segadmin.storage.records import Job

    with reading(settings) as session:
        for job in session.exec(select(Job).order_by(col(Job.id))).all():
            if job.started_at and job.finished_at:
                yield job.kind, (job.finished_at - job.started_at).total_seconds()


def stage_seconds(settings: Settings) -> dict[str, float]:
    """Return the median seconds of the steps of each stage of the refreshes."""
    from segadmin.storage.database import reading
    from segadmin.storage.records import Job, Step

    with reading(settings) as session:
        steps = session.exec(select(Step).join(Job).where(col(Job.kind).in_(["refresh", "ingest"]))).all()
    taken: dict[str, list[float]] = {}
    for step in steps:
        if step.started_at and step.finished_at:
            taken.setdefault(step.stage, []).append((step.finished_at - step.started_at).total_seconds())
    return {stage: round(float(np.median(values)), 3) for stage, values in taken.items()}


def ages(settings: Settings, rows: list[Any]) -> tuple[NDArray[np.float64], float]:
    """Return the seconds from event to publication of all events, and how far the snapshots' own p95 is off at most.

    Which events a snapshot adds is read from two versions of the lake, without what the snapshot states of itself.
    """
    from segadmin.storage.lake import Lake

    def ids(row: Any) -> Any:
        return Lake.of(settings, row.lake_versions).scan("events").select("event_id", "at").collect()

    found, off, known = [], 0.0, ids(rows[0])
    for row in rows[1:]:
        now = ids(row)
        new = now.join(known, on="event_id", how="anti")
        seconds = np.array([(row.published_at - at).total_seconds() for at in new["at"]])
        off, known = max(off, abs(float(np.percentile(seconds, 95, method="higher")) - row.freshness["p95"])), now
        found.append(seconds)
    return np.concatenate(found), off


def measure(settings: Settings, users: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Run the services, post, and return the figures."""
    import polars as pl
    from tests.servers import beat, redis_server, web_server, worker

    from segadmin.jobs import intervals, schedules
    from segadmin.jobs.requests import check_request
    from segadmin.storage import api_keys
    from segadmin.storage.lake import Lake
    from segadmin.storage.records import Scope
    from segadmin.workflows.live import objective_options

    before = Lake.of(settings).scan("events").select(pl.len()).collect().item()
    items = Lake.of(settings).scan("items").select("item").collect()["item"].to_list()
    load_before = os.getloadavg()[0]
    with ExitStack() as services:
        services.enter_context(redis_server(settings))
        services.enter_context(worker(settings, app="segadmin_worker.app", queues="cpu,control,gpu", concurrency=2))
        services.enter_context(beat(settings, app="segadmin_worker.app"))
        url = services.enter_context(web_server(settings))
        objective = intervals.seconds_of(options.freshness, "--freshness")
        wanted = check_request(settings, "refresh", objective_options("refresh", {"labels": "segment", "force": True}))
        schedules.add(settings, "live", "", "refresh", wanted, freshness=objective)
        keys = [api_keys.create(settings, "bench"), api_keys.create(settings, "looks", Scope.SEGMENTS)]
        client = Client(urlsplit(url).netloc, *keys)
        looking = threading.Thread(target=client.look, daemon=True)
        looking.start()
        post_steadily(client, users, items, options)
        load = os.getloadavg()[0]
        client.stopped.set()
        looking.join()
        deadline = time.monotonic() + _DRAIN_SECONDS
        while counted(settings) < client.posted and time.monotonic() < deadline:
            time.sleep(0.5)
    rows = [row for row in snapshots(settings) if row.freshness["events"]]
    stored = Lake.of(settings).scan("events").select(pl.len()).collect().item() - before
    seconds, off = ages(settings, rows)
    jobs = list(job_seconds(settings))
    refreshes = [taken for kind, taken in jobs if kind == "refresh"]
    return {
        "posted": client.posted,
        "stored": stored,
        "in_snapshots": counted(settings),
        "snapshots": len(rows),
        "freshness_p50": round(float(np.percentile(seconds, 50)), 2),
        "freshness_p95": round(float(np.percentile(seconds, 95)), 2),
        "worst": round(float(seconds.max()), 2),
        "snapshots_p95_off_by": round(off, 3),
        "seen_p50": round(float(np.percentile(client.seen_after, 50)), 2),
        "seen_p95": round(float(np.percentile(client.seen_after, 95)), 2),
        "looked_up": len(client.seen_after),
        "refresh_p50": round(float(np.percentile(refreshes, 50)), 2),
        "refresh_p95": round(float(np.percentile(refreshes, 95)), 2),
        "imports": sum(kind == "ingest" for kind, _ in jobs),
        "stage_seconds": stage_seconds(settings),
        "load_before": round(load_before, 2),
        "load_at_the_end": round(load, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--rate", type=float, default=100, help="events per second")
    parser.add_argument("--batch", type=int, default=10, help="events of a post")
    parser.add_argument("--users", type=int, default=2_000)
    parser.add_argument("--backbone", default="tabular")
    parser.add_argument("--freshness", default="10s", help="the objective")
    parser.add_argument("--home", type=Path, help="keep the home here; one that is there is used again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SEGADMIN_HOME"] = str(options.home or Path(folder) / "home")
        get_settings.cache_clear()
        users = shop_until_now(get_settings(), Path(folder) / "shop", options.users, options.backbone)
        figures = measure(get_settings(), users, options)
    objective = float(options.freshness.rstrip("s"))
    ratios = {"p95_to_objective": round(figures["freshness_p95"] / objective, 3)}
    named = {name: getattr(options, name) for name in ("backbone", "rate", "seconds", "batch", "users", "freshness")}
    print(json.dumps({"bench": "live", **named, **figures, "ratios": ratios}))


if __name__ == "__main__":
    main()
