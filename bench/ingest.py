"""How fast events enter the lake: mapped, cleaned, deduplicated, in user buckets; beside what one writes by hand.

By hand is Polars reading the file, ``unique`` over everything and ``write_deltalake`` by bucket: no cleaning, no
quarantine, no user keys that need a secret, and all of it in memory. Each run is a process of its own on one core; the
median of the ratios of interleaved runs is the figure. The last line is JSON.

    python -m bench.ingest [--times 10] [--runs 3]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import replicated

BUCKETS = 64


def ours(path: Path, home: Path) -> None:
    """Import the file."""
    from segadmin.events.ingest import Request, import_file
    from segadmin.settings import Settings

    settings = Settings(home=home, buckets=BUCKETS)
    done, _ = import_file(settings, Request("events", str(path), replicated.MAPPING))
    assert done.state == "succeeded"


def by_hand(path: Path, home: Path) -> None:
    """Do the least that gives a deduplicated table in buckets."""
    import polars as pl
    from deltalake import write_deltalake

    events = pl.read_parquet(path).with_columns(
        kind=pl.lit("purchase"), key=pl.col("user").hash(7).reinterpret(signed=True)
    )
    events = events.with_columns(bucket=(pl.col("key") & (BUCKETS - 1)).cast(pl.Int32)).unique(maintain_order=True)
    write_deltalake(str(home / "events"), events.to_arrow(), partition_by=["bucket"])


def measure(what: str, path: Path) -> dict[str, float]:
    """Run ``what`` in a process of its own on one core; return its seconds and its peak memory."""
    with tempfile.TemporaryDirectory() as home:
        one = {**os.environ, "POLARS_MAX_THREADS": "1", "SEGADMIN_HOME": home}
        command = ["taskset", "-c", "0", sys.executable, "-m", "bench.ingest", "--run", what, str(path), home]
        told = subprocess.run(command, check=True, env=one, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(told.splitlines()[-1])  # type: ignore[no-any-return]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=10, help="how many times 1.47 million events")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="leave out what is by hand: it needs much memory")
    parser.add_argument("--run", nargs=3)
    options = parser.parse_args()
    if options.run:
        what, path, home = options.run
        before = time.perf_counter()
        {"ours": ours, "by_hand": by_hand}[what](Path(path), Path(home))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": time.perf_counter() - before, "peak_mib": round(peak)}))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.parquet"
        events = replicated.write(path, options.times)
        names = ["ours"] if options.alone else ["ours", "by_hand"]
        runs = [{name: measure(name, path) for name in names} for _ in range(options.runs)]
    seconds = {name: statistics.median(run[name]["seconds"] for run in runs) for name in names}
    figures = {
        "bench": "ingest",
        "events": events,
        "millions_per_second": {name: round(events / took / 1e6, 2) for name, took in seconds.items()},
        "peak_mib": {name: max(run[name]["peak_mib"] for run in runs) for name in names},
    }
    if not options.alone:
        ratio = statistics.median(run["by_hand"]["seconds"] / run["ours"]["seconds"] for run in runs)
        figures["speed_ratio_to_by_hand"] = round(ratio, 2)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
