"""How fast a shop is made up, and in how much memory: on one core, in a process of its own. The last line is JSON.

python -m bench.generate [--users 200000]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "1")

from segadmin.events.generator.shop import Plan
from segadmin.events.generator.write import write


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--users", type=int, default=200_000)
    options = parser.parse_args()
    os.sched_setaffinity(0, {0})
    with tempfile.TemporaryDirectory() as folder:
        before = time.perf_counter()
        written = write(Plan(users=options.users, locale="zh"), Path(folder))
        seconds = time.perf_counter() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rate = round(written["rows"] / seconds / 1e6, 2)
    print(
        json.dumps({"bench": "generate", "rows": written["rows"], "millions_per_second": rate, "peak_mib": round(peak)})
    )


if __name__ == "__main__":
    main()
