"""How many hostile messages crash or wedge a worker: stock Celery on Redis, and ours, each message to a fresh one.

A worker has survived when the same process then runs an ordinary task within seconds.

Last line: JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import redis
from celery import Celery
from tests.faults.test_hostile_messages import QUEUE, SHAPES

#: Longer than an ordinary task takes by far.
PATIENCE_SECONDS = 5.0
STOCK = """
from celery import Celery
app = Celery("stock", broker="{url}")
app.conf.update(
    task_acks_late=True, worker_prefetch_multiplier=1, task_default_queue="cpu", task_ignore_result=True,
    broker_transport_options={{"sep": ":", "priority_steps": [0, 3, 6, 9]}},
)
@app.task(name="segadmin.prepare")
def prepare(number): open("{folder}/" + str(number), "w").close()
"""
OURS = """
from segadmin_worker.app import app
@app.task(name="segadmin.ordinary")
def ordinary(number): open("{folder}/" + str(number), "w").close()
"""


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="segadmin-bench-"))
    os.environ["SEGADMIN_HOME"] = str(folder / "home")
    from tests.servers import redis_server

    from segadmin.settings import get_settings

    get_settings.cache_clear()
    settings = get_settings()
    url = f"redis+socket://{settings.redis_socket}"
    fell = {}
    try:
        with redis_server(settings):
            broker = redis.Redis(unix_socket_path=str(settings.redis_socket))
            for name, code, task in (("stock", STOCK, "segadmin.prepare"), ("segadmin", OURS, "segadmin.ordinary")):
                (folder / f"{name}_app.py").write_text(code.format(url=url, folder=folder))
                client = Celery(name, broker=url)
                client.conf.broker_transport_options = {"sep": ":", "priority_steps": [0, 3, 6, 9]}
                fell[name] = [
                    shape for shape, message in SHAPES.items() if not survives(folder, client, task, broker, message)
                ]
                print(f"{name}: {len(fell[name])} of {len(SHAPES)} shapes: {', '.join(fell[name]) or '-'}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    counts = {name: len(shapes) for name, shapes in fell.items()}
    print(json.dumps({"bench": "hostile", "shapes": len(SHAPES), "fell": counts}))


def survives(folder: Path, client: Celery, task: str, broker: redis.Redis, message: bytes) -> bool:
    """Send one message to a fresh worker, then an ordinary task; return whether that was run by the same process."""
    broker.flushall()
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        f"{client.main}_app",
        "worker",
        "-Q",
        "cpu",
        "-c",
        "1",
        "-l",
        "critical",
    ]
    quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*command, "--without-gossip", "--without-mingle"], **quiet)
    try:
        client.send_task(task, args=[1], queue="cpu", priority=4)
        if not appears(folder / "1", 30):
            raise RuntimeError(f"the {client.main} worker does not work at all")
        broker.lpush(QUEUE, message)
        client.send_task(task, args=[2], queue="cpu", priority=4)
        return appears(folder / "2", PATIENCE_SECONDS) and process.poll() is None
    finally:
        for mark in ("1", "2"):
            (folder / mark).unlink(missing_ok=True)
        for member in (*psutil.Process(process.pid).children(), process):
            member.kill()
        process.wait()


def appears(path: Path, seconds: float) -> bool:
    """Return whether ``path`` is there within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


if __name__ == "__main__":
    main()
