"""What hostile events cost: each shape posted to a web server of its own, and imported by a process of its own.

Columns: bytes; status of the answer; seconds of the answer; the longest that ``/healthz`` took meanwhile; the most
memory of the web process; seconds and the most memory of the import. Last line: JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.hostile_events import SHAPES
from tests.servers import PATH, stop, wait_until

from segadmin_worker.services import free_port

IMPORT = """
import resource, time
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.settings import get_settings
start = time.monotonic()
import_file(get_settings(), ImportRequest("events", "inbox://"))
print(time.monotonic() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--bytes", type=int, default=2_000_000)
    options.add_argument("--shape", action="append", choices=list(SHAPES))
    options.add_argument("--patience", type=float, default=120.0, help="seconds after which a shape is given up")
    given = options.parse_args()
    results = {}
    for name in given.shape or SHAPES:
        folder = Path(tempfile.mkdtemp(prefix="segadmin-bench-"))
        try:
            results[name] = measure(folder, SHAPES[name](given.bytes), given.patience)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print(f"{name:32}", *(f"{what} {value:.5g}" for what, value in results[name].items()), flush=True)
    print(json.dumps({"bench": "hostile_events", "bytes": given.bytes, "shapes": results}))


def measure(folder: Path, body: bytes, patience: float) -> dict[str, float]:
    environment = {**os.environ, "PYTHONPATH": PATH, "SEGADMIN_HOME": str(folder / "home")}
    port = free_port(0)
    url = f"http://127.0.0.1:{port}"
    cli = [sys.executable, "-m", "segadmin_api.cli"]
    key = subprocess.check_output([*cli, "keys", "create", "x"], env=environment, text=True).strip()
    with (folder / "web.log").open("wb") as log:
        web = subprocess.Popen([*cli, "web", "--port", str(port)], env=environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: health(url) < 1.0, 60, "the web server answers")
        first: dict[str, float] = {"idle_mib": peak_mib(web.pid)}
        over, longest = threading.Event(), [0.0]

        def look() -> None:
            while not over.wait(0.05):
                longest[0] = max(longest[0], health(url, patience))

        looking = threading.Thread(target=look)
        looking.start()
        start = time.monotonic()
        status = post(url, body, key, patience)
        seconds = time.monotonic() - start
        over.set()
        looking.join()
        first |= {"status": status, "post_s": seconds, "healthz_s": longest[0], "web_mib": peak_mib(web.pid)}
    finally:
        stop(web, 2)
    try:
        done = subprocess.run(
            [sys.executable, "-c", IMPORT],
            check=False,
            env=environment,
            capture_output=True,
            text=True,
            timeout=patience,
        )
        words = done.stdout.split() or ["nan", "nan"]
    except subprocess.TimeoutExpired:
        words = ["inf", "nan"]
    return first | {"import_s": float(words[0]), "import_mib": float(words[1])}


def post(url: str, body: bytes, key: str, patience: float) -> int:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    try:
        request = urllib.request.Request(f"{url}/v1/events", body, headers)
        with urllib.request.urlopen(request, timeout=patience) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def health(url: str, patience: float = 1.0) -> float:
    """Return the seconds that an answer took; the patience where there was none."""
    start = time.monotonic()
    try:
        urllib.request.urlopen(f"{url}/healthz", timeout=patience).close()
    except OSError:
        return patience
    return time.monotonic() - start


def peak_mib(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
