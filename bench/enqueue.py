"""What ``segadmin enqueue retrain`` costs: its process time beside that of only importing what any such tool imports.

Runs are interleaved, so that a busy machine slows both; the median of the ratios of pairs is the figure.
The last line is JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.records import LabelSet, Store
from segadmin_worker.redis_server import answers
from segadmin_worker.services import redis_service

RUNS = 15
BASELINE = [sys.executable, "-c", "import typer, sqlalchemy"]
ENQUEUE = [sys.executable, "-m", "segadmin_api.cli", "enqueue", "retrain", "--backbone", "tabular"]


def process_seconds(command: list[str], home: Path) -> float:
    """Return the CPU seconds (user and system) of one run."""
    before = os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "SEGADMIN_HOME": str(home)})
    after = os.times()
    return (after.children_user - before.children_user) + (after.children_system - before.children_system)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder))
        with database.transaction(settings) as session:
            session.add(Store(buckets=16, key_fingerprint="0" * 16))
            session.add(LabelSet(name="value", labeler="import", segments=["low", "high"]))
        redis = subprocess.Popen(redis_service(settings).command, stdout=subprocess.DEVNULL)
        try:
            while not answers(settings):
                time.sleep(0.05)
            pairs = [
                (process_seconds(BASELINE, settings.root), process_seconds(ENQUEUE, settings.root))
                for _ in range(RUNS + 1)
            ]
        finally:
            redis.terminate()
            redis.wait()
    pairs = pairs[1:]  # the first pair reads the files from disk
    ratios = sorted(enqueue / baseline for baseline, enqueue in pairs)
    figures = {
        "benchmark": "enqueue",
        "runs": RUNS,
        "baseline_seconds": round(statistics.median(baseline for baseline, _ in pairs), 3),
        "enqueue_seconds": round(statistics.median(enqueue for _, enqueue in pairs), 3),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_least": round(ratios[0], 2),
        "ratio_most": round(ratios[-1], 2),
    }
    print(f"process time of {' '.join(ENQUEUE[3:])}, against {BASELINE[-1]!r}: {figures['ratio']} times")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
