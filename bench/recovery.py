"""How long until a killed worker's step runs again, with the settings as they are shipped.

Kills with SIGKILL, in the middle of a step: once the pool process alone (as the kernel does when memory is out), and
once the whole worker. Its peer is what bare Celery offers with ``acks_late``: a message comes back when the
visibility timeout is over, one hour by default, so the ratio says how much sooner segadmin goes on.

Last line: JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
from pathlib import Path

import psutil

#: Celery's default ``visibility_timeout`` on Redis, seconds.
PEER_SECONDS = 3600.0


def main() -> None:
    home = Path(tempfile.mkdtemp(prefix="segadmin-bench-"))
    os.environ["SEGADMIN_HOME"] = str(home)
    try:
        child = [once(home / f"child-{n}", whole=False) for n in range(3)]
        whole = [once(home / f"worker-{n}", whole=True) for n in range(3)]
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(f"pool process killed: {', '.join(f'{seconds:.1f}' for seconds in child)} s")
    print(f"whole worker killed: {', '.join(f'{seconds:.1f}' for seconds in whole)} s")
    medians = {"pool_process": statistics.median(child), "worker": statistics.median(whole)}
    print(
        json.dumps(
            {
                "bench": "recovery",
                **{f"{name}_seconds": round(value, 2) for name, value in medians.items()},
                "ratio_to_visibility_timeout": round(medians["worker"] / PEER_SECONDS, 5),
            }
        )
    )


def once(home: Path, *, whole: bool) -> float:
    """Return the seconds from the kill to the next attempt's start, with a worker ready to take it."""
    os.environ["SEGADMIN_HOME"] = str(home)
    import tests.probe  # noqa: F401  (adds the probe job kind)
    from tests.servers import beat, redis_server, wait_until, worker
    from tests.stores import empty_store

    from segadmin.jobs.control import cancel, view
    from segadmin.jobs.enqueue import enqueue
    from segadmin.settings import get_settings
    from segadmin.storage.records import StepState
    from segadmin_worker.client import dispatcher

    get_settings.cache_clear()
    settings = get_settings()
    empty_store(settings, buckets=1)
    with redis_server(settings), worker(settings), worker(settings), beat(settings):
        job = enqueue(settings, dispatcher(settings), "probe", {"pieces": 3000, "sleep": 0.05}).job.id or 0

        def attempt() -> int:
            return next((s.attempt for s in view(settings, job).steps if s.stage == "textualize"), 0)

        wait_until(lambda: attempt() == 1, 60, "the step starts")
        step = next(s for s in view(settings, job).steps if s.state == StepState.RUNNING)
        family = _family_of(step.worker or "")
        for process in family if whole else family[1:]:
            process.kill()
        seconds = wait_until(lambda: attempt() == 2, 120, "the next attempt starts")
        cancel(settings, dispatcher(settings), job)
    return seconds


def _family_of(worker: str) -> list[psutil.Process]:
    """Return the worker's main process and its pool: it is one of this process' own children."""
    for process in psutil.Process().children():
        if worker in process.cmdline():
            return [process, *process.children()]
    raise LookupError(f"no process for worker {worker}")


if __name__ == "__main__":
    main()
