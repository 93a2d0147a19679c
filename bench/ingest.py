"""How fast events enter the lake: mapped, cleaned, deduplicated, in user buckets; beside what one writes by hand.

By hand is Polars reading the file, ``unique`` over everything and ``write_deltalake`` by bucket: no cleaning, no
quarantine, no user keys that need a secret, and all of it in memory. Each run is a process of its own on one core; the
median of the ratios of interleaved runs is the figure. The last line is JSON.

    python -m bench.ingest [--times 10] [--runs 3] [--form csv] [--against CHECKOUT]

``--against`` runs the import of another checkout of segadmin in turn with this one, in processor seconds: what a change
costs.
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
    from segadmin.events.import_request import ImportRequest
    from segadmin.events.ingest import import_file
    from segadmin.settings import Settings

    settings = Settings(home=home, buckets=BUCKETS)
    done, _ = import_file(settings, ImportRequest("events", str(path), replicated.MAPPING))
    assert done.state == "succeeded"


def by_hand(path: Path, home: Path) -> None:
    """Do the least that gives a deduplicated table in buckets."""
    import polars as pl
    from deltalake import write_deltalake

    read = {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".jsonl": pl.read_ndjson}[path.suffix]
    events = read(path).with_columns(kind=pl.lit("purchase"), key=pl.col("user").hash(7).reinterpret(signed=True))
    events = events.with_columns(bucket=(pl.col("key") & (BUCKETS - 1)).cast(pl.Int32)).unique(maintain_order=True)
    write_deltalake(str(home / "events"), events.to_arrow(), partition_by=["bucket"])


def measure(what: str, path: Path, checkout: Path | None = None) -> dict[str, float]:
    """Run ``what`` in a process of its own on one core; return its seconds and its peak memory."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "POLARS_MAX_THREADS": "1", "SEGADMIN_HOME": home}
        if checkout is not None:
            rooms = ("core", "plugins", "worker", "api")
            environment["PYTHONPATH"] = os.pathsep.join(str(checkout.resolve() / room) for room in rooms)
        command = ["taskset", "-c", "0", sys.executable, "-m", "bench.ingest", "--run", what, str(path), home]
        output = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])  # type: ignore[no-any-return]


def compare(path: Path, checkout: Path, times: int, facts: dict[str, object]) -> None:
    """Print how this import's processor time compares with another checkout's, run in turn."""
    runs = [{"here": measure("ours", path), "there": measure("ours", path, checkout)} for _ in range(times)]
    seconds = {name: statistics.median(run[name]["processor_seconds"] for run in runs) for name in runs[0]}
    ratio = statistics.median(run["here"]["processor_seconds"] / run["there"]["processor_seconds"] for run in runs)
    print(json.dumps({"bench": "ingest against", **facts, "processor_seconds": seconds, "ratio": round(ratio, 3)}))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=10, help="how many times 1.47 million events")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="leave out what is by hand: it needs much memory")
    parser.add_argument("--form", choices=["parquet", "csv", "jsonl"], default="parquet")
    parser.add_argument("--against", type=Path, help="another checkout, whose import runs in turn with this one's")
    parser.add_argument("--run", nargs=3)
    options = parser.parse_args()
    if options.run:
        what, path, home = options.run
        before, processor = time.perf_counter(), time.process_time()
        {"ours": ours, "by_hand": by_hand}[what](Path(path), Path(home))
        took = {"seconds": time.perf_counter() - before, "processor_seconds": time.process_time() - processor}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**took, "peak_mib": round(peak)}))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"events.{options.form}"
        events = replicated.write(path, options.times)
        if options.against is not None:
            compare(path, options.against, options.runs, {"form": options.form, "events": events})
            return
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
