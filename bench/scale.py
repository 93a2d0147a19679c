"""How time and memory grow with the data: import, textualizing, and with ``--users`` scoring with a language model.

The real year is replicated with new users to several sizes. Each size is imported by one process pinned to one core;
then one worker textualizes every bucket, and two workers do it again, half of the buckets and one core each. A worker
is a process of its own: it reads a bucket of the lake, looks items up, makes phrases (``timeline``, the 100 newest) and
features, and writes them.

With ``--users`` the shop is synthetic: ``tiny`` is trained on some users of the first block, then a ``score`` job puts
all users in a segment (textualize, score, publish), its steps run by the engine in one process pinned to one core. The
peak memory is that of this process. The last line is JSON.

    python -m bench.scale [--times 1 10] [--buckets 64]
    python -m bench.scale --users 100000 1000000 [--buckets 64]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import replicated
from segadmin.settings import Settings

#: Users of the synthetic shop that are labelled.
LABELLED = 1_500


def start(core: int, bench: str, *words: str) -> subprocess.Popen[str]:
    """Start a part of a bench, pinned to ``core``."""
    environment = {**os.environ, "POLARS_MAX_THREADS": "1"}
    command = ["taskset", "-c", str(core), sys.executable, "-m", bench, *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def result_of(process: subprocess.Popen[str]) -> dict[str, float]:
    """Wait for a part and return what it says."""
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(process.returncode)
    return json.loads(output.splitlines()[-1])  # type: ignore[no-any-return]


def ingest(path: str, home: str, buckets: str) -> None:
    """Import the file and the items."""
    from bench.textualize import items
    from segadmin.events.import_request import ImportRequest
    from segadmin.events.ingest import import_file

    settings = Settings(home=Path(home), buckets=int(buckets))
    import_file(settings, ImportRequest("events", path, replicated.MAPPING))
    import_file(settings, ImportRequest("items", *items()))


def textualize(home: str, first: str, last: str, buckets: str) -> None:
    """Do the whole stage for the buckets ``first`` to ``last``."""
    from bench.textualize import stage
    from segadmin.storage.lake import Lake

    settings = Settings(home=Path(home), buckets=int(buckets))
    for bucket in range(int(first), int(last)):
        stage(Lake.of(settings), bucket, settings)


def run_job(settings: Settings, kind: str, options: dict[str, Any]) -> int:
    """Enqueue a job, run its steps in this process, and return its number; a job that does not succeed is an error."""
    from tests.planted import through_the_engine

    from segadmin.jobs.control import view

    gc.freeze()  # as a worker does: collecting modules after every step takes longer than a small step
    job = view(settings, through_the_engine(settings, kind, options)).job
    if job.state != "succeeded":
        raise SystemExit(f"job {job.id} ({kind}) is {job.state}: {job.error}")
    return int(job.id or 0)


def synthetic_shop(folder: str, home: str, users: str, buckets: str, backbone: str = "tiny") -> None:
    """Generate the events of ``users``; import the first block and train a model on it, then import the others."""
    import polars as pl

    from segadmin.events.generator.shop import Plan
    from segadmin.events.generator.write import write
    from segadmin.events.import_request import ImportRequest
    from segadmin.events.ingest import import_file
    from segadmin.events.mapping import Mapping

    settings = Settings(home=Path(home), buckets=int(buckets))
    shop = Path(folder)
    write(Plan(users=int(users)), shop)
    first, *others = sorted((shop / "events").glob("part-*"))
    known = pl.scan_parquet(first).select("user").unique()
    labelled = pl.scan_parquet(shop / "labels.parquet").join(known, on="user", how="semi").sort("user").head(LABELLED)
    labelled.sink_parquet(shop / "labelled.parquet")
    import_file(settings, ImportRequest("items", str(shop / "items.parquet"), Mapping()))
    import_file(settings, ImportRequest("events", str(first), Mapping()))
    import_file(settings, ImportRequest("labels", str(shop / "labelled.parquet"), Mapping(), label_set="segment"))
    options = {
        "backbone": backbone,
        "backbone_options": {} if backbone == "tabular" else {"epochs": "2"},
        "labels": "segment",
        "margin": -1,
        "split": "user",
    }
    run_job(settings, "retrain", {**options, "baselines": [], "trackers": [], "language": "en"})
    for part in others:
        import_file(settings, ImportRequest("events", str(part), Mapping()))


def score(home: str, buckets: str) -> None:
    """Score all users, every step in this process."""
    settings = Settings(home=Path(home), buckets=int(buckets))
    run_job(settings, "score", {"model": "champion", "labels": "segment"})


def users_scored(users: int, buckets: int) -> dict[str, float]:
    """Measure the scoring of a synthetic shop of ``users``."""
    from sqlmodel import col, select

    from segadmin.storage.database import reading
    from segadmin.storage.records import SegmentSnapshot

    with tempfile.TemporaryDirectory() as folder:
        home = f"{folder}/home"
        result_of(start(0, "bench.scale", "synthetic_shop", f"{folder}/shop", home, str(users), str(buckets)))
        taken = result_of(start(0, "bench.scale", "score", home, str(buckets)))
        with reading(Settings(home=Path(home))) as session:
            newest = select(SegmentSnapshot).order_by(col(SegmentSnapshot.id).desc())
            snapshot = session.exec(newest).first()
    assert snapshot is not None
    return {
        "users": snapshot.users,
        "seconds": round(taken["seconds"], 1),
        "cpu_seconds": round(taken["cpu_seconds"], 1),
        "users_per_second": round(snapshot.users / taken["seconds"]),
        "peak_gib": round(taken["peak_mib"] / 1024, 2),
        "share_of_2_gib": round(taken["peak_mib"] / 2048, 2),
    }


def size(times: int, buckets: int) -> dict[str, float]:
    """Measure one size."""
    with tempfile.TemporaryDirectory() as folder:
        home, path = f"{folder}/home", Path(folder) / "events.parquet"
        events = replicated.write(path, times)
        taken = result_of(start(0, "bench.scale", "ingest", str(path), home, str(buckets)))
        alone = result_of(start(0, "bench.scale", "textualize", home, "0", str(buckets), str(buckets)))
        half = buckets // 2
        halves = [
            start(core, "bench.scale", "textualize", home, str(core * half), str((core + 1) * half), str(buckets))
            for core in (0, 1)
        ]
        both = [result_of(process) for process in halves]
    return {
        "events": events,
        "import_seconds": round(taken["seconds"], 1),
        "import_peak_mib": taken["peak_mib"],
        "text_seconds": round(alone["seconds"], 1),
        "text_peak_mib": alone["peak_mib"],
        "second_worker": round(alone["seconds"] / max(results["seconds"] for results in both), 2),
    }


def main() -> None:
    """Measure and print."""
    parts = {"ingest": ingest, "textualize": textualize, "synthetic_shop": synthetic_shop, "score": score}
    if sys.argv[1:2] and sys.argv[1] in parts:
        before = time.perf_counter()
        parts[sys.argv[1]](*sys.argv[2:])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        seconds = {"seconds": time.perf_counter() - before, "cpu_seconds": time.process_time()}
        print(json.dumps(seconds | {"peak_mib": round(peak)}))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, nargs="+", default=[1, 10], help="how many times 1.47 million events")
    parser.add_argument("--users", type=int, nargs="+", help="score so many synthetic users instead")
    parser.add_argument("--buckets", type=int, default=64)
    options = parser.parse_args()
    if options.users:
        sizes, names = (
            [users_scored(users, options.buckets) for users in options.users],
            ("users", "seconds", "cpu_seconds"),
        )
    else:
        sizes = [size(times, options.buckets) for times in options.times]
        names = ("events", "import_seconds", "text_seconds")
    for figures in sizes:
        print(" · ".join(f"{name} {value:,}" for name, value in figures.items()))
    growth = {name: round(sizes[-1][name] / sizes[0][name], 2) for name in names}
    print(json.dumps({"bench": "scale", "sizes": sizes, "growth": growth}))


if __name__ == "__main__":
    main()
