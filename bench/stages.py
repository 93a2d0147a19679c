"""What import, textualizing, training, scoring and enqueuing cost, here and in another checkout of segadmin.

Both checkouts do the same with the same planted users, in turn, each in a process of its own on one core; the figures
are processor seconds, and the median of the ratios of the runs. The last line is JSON.

    python -m bench.stages --against CHECKOUT [--runs 5] [--users 1500]

The code that runs in the other checkout uses only names that both have: commands, and the planted shop of the tests.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("core", "plugins", "worker", "api", ".")

#: Runs in both checkouts: prints a line of JSON, what each part cost.
CHILD = """
import inspect, json, resource, subprocess, sys, time
from pathlib import Path
from segadmin.settings import Settings, get_settings
from tests.planted import LABELS, label_future_spend, plant, through_the_engine

def spent(who=resource.RUSAGE_SELF):
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime

def measured(act, who=resource.RUSAGE_SELF):
    before = spent(who)
    act()
    return spent(who) - before

def command(*words):
    nobody = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([sys.executable, "-m", "segadmin_api.cli", *words], check=True, **nobody)

users, csv, settings = int(sys.argv[1]), sys.argv[2], get_settings()
bucket_options = {"buckets": 16} if "buckets" in inspect.signature(plant).parameters else {}
plant(settings, users=users, **bucket_options)
label_future_spend(settings)
retrain = {"backbone": "tabular", "backbone_options": {"rounds": "30"}, "baselines": [], "labels": LABELS, "margin": -1}
retrain |= {"trackers": [], "language": "en"}
text = {"textualizer": "mixed", "language": "en"}
through_the_engine(settings, "textualize", text)  # imports what is heavy
seconds = {
    "textualize": measured(lambda: through_the_engine(settings, "textualize", text)),
    "retrain": measured(lambda: through_the_engine(settings, "retrain", retrain)),
    "score": measured(lambda: through_the_engine(settings, "score", {"model": "champion", "labels": LABELS})),
}
children = resource.RUSAGE_CHILDREN
seconds["import"] = measured(lambda: command("data", "import", "events", csv), children)
seconds["enqueue"] = min(measured(lambda: command("enqueue", "compact"), children) for _ in range(3))
print(json.dumps(seconds))
"""


def run(checkout: Path, users: int, csv: Path) -> dict[str, float]:
    """Return the processor seconds of each part in ``checkout``."""
    with tempfile.TemporaryDirectory() as home:
        import_path = os.pathsep.join(str(checkout.resolve() / package) for package in PACKAGES)
        environment = {
            **os.environ,
            "PYTHONPATH": import_path,
            "POLARS_MAX_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "SEGADMIN_HOME": str(Path(home) / "home"),
        }
        command = ["taskset", "-c", "0", sys.executable, "-c", CHILD, str(users), str(csv)]
        done = subprocess.run(command, check=True, cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True)
    seconds: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def write_csv(path: Path, rows: int) -> None:
    """Write events of 5,000 users."""
    with path.open("w") as file:
        file.write("user,kind,item,at,price\n")
        for n in range(rows):
            when = f"2025-03-{1 + n % 28:02d}T{n % 24:02d}:{n % 60:02d}:{n // 7 % 60:02d}Z"
            file.write(f"user-{n * 7919 % 5000},purchase,item-{n % 300},{when},{n % 97 + 0.5}\n")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--against", type=Path, required=True, help="another checkout of segadmin")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--users", type=int, default=1500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        csv = Path(folder) / "events.csv"
        write_csv(csv, 100_000)
        runs = []
        for n in range(options.runs):
            order = (ROOT, options.against) if n % 2 else (options.against, ROOT)
            seconds = {checkout: run(checkout, options.users, csv) for checkout in order}
            runs.append((seconds[ROOT], seconds[options.against]))
            print(json.dumps({"here": runs[-1][0], "there": runs[-1][1]}), flush=True)
    parts = list(runs[0][0])
    seconds_by_part = {
        part: {
            "here": round(statistics.median(here[part] for here, _ in runs), 3),
            "there": round(statistics.median(other[part] for _, other in runs), 3),
            "ratio": round(statistics.median(here[part] / other[part] for here, other in runs), 3),
        }
        for part in parts
    }
    print(
        json.dumps(
            {"bench": "stages", "users": options.users, "runs": options.runs, "processor_seconds": seconds_by_part}
        )
    )


if __name__ == "__main__":
    main()
