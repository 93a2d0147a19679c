"""One job can be followed through the logs of all workers by its number, in both formats."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator

import pytest

import tests.probe  # noqa: F401
from segadmin.jobs import control
from segadmin.jobs.enqueue import enqueue
from segadmin.logs import OF_A_STEP
from segadmin.settings import Settings, get_settings
from segadmin.storage.records import JobState
from segadmin_worker.client import dispatcher
from tests.servers import beat, redis_server, wait_until, worker
from tests.stores import empty_store

#: A field as the text format writes it, and a line's time, level and logger before its message.
FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)')
HEAD = re.compile(r"\S+Z (?:INFO|WARNING|ERROR) [\w.]+: ")


@pytest.fixture(params=["text", "json"])
def home(request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    for name, value in {"REAP": "0.3", "BACKOFF": "0.2"}.items():
        monkeypatch.setenv(f"SEGADMIN_{name}_SECONDS", value)
    monkeypatch.setenv("SEGADMIN_LOG_FORMAT", request.param)
    get_settings.cache_clear()
    settings = get_settings()
    empty_store(settings)
    with redis_server(settings):
        yield settings


def written_by(home: Settings, name: str) -> list[str]:
    return (home.root / f"{name}.log").read_text().splitlines()


def lines_of(home: Settings, job: int) -> list[dict[str, str]]:
    """Return the fields of the lines of one job, as grep finds them."""
    mark = f'"job": {job},' if home.log_format == "json" else f" job={job} "
    lines = [line for line in written_by(home, "worker") if mark in line]
    if home.log_format == "json":
        return [{name: str(value) for name, value in json.loads(line).items()} for line in lines]
    assert all(HEAD.match(line) for line in lines)
    return [{name: value.strip('"') for name, value in FIELD.findall(line)} for line in lines]


def test_a_job_is_followed_through_two_workers(home: Settings) -> None:
    def succeeded(job: int) -> bool:
        return control.view(home, job).job.state == JobState.SUCCEEDED

    with worker(home, concurrency=1), worker(home, concurrency=1), beat(home):
        options = {"failures": 1, "pieces": 10, "sleep": 0.1}
        job, other = (enqueue(home, dispatcher(home), "probe", options).job.id or 0 for _ in range(2))
        wait_until(lambda: succeeded(job) and succeeded(other), 120, "both jobs succeed")
    steps = {str(step.id): step for step in control.view(home, job).steps}
    lines = lines_of(home, job)
    assert Counter(line["action"] for line in lines) == {"claim": 7, "fail": 1, "finish": 6, "end": 1}
    for line in lines:
        assert line.keys() >= set(OF_A_STEP)
        assert (line["kind"], line["stage"]) == ("probe", steps[line["step"]].stage)
        assert line["action"] != "finish" or line["worker"] == steps[line["step"]].worker
    first = [line for line in lines if line["stage"] == "prepare"]
    assert [line["action"] for line in first] == ["claim", "fail", "claim", "finish"]
    assert [line["attempt"] for line in first] == ["1", "1", "2", "2"]
    assert first[1]["reason"] == "RuntimeError"
    slept = [line for line in lines if (line["stage"], line["action"]) == ("textualize", "finish")]
    assert all(float(line["seconds"]) >= 1.0 for line in slept)
    assert lines[-1]["state"] == "succeeded"

    written = "\n".join(written_by(home, "worker"))
    assert "failure 1" not in written  # what an error says may quote data
    assert "in begin" in written  # where it came from
    if home.log_format == "json":  # workers print a few words of Celery's besides, on their way down and to root
        assert all(json.loads(line) for line in written_by(home, "beat"))
    for name, message in {"worker": "Task segadmin.prepare", "beat": "beat: Starting"}.items():  # Celery's own
        celery = [line for line in written_by(home, name) if message in line]
        assert celery
        for line in celery:
            assert json.loads(line)["level"] == "INFO" if home.log_format == "json" else HEAD.match(line)
