"""How time and memory grow with the data, and what a second worker brings: import, then the whole textualize stage.

The real year is replicated with new users to several sizes. Each size is imported by one process pinned to one core;
then one worker textualizes every bucket, and two workers do it again, half of the buckets and one core each. A worker
is a process of its own: it reads a bucket of the lake, looks items up, makes phrases (``timeline``, the 100 newest) and
features, and writes them. The last line is JSON.

    python -m bench.scale [--times 1 10] [--buckets 64]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import replicated
from segadmin.settings import Settings


def start(core: int, *words: str) -> subprocess.Popen[str]:
    """Start a part of this bench, pinned to ``core``."""
    environment = {**os.environ, "POLARS_MAX_THREADS": "1"}
    command = ["taskset", "-c", str(core), sys.executable, "-m", "bench.scale", *words]
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


def size(times: int, buckets: int) -> dict[str, float]:
    """Measure one size."""
    with tempfile.TemporaryDirectory() as folder:
        home, path = f"{folder}/home", Path(folder) / "events.parquet"
        events = replicated.write(path, times)
        taken = result_of(start(0, "ingest", str(path), home, str(buckets)))
        alone = result_of(start(0, "textualize", home, "0", str(buckets), str(buckets)))
        half = buckets // 2
        halves = [
            start(core, "textualize", home, str(core * half), str((core + 1) * half), str(buckets)) for core in (0, 1)
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
    parts = {"ingest": ingest, "textualize": textualize}
    if sys.argv[1:2] and sys.argv[1] in parts:
        before = time.perf_counter()
        parts[sys.argv[1]](*sys.argv[2:])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": time.perf_counter() - before, "peak_mib": round(peak)}))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, nargs="+", default=[1, 10], help="how many times 1.47 million events")
    parser.add_argument("--buckets", type=int, default=64)
    options = parser.parse_args()
    sizes = [size(times, options.buckets) for times in options.times]
    for figures in sizes:
        print(" · ".join(f"{name} {value:,}" for name, value in figures.items()))
    small, large = sizes[0], sizes[-1]
    growth = {
        "events": round(large["events"] / small["events"], 1),
        "import": round(large["import_seconds"] / small["import_seconds"], 1),
        "text": round(large["text_seconds"] / small["text_seconds"], 1),
    }
    print(json.dumps({"bench": "scale", "sizes": sizes, "growth": growth}))


if __name__ == "__main__":
    main()
