"""Reads of the web application: at a steady rate by a client that costs little, and pages with all they load.

The client shares the processors with the server that it measures, so it speaks HTTP itself over connections that stay.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil

#: What is read, and how often: mostly what people and services look at all day.
MIX = {
    "/": 6,
    "/segments": 6,
    "/segments/spend3/high": 6,
    "/users/{user}": 3,
    "/users?user=customer-{number}": 2,
    "/snapshots": 4,
    "/snapshots/13": 4,
    "/snapshots/12/13": 2,
    "/models": 3,
    "/models/1": 2,
    "/jobs": 4,
    "/jobs/1": 2,
    "/data": 2,
    "/drift": 2,
    "/v1/segments": 8,
    "/v1/snapshots": 3,
    "/v1/snapshots/13": 4,
    "/v1/snapshots/13/diff": 2,
    "/v1/snapshots/13/members?segment=high": 2,
    "/v1/users/{user}": 3,
    "/v1/users/customer-{number}/segment": 22,
    "/v1/jobs": 4,
    "/v1/models": 4,
}
_CONNECTIONS = 64
_LOADED = re.compile(r'(?:src|href)="(/static/[^"]+)"')


def paths_of(user: str) -> list[str]:
    """Return the paths of the pages."""
    pages = ["/", "/segments", "/segments/spend3/high", "/users", f"/users/{user}", f"/users/{user}?text=1"]
    pages += ["/snapshots", "/snapshots/13", "/snapshots/12/13", "/models", "/models/1", "/drift", "/jobs", "/jobs/1"]
    return [*pages, "/data", "/schedules", "/audit", "/login"]


def charted(path: str) -> bool:
    """Return whether a page loads a library for charts."""
    return path.startswith(("/segments", "/models/")) or path.count("/") == 3


def with_all_it_loads(client: httpx.Client, path: str) -> float:
    """Return the kilobytes of a page and its files, as they come over the network."""
    page = client.get(path)
    page.raise_for_status()
    files = dict.fromkeys(_LOADED.findall(page.text))
    return round(sum(_received(client, each) for each in (path, *files)) / 1000, 1)


def _received(client: httpx.Client, path: str) -> int:
    with client.stream("GET", path) as answer:
        answer.raise_for_status()
        return sum(len(chunk) for chunk in answer.iter_raw())


def reads(url: str, headers: Mapping[str, str], users: Sequence[str], rate: float, seconds: float) -> dict[str, Any]:
    """Send reads at fixed times and return their latencies in milliseconds, and who used how many cores meanwhile."""
    chosen = random.Random(11)
    asked = [
        path.format(user=chosen.choice(users), number=chosen.randrange(100_000))
        for path in chosen.choices(list(MIX), list(MIX.values()), k=int(rate * seconds))
    ]
    warm = [path.format(user=users[0], number=5) for path in MIX] * 12  # models are loaded meanwhile
    asyncio.run(_Clients(url, headers).run(warm, 20))
    began, before = time.perf_counter(), _processor_seconds()
    result = asyncio.run(_Clients(url, headers).run(asked, rate))
    after, taken = _processor_seconds(), time.perf_counter() - began
    cores = {name: round((after[name] - before[name]) / taken, 2) for name in before}
    return {**result, "cores": cores, "server_ms": round(1000 * (after["server"] - before["server"]) / len(asked), 2)}


def _processor_seconds() -> dict[str, float]:
    """Return the processor time until now: of the server, of this client, and of all other programs."""
    servers = [process.cpu_times() for process in psutil.Process().children(recursive=True)]
    server, client = sum(times.user + times.system for times in servers), time.process_time()
    machine = psutil.cpu_times()
    busy = sum(machine) - machine.idle - getattr(machine, "iowait", 0.0) - getattr(machine, "guest", 0.0)
    return {"server": server, "client": client, "others": busy - server - client}


class _Clients:
    """Connections that send requests when they are due."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "", address.port or 80
        lines = [f"Host: {address.netloc}", *(f"{name}: {value}" for name, value in headers.items())]
        self._head = "\r\n".join(lines)
        self._latencies: dict[str, list[float]] = defaultdict(list)
        self._statuses: Counter[int] = Counter()

    async def run(self, paths: Sequence[str], rate: float) -> dict[str, Any]:
        """Send a request for each path at a rate, in requests a second."""
        self._due = asyncio.Queue[tuple[float, str]]()
        clients = [asyncio.create_task(self._client()) for _ in range(_CONNECTIONS)]
        began = time.perf_counter() + 0.1
        for number, path in enumerate(paths):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            self._due.put_nowait((due, path))
        await self._due.join()
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        return self._summary(rate)

    async def _client(self) -> None:
        reader = writer = None
        while True:
            due, path = await self._due.get()
            try:
                if writer is None or writer.is_closing() or (reader is not None and reader.at_eof()):
                    reader, writer = await asyncio.open_connection(self._host, self._port)
                assert reader is not None
                status = await self._request(reader, writer, path)
            except (OSError, asyncio.IncompleteReadError, ValueError):
                status, writer = 0, None
            self._statuses[status] += 1
            self._latencies[_name(path)].append(1000 * (time.perf_counter() - due))
            self._due.task_done()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> int:
        writer.write(f"GET {path} HTTP/1.1\r\n{self._head}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = re.search(r"content-length: (\d+)", head)
        if length is None:
            raise ValueError(head)
        await reader.readexactly(int(length[1]))
        return int(head.split(" ", 2)[1])

    def _summary(self, rate: float) -> dict[str, Any]:
        everything = [latency for each in self._latencies.values() for latency in each]
        p50, p99 = (round(float(np.percentile(everything, q)), 1) for q in (50, 99))
        slowest = sorted(self._latencies, key=lambda name: -float(np.median(self._latencies[name])))[:8]
        errors = sum(count for status, count in self._statuses.items() if status not in {200, 303})
        return {
            "rate": rate,
            "requests": len(everything),
            "errors": errors,
            "answers": dict(self._statuses),
            "p50_ms": p50,
            "p99_ms": p99,
            "slowest_medians_ms": {name: round(float(np.median(self._latencies[name])), 1) for name in slowest},
        }


def _name(path: str) -> str:
    """Return the entry of the mix that a path is of, nearly."""
    return re.sub(r"customer-\d+", "NAME", re.sub(r"[0-9a-f]{16}", "KEY", path))
