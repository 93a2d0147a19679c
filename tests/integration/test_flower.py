"""Flower, watched as a user would: a password, readable names, no personal data."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

import tests.probe  # noqa: F401
from segadmin.jobs import control
from segadmin.jobs.enqueue import enqueue
from segadmin.settings import Settings
from segadmin_worker.client import dispatcher
from segadmin_worker.services import free_port
from tests.servers import ROOT, redis_server, stop, wait_until, worker
from tests.stores import empty_store


@pytest.fixture
def flower(settings: Settings) -> Iterator[str]:
    """A running Flower beside a Redis and a worker; yields its URL."""
    empty_store(settings)
    port = free_port(0)
    with redis_server(settings), worker(settings):
        command = [sys.executable, "-m", "segadmin_api.cli", "flower", "--port", str(port)]
        with (settings.root / "flower.log").open("wb") as log:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: status(url) == 401, 40, "Flower asks for a password")
            yield url
        finally:
            stop(process)


def status(url: str, login: str | None = None) -> int:
    try:
        return int(urllib.request.urlopen(request(url, login), timeout=5).status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def request(url: str, login: str | None) -> urllib.request.Request:
    headers = {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()} if login else {}
    return urllib.request.Request(url, headers=headers)


def test_flower_shows_readable_tasks_behind_a_password(flower: str, settings: Settings) -> None:
    login = settings.flower_login()
    assert status(flower, "segadmin:guess") == 401
    assert status(flower, login) == 200
    job = enqueue(settings, dispatcher(settings), "probe", {}).job.id or 0
    wait_until(lambda: control.view(settings, job).job.state.over, 40, "the job ends")
    bad = enqueue(settings, dispatcher(settings), "probe", {"failures": 1}).job.id or 0

    def tasks() -> list[dict[str, str]]:
        with urllib.request.urlopen(request(f"{flower}/api/tasks", login), timeout=5) as answer:
            return list(json.load(answer).values())

    wait_until(lambda: sum(task["state"] == "SUCCESS" for task in tasks()) == 6, 20, "Flower heard of six tasks")
    wait_until(lambda: any(task["state"] == "FAILURE" for task in tasks()), 20, "Flower heard of the failure")
    [failure] = [task for task in tasks() if task["state"] == "FAILURE"]
    assert (failure["name"], failure["args"]) == ("segadmin.prepare", f"job {bad} · probe")
    assert failure["exception"] == f"StepFailed('attempt 1 failed; why: segadmin jobs show {bad}')"
    assert {(task["name"], task["args"]) for task in tasks() if task["state"] == "SUCCESS"} == {
        ("segadmin.prepare", "job 1 · probe"),
        *(("segadmin.textualize", f"job 1 · probe · buckets {n}-{n + 1}") for n in (0, 2, 4, 6)),
        ("segadmin.publish", "job 1 · probe"),
    }
