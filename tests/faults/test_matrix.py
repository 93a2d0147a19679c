"""Every fault at every phase of a job, on both databases: real processes, real SIGKILLs, SQL for a referee."""

from __future__ import annotations

import errno
import os
import signal
import time
from multiprocessing.process import BaseProcess

import polars as pl
import pytest

from segadmin.jobs import control
from segadmin.jobs.lease import claim
from segadmin.jobs.reap import reap
from segadmin.storage.records import StepState
from tests.faults.chain import broken_promises, content_hash
from tests.faults.world import USERS, World, stopped
from tests.servers import wait_until

pytestmark = pytest.mark.faults

#: Phases of a step, and the stage in which each is looked at.
STEP_PHASES = {"claim": "score", "compute": "score", "write": "score", "commit": "score", "publish": "publish"}
PHASES = ("enqueue", *STEP_PHASES)
#: Longer than a lease of these tests, heartbeats and all.
PAST_THE_LEASE = 1.6


def check(world: World, job: int, fault_free: str) -> None:
    assert broken_promises(world.settings, job, USERS) == []
    assert content_hash(world.settings, job) == fault_free


def begin(world: World, phase: str, action: str) -> tuple[int, BaseProcess, int]:
    """Bring a job to ``phase`` with a process that meets ``action`` there; return job, process and step."""
    if phase == "enqueue":
        process = world.ask(f"enqueue:{action}")
        wait_until(lambda: control.list_jobs(world.settings)[0].job.state == "queued", 20, "the job is saved")
        return control.list_jobs(world.settings)[0].job.id or 0, process, 0
    job = world.enqueue_job()
    stage = STEP_PHASES[phase]
    step = world.until(job, stage)[0]
    return job, world.act(step.id or 0, f"{phase}@{stage}:{action}"), step.id or 0


@pytest.mark.parametrize("phase", STEP_PHASES)
def test_a_killed_process(world: World, phase: str, fault_free: str) -> None:
    job, process, step = begin(world, phase, "kill")
    process.join(20)
    assert process.exitcode == -signal.SIGKILL
    world.drive(job)
    check(world, job, fault_free)
    attempts = {each.id: each.attempt for each in control.view(world.settings, job).steps}
    assert attempts.pop(step) == 2
    assert set(attempts.values()) == {1}


@pytest.mark.parametrize("phase", STEP_PHASES)
def test_a_stopped_process_that_comes_back(world: World, phase: str, fault_free: str) -> None:
    """A zombie writer: stopped past its lease, its step done by another, and then it goes on."""
    job, process, _ = begin(world, phase, "stop")
    wait_until(lambda: stopped(process), 20, "the process is stopped")
    time.sleep(PAST_THE_LEASE)
    if phase != "commit":  # there it holds the job's row, and everybody waits for it
        world.drive(job)
        check(world, job, fault_free)
    assert process.pid
    os.kill(process.pid, signal.SIGCONT)
    process.join(30)
    assert process.exitcode == 0
    world.drive(job)
    check(world, job, fault_free)


@pytest.mark.parametrize("phase", STEP_PHASES)
def test_a_terminated_process(world: World, phase: str, fault_free: str) -> None:
    job, process, step = begin(world, phase, "term")
    process.join(20)
    assert process.exitcode == 0
    given_back = next(each for each in control.view(world.settings, job).steps if each.id == step)
    assert (given_back.state, given_back.attempt) == (StepState.READY, 0), "it is given back at once, and free"
    world.drive(job)
    check(world, job, fault_free)


@pytest.mark.parametrize("phase", PHASES)
def test_redis_is_killed_and_comes_back_empty(world: World, phase: str, fault_free: str) -> None:
    with world.redis():
        job, process, _ = begin(world, phase, "pause")
        world.arrived()
        world.kill_redis()
        world.paused.unlink()
        process.join(30)
        assert process.exitcode == 0
    with world.redis():
        world.drive(job)
    check(world, job, fault_free)


@pytest.mark.parametrize("phase", PHASES)
def test_redis_does_not_answer(world: World, phase: str, fault_free: str) -> None:
    with world.redis():
        job, process, _ = begin(world, phase, "pause")
        world.arrived()
        world.kill_redis()
        with world.silent_redis():
            started = time.monotonic()
            world.paused.unlink()
            process.join(30)
            assert process.exitcode == 0
            assert time.monotonic() - started < 10
    with world.redis():
        world.drive(job)
    check(world, job, fault_free)


@pytest.mark.parametrize("phase", STEP_PHASES)
def test_the_same_message_five_times(world: World, phase: str, fault_free: str) -> None:
    world.environment["SEGADMIN_LEASE_SECONDS"] = "20"  # a slow machine is no reason for another to take the step over
    job, process, step = begin(world, phase, "pause")
    world.arrived()
    others = [world.act(step) for _ in range(4)]
    time.sleep(0.3)
    world.paused.unlink()
    for actor in (process, *others, world.act(step)):
        actor.join(40)
        assert actor.exitcode == 0
    assert next(each.attempt for each in control.view(world.settings, job).steps if each.id == step) == 1
    world.drive(job)
    check(world, job, fault_free)


@pytest.mark.parametrize(
    ("phase", "error"),
    [("compute", "enospc"), ("write", "enospc"), ("write", "eio"), ("commit", "enospc"), ("publish", "eio")],
)
def test_the_disk_fails(world: World, phase: str, error: str, fault_free: str) -> None:
    job, process, step = begin(world, phase, error)
    process.join(20)
    failed = next(each for each in control.view(world.settings, job).steps if each.id == step)
    assert failed.state == StepState.READY
    assert ("No space left" if error == "enospc" else "Input/output error") in (failed.error or "")
    world.drive(job)
    check(world, job, fault_free)


@pytest.mark.parametrize("phase", PHASES)
def test_the_database_is_locked_or_down(world: World, phase: str, fault_free: str) -> None:
    job, process, _ = begin(world, phase, "pause")
    world.arrived()
    if phase == "commit" and not world.postgres:
        time.sleep(PAST_THE_LEASE)  # it holds the one lock there is: everybody else is locked out
        world.paused.unlink()
    else:
        with world.database_down():
            world.paused.unlink()
            time.sleep(PAST_THE_LEASE)
    process.join(40)
    world.drive(job)
    check(world, job, fault_free)


@pytest.mark.parametrize(("place", "saved"), [("saved", False), ("enqueue", True)])
def test_the_cli_is_killed(world: World, place: str, saved: bool, fault_free: str) -> None:
    """Before its commit there is no job at all; after it the job runs, though nobody was told."""
    process = world.ask(f"{place}:kill", key="once")
    process.join(20)
    assert process.exitcode == -signal.SIGKILL
    chains = [line for line in control.list_jobs(world.settings) if line.job.idempotency_key == "once"]
    assert len(chains) == saved
    job = world.enqueue_job(key="once")  # somebody tries again
    world.drive(job)
    check(world, job, fault_free)
    assert len([line for line in control.list_jobs(world.settings) if line.job.idempotency_key]) == 1


def test_two_requests_with_the_same_key_at_once(world: World, fault_free: str) -> None:
    processes = [world.ask(key="once") for _ in range(6)]
    for process in processes:
        process.join(40)
        assert process.exitcode == 0
    keyed = [line.job for line in control.list_jobs(world.settings) if line.job.idempotency_key]
    assert len(keyed) == 1
    world.drive(keyed[0].id or 0)
    check(world, keyed[0].id or 0, fault_free)


@pytest.mark.parametrize("action", ["kill", "exit"])
def test_a_step_that_crashes_every_time_fails_its_job(world: World, action: str, fault_free: str) -> None:
    job = world.enqueue_job()
    step = world.until(job, "score")[0].id or 0
    deaths = 0
    deadline = time.monotonic() + 40
    while not control.view(world.settings, job).job.state.over:
        assert time.monotonic() < deadline
        reap(world.settings, lambda _: None)
        for due in world.due():
            world.act(due.id or 0, f"compute:{action}!" if due.id == step else "").join(20)
            deaths += due.id == step
        time.sleep(0.05)
    failed = control.view(world.settings, job)
    assert (failed.job.state, deaths) == ("failed", 3)
    assert "stopped answering (attempt 3 of 3)" in (failed.job.error or "")
    control.retry(world.settings, lambda _: None, job)
    world.drive(job)
    check(world, job, fault_free)


def test_two_jobs_of_the_same_labels_are_never_interleaved(world: World, fault_free: str) -> None:
    first, second = world.enqueue_job(alone=False), world.enqueue_job(alone=False)
    step = world.until(first, "score")[0]
    world.act(step.id or 0, "write:kill").join(20)
    world.drive(second)
    for job in (first, second):
        check(world, job, fault_free)
    ended = control.view(world.settings, first).job.finished_at
    started = control.view(world.settings, second).job.started_at
    assert ended is not None
    assert started is not None
    assert ended <= started


def test_no_file_is_named_before_it_is_on_disk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a loss of power a name must not stand for content that never reached the disk."""
    job = world.enqueue_job()
    attempt = claim(world.settings, world.until(job, "score")[0].id or 0, "me")
    assert attempt is not None

    def fails(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="Input/output error"):
        attempt.write(pl.DataFrame({"a": [1]}), "scores")
    assert [path.name for path in attempt.folder.iterdir()] == [".scores.parquet"]
