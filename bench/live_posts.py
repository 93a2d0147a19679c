"""What posted events wait for as more of them arrive: accepted and refused posts, latencies, and whether any are lost.

Posts are due at fixed times, whether the ones before were answered or not, and latency counts from the time at which an
attempt was due. A refused post is sent again after ``Retry-After``. At the end an import counts what arrived. Each rate
is measured with the default limit and, in turn, with one that refuses nothing. Last line: JSON.

    python -m bench.live_posts [--rate 50 --rate 150] [--seconds 20] [--events 1]
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import queue
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

#: Clients; more than posts can be in progress. Without a limit they are what keeps posts waiting.
_CLIENTS = 200
#: The limit that refuses nothing, in seconds.
_NO_LIMIT = "60"


@dataclass
class Shop:
    """The clients of a shop, each of which sends the post that is due next."""

    address: str
    key: str
    events: int
    posts: int
    due: queue.PriorityQueue[tuple[float, int]] = field(default_factory=queue.PriorityQueue)
    accepted: list[float] = field(default_factory=list)  #: latencies of the accepted attempts, in milliseconds
    refused: int = 0
    failed: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send_all(self, rate: float) -> float:
        """Send all posts until each is accepted; return the seconds that it took."""
        began = time.monotonic() + 0.5
        for number in range(self.posts):
            self.due.put((began + number / rate, number))
        clients = [threading.Thread(target=self._client) for _ in range(_CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        return time.monotonic() - began

    def _client(self) -> None:
        while True:
            due, number = self.due.get()
            if number < 0:
                return
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                status, pause = self._post(number)
            except (OSError, http.client.HTTPException):
                status, pause = 0, 1.0
            milliseconds = 1000 * (time.monotonic() - due)
            with self.lock:
                if status == http.HTTPStatus.ACCEPTED:
                    self.accepted.append(milliseconds)
                else:
                    self.refused += status == http.HTTPStatus.TOO_MANY_REQUESTS
                    self.failed += status != http.HTTPStatus.TOO_MANY_REQUESTS
                    self.due.put((time.monotonic() + pause, number))
                if len(self.accepted) == self.posts:
                    for _ in range(_CLIENTS):
                        self.due.put((0.0, -1))

    def _post(self, number: int) -> tuple[int, float]:
        """Send a post; return the status and the seconds after which to send it again."""
        event = {"user": f"u{number}", "kind": "view", "item": "i", "at": "2026-01-31T18:05:00Z"}
        body = json.dumps([event | {"event_id": f"{number}-{place}"} for place in range(self.events)])
        connection = http.client.HTTPConnection(self.address, timeout=120)
        try:
            headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
            connection.request("POST", "/v1/events", body, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status, float(answer.headers.get("Retry-After", "1"))
        finally:
            connection.close()


def measure(rate: float, seconds: float, events: int, limit: str | None) -> dict[str, Any]:
    """Post to a web server of its own, then import, and return the figures."""
    from tests.servers import web_server

    from segadmin.events.import_request import ImportRequest
    from segadmin.events.ingest import import_file
    from segadmin.settings import get_settings
    from segadmin.storage import api_keys, database
    from segadmin.storage.lake import Lake

    with tempfile.TemporaryDirectory() as folder:
        os.environ["SEGADMIN_HOME"] = str(Path(folder) / "home")
        get_settings.cache_clear()
        settings = get_settings()
        database.ensure_schema(settings)
        environment = {"SEGADMIN_WEB_EVENTS_SECONDS": limit} if limit else {}
        with web_server(settings, **environment) as url:
            address = urlsplit(url).netloc
            shop = Shop(address, api_keys.create(settings, "bench"), events, int(rate * seconds))
            took = shop.send_all(rate)
        import_file(settings, ImportRequest("events", "inbox://"))
        arrived = Lake.of(settings).scan("events").collect().height
        database.engine(settings).dispose()
    p50, p99 = (round(float(np.percentile(shop.accepted, q)), 1) for q in (50, 99))
    return {
        "posts": shop.posts,
        "refused": shop.refused,
        "failed": shop.failed,
        "p50_ms": p50,
        "p99_ms": p99,
        "posts_per_second": round(shop.posts / took, 1),
        "lost": shop.posts * events - arrived,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, action="append", help="posts per second; may be repeated")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--events", type=int, default=1, help="events of a post")
    arguments = parser.parse_args()
    results = []
    for rate in arguments.rate or [50.0, 150.0]:
        limited = measure(rate, arguments.seconds, arguments.events, None)
        print(rate, "limited  ", limited, flush=True)
        unlimited = measure(rate, arguments.seconds, arguments.events, _NO_LIMIT)
        print(rate, "unlimited", unlimited, flush=True)
        ratio = round(unlimited["p99_ms"] / limited["p99_ms"], 1)
        results.append({"rate": rate, "limited": limited, "unlimited": unlimited, "p99_ratio": ratio})
    print(json.dumps({"bench": "live_posts", "events": arguments.events, "rates": results}))


if __name__ == "__main__":
    main()
