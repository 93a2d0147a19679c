"""What the demo costs on this machine: wall time, and the peak memory of everything it starts.

Runs ``segadmin demo`` in a home of its own, as a user would, and samples the proportional set size of the
command, the supervisor and all their children: memory shared between processes counts once.

``python -m bench.demo [--quick] [--keep HOME]``. Last line: JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

_SAMPLE_SECONDS = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--keep", type=Path, help="leave the home here")
    wanted = parser.parse_args()
    home = wanted.keep or Path(tempfile.mkdtemp(prefix="segadmin-bench-"))
    os.environ["SEGADMIN_HOME"] = str(home)
    segadmin = [sys.executable, "-m", "segadmin_api.cli"]
    try:
        seconds, peak, largest = run([*segadmin, "demo", *(["--quick"] if wanted.quick else [])], home)
        model = json.loads(output([*segadmin, "models", "show", "champion", "--json"]))
    finally:
        subprocess.run([*segadmin, "down"], check=False)
        if not wanted.keep:
            shutil.rmtree(home, ignore_errors=True)
    test = {
        evaluation["name"]: evaluation["metrics"]
        for evaluation in model["evaluations"]
        if evaluation["split"] == "test"
    }
    print(
        json.dumps(
            {
                "bench": "demo",
                "quick": wanted.quick,
                "seconds": round(seconds, 1),
                "peak_mib": round(peak / 2**20),
                "peak_of_one_process_mib": round(largest / 2**20),
                "auroc": {name: round(metrics["auroc"], 4) for name, metrics in test.items()},
                "macro_f1": {name: round(metrics["macro_f1"], 4) for name, metrics in test.items()},
            }
        )
    )


def run(command: list[str], home: Path) -> tuple[float, int, int]:
    """Run the demo; return its seconds, the peak of all processes together, and of the largest one, in bytes."""
    start = time.monotonic()
    process = subprocess.Popen(command)
    peak = largest = 0
    while process.poll() is None:
        sizes = [size_of(member) for member in family(process.pid, home)]
        peak, largest = max(peak, sum(sizes)), max(largest, *sizes, 0)
        time.sleep(_SAMPLE_SECONDS)
    if process.returncode:
        raise SystemExit(process.returncode)
    return time.monotonic() - start, peak, largest


def family(command: int, home: Path) -> list[psutil.Process]:
    """Return the command, the supervisor that it started, and all their children."""
    roots = [command]
    state = home / "run" / "supervisor.json"
    if state.exists():
        roots.append(json.loads(state.read_text())["pid"])
    processes = []
    for pid in roots:
        try:
            processes += [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
    return list({process.pid: process for process in processes}.values())


def size_of(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
