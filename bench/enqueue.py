"""What ``segadmin enqueue retrain`` costs: its time beside that of only importing what any such tool imports.

Each enqueue is for another label set, so that no job waits for another and every one is sent to the broker. The
third command imports only the libraries that the job needs on its way to the database and to the broker, without any
code of segadmin: no change of segadmin alone comes below it. Runs are interleaved, so that a busy machine slows all;
the median of the ratios of the rounds is the figure. The last line is JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.records import LabelSet, Store
from segadmin_worker.redis_server import answers
from segadmin_worker.services import redis_service

RUNS = 15
BASELINE = "import typer, sqlalchemy"
LIBRARIES = "import typer, sqlmodel, pluggy, redis; from celery import Celery; from kombu.transport import redis"


@dataclass(frozen=True)
class Seconds:
    """What one run took."""

    wall: float
    cpu: float  #: user and system

    def __truediv__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall / other.wall, self.cpu / other.cpu)


@dataclass(frozen=True)
class Round:
    """One run of each command."""

    baseline: Seconds
    libraries: Seconds
    enqueue: Seconds


def run(arguments: list[str], home: Path) -> Seconds:
    """Run Python with ``arguments``; modules are compiled once, as those of an installed package are."""
    environment = os.environ | {"SEGADMIN_HOME": str(home), "PYTHONPYCACHEPREFIX": str(home / "compiled")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before, start = os.times(), time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment, text=True)
    wall, after = time.perf_counter() - start, os.times()
    if done.stderr or "waits" in done.stdout:
        raise SystemExit(f"The job was not sent: {done.stdout}{done.stderr}")
    return Seconds(wall, after.children_user - before.children_user + after.children_system - before.children_system)


def round_of(number: int, home: Path) -> Round:
    """Run each command once."""
    words = ["enqueue", "retrain", "--backbone", "tabular", "--labels", f"value{number}"]
    return Round(
        run(["-c", BASELINE], home), run(["-c", LIBRARIES], home), run(["-m", "segadmin_api.cli", *words], home)
    )


def measured(settings: Settings) -> list[Round]:
    """Start a broker and run the rounds; the first one, which reads the files from disk, is left out."""
    with database.transaction(settings) as session:
        session.add(Store(buckets=16, key_fingerprint="0" * 16))
        for number in range(RUNS + 1):
            session.add(LabelSet(name=f"value{number}", labeler="import", segments=["low", "high"]))
    redis = subprocess.Popen(redis_service(settings).command, stdout=subprocess.DEVNULL)
    try:
        while not answers(settings):
            time.sleep(0.05)
        return [round_of(number, settings.root) for number in range(RUNS + 1)][1:]
    finally:
        redis.terminate()
        redis.wait()


def median(values: list[Seconds]) -> dict[str, float]:
    """Return the median wall and CPU time."""
    return {name: round(statistics.median(getattr(value, name) for value in values), 3) for name in ("wall", "cpu")}


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        rounds = measured(Settings(home=Path(folder)))
    figures = {
        "benchmark": "enqueue",
        "runs": RUNS,
        "baseline_seconds": median([each.baseline for each in rounds]),
        "libraries_seconds": median([each.libraries for each in rounds]),
        "enqueue_seconds": median([each.enqueue for each in rounds]),
        "libraries_ratio": median([each.libraries / each.baseline for each in rounds]),
        "ratio": median([each.enqueue / each.baseline for each in rounds]),
    }
    print(f"segadmin enqueue retrain takes {figures['ratio']} times {BASELINE!r}; its libraries alone")
    print(f"{figures['libraries_ratio']} times")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
