"""Which steps are rung for again: those whose ring is lost, and none that only waits in a long queue.

The test is the queue: what was rung is in it until the test takes it out or loses it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlmodel import col, select, update

from segadmin.errors import BrokerUnavailable
from segadmin.jobs import control, dispatch, lost_messages
from segadmin.jobs.dispatch import StepMessage
from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.lease import claim
from segadmin.jobs.reap import reap
from segadmin.jobs.run import run_step
from segadmin.settings import Settings
from segadmin.storage.database import now, transaction
from segadmin.storage.records import Job, JobState, Step, StepState, Store


class Queue:
    """What Redis holds: bells in the order in which they come out, the most urgent first."""

    def __init__(self) -> None:
        self.messages: list[StepMessage] = []
        self.dispatched = 0
        self.down = False

    def __call__(self, messages: Sequence[StepMessage]) -> None:
        if self.down:
            raise BrokerUnavailable("no broker")
        self.dispatched += len(messages)
        self.messages = sorted([*self.messages, *messages], key=lambda message: -message.priority)  # stable

    def waiting(self) -> Mapping[str, int]:
        if self.down:
            raise BrokerUnavailable("no broker")
        return Counter(message.queue for message in self.messages)

    def take(self) -> StepMessage:
        return self.messages.pop(0)


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def engine_settings(engine_settings: Settings) -> Settings:
    """Of small jobs."""
    return engine_settings.model_copy(update={"fan_out": 1})


def ask(settings: Settings, queue: Queue, jobs: int, priority: int = 5) -> list[int]:
    """Enqueue jobs whose first step is ready, and return the jobs."""
    return [enqueue(settings, queue, "probe", {}, priority=priority).job.id or 0 for _ in range(jobs)]


def look(settings: Settings, queue: Queue, *, late: bool = True) -> int:
    """Let the reaper look, all rings being long ago; return how many it rang."""
    if late:
        age(settings, timedelta(seconds=60))
    before = queue.dispatched
    reap(settings, queue, queue.waiting)
    return queue.dispatched - before


def age(settings: Settings, by: timedelta) -> None:
    """Let time pass for all rings, in their order."""
    with transaction(settings) as session:
        for number, rung_at in session.exec(select(Step.id, Step.rung_at).where(col(Step.rung_at).is_not(None))).all():
            assert rung_at is not None
            session.exec(update(Step).where(col(Step.id) == number).values(rung_at=rung_at - by))


def work(settings: Settings, queue: Queue, steps: int) -> None:
    for _ in range(steps):
        run_step(settings, queue, queue.take().step_id, "me")


def test_a_long_backlog_is_not_sent_again(engine_settings: Settings, queue: Queue) -> None:
    ask(engine_settings, queue, 12)
    assert queue.dispatched == 12
    for _ in range(5):
        assert look(engine_settings, queue) == 0
        work(engine_settings, queue, 2)
    assert queue.dispatched <= 2 * len(steps(engine_settings))


def test_a_backlog_that_is_dispatched_in_parts_takes_one_message_a_step(
    engine_settings: Settings, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (dispatch, lost_messages):
        monkeypatch.setattr(module, "AT_ONCE", 100)
    settings = engine_settings.model_copy(update={"fan_out": 250})
    with transaction(settings) as session:
        session.exec(update(Store).values(buckets=512))
    [job] = ask(settings, queue, 1)
    work(settings, queue, 1)  # now 250 steps are ready, of which the first 100 were rung for
    for _ in range(8):
        look(settings, queue)
    assert len(queue.messages) == 250
    assert queue.dispatched == 251
    assert len({message.step_id for message in queue.messages}) == 250
    control.cancel(settings, queue, job)


def steps(settings: Settings) -> Sequence[Step]:
    with transaction(settings) as session:
        return session.exec(select(Step).where(col(Step.state) != StepState.WAITING)).all()


def test_a_redis_that_comes_back_empty_in_the_middle_costs_one_message_a_step(
    engine_settings: Settings, queue: Queue
) -> None:
    jobs = ask(engine_settings, queue, 6)
    work(engine_settings, queue, 3)
    queue.messages.clear()
    lost = [step for step in steps(engine_settings) if step.state == StepState.READY]
    assert look(engine_settings, queue) == len(lost)
    assert look(engine_settings, queue) == 0
    finish(engine_settings, queue, jobs)
    assert queue.dispatched <= 2 * len(steps(engine_settings))


def test_what_comes_after_the_loss_does_not_hide_it(engine_settings: Settings, queue: Queue) -> None:
    jobs = ask(engine_settings, queue, 4)
    queue.messages.clear()
    jobs += ask(engine_settings, queue, 4)
    assert look(engine_settings, queue) == 4
    finish(engine_settings, queue, jobs)


def test_the_last_second_before_a_crash_of_redis_is_lost(engine_settings: Settings, queue: Queue) -> None:
    """Which messages are missing nobody sees: guesses may be wrong, and every job is done all the same."""
    jobs = ask(engine_settings, queue, 5)
    del queue.messages[-3:]
    assert look(engine_settings, queue) == 3
    assert look(engine_settings, queue) == 0
    finish(engine_settings, queue, jobs)
    assert queue.dispatched <= 2 * len(steps(engine_settings))


def test_a_worker_that_is_killed_with_a_message_loses_nothing(engine_settings: Settings, queue: Queue) -> None:
    [urgent] = ask(engine_settings, queue, 1, priority=9)
    ask(engine_settings, queue, 5)
    taken = queue.take()  # and the worker is killed before it claims the step
    assert look(engine_settings, queue) == 1
    assert queue.messages[0] == taken
    assert control.view(engine_settings, urgent).job.state == JobState.QUEUED


def test_messages_of_cancelled_jobs_do_not_hide_a_loss(engine_settings: Settings, queue: Queue) -> None:
    """Their count says that nothing is missing; that a later step was taken says it."""
    [lost] = ask(engine_settings, queue, 1)
    queue.take()
    cancelled = ask(engine_settings, queue, 6, priority=1)
    for job in cancelled:
        control.cancel(engine_settings, queue, job)
    ask(engine_settings, queue, 2)
    assert look(engine_settings, queue) == 0, "nothing tells yet: it may be the next"
    work(engine_settings, queue, 1)
    assert look(engine_settings, queue) == 1
    assert f"job {lost} · probe" in {message.label for message in queue.messages}
    assert look(engine_settings, queue) == 0


def test_cancelled_jobs_in_the_backlog_are_not_dispatched_again(engine_settings: Settings, queue: Queue) -> None:
    jobs = ask(engine_settings, queue, 4)
    for job in jobs[::2]:
        control.cancel(engine_settings, queue, job)
    queue.messages.clear()
    assert look(engine_settings, queue) == 2
    finish(engine_settings, queue, jobs[1::2])


def test_a_cancelled_job_that_goes_on_is_done_once(engine_settings: Settings, queue: Queue) -> None:
    """Its old message is still in the queue, and either may be heard first."""
    [job] = ask(engine_settings, queue, 1)
    control.cancel(engine_settings, queue, job)
    control.retry(engine_settings, queue, job)
    assert len(queue.messages) == 2
    finish(engine_settings, queue, [job])
    assert {step.attempt for step in control.view(engine_settings, job).steps} == {1}


def test_concurrent_beats_dispatch_lost_steps_once(engine_settings: Settings, queue: Queue) -> None:
    ask(engine_settings, queue, 6)
    queue.messages.clear()
    age(engine_settings, timedelta(seconds=60))
    before = queue.dispatched
    with ThreadPoolExecutor(4) as beats:
        list(beats.map(lambda _: reap(engine_settings, queue, queue.waiting), range(4)))
    assert queue.dispatched - before == 6


def test_concurrent_beats_dispatch_steps_once_that_the_broker_refused(engine_settings: Settings, queue: Queue) -> None:
    queue.down = True
    jobs = ask(engine_settings, queue, 6)
    queue.down = False
    with ThreadPoolExecutor(4) as beats:
        list(beats.map(lambda _: reap(engine_settings, queue, queue.waiting), range(4)))
    assert queue.dispatched == 6
    finish(engine_settings, queue, jobs)


def test_a_broker_that_is_down_while_the_reaper_looks_costs_nothing(engine_settings: Settings, queue: Queue) -> None:
    jobs = ask(engine_settings, queue, 5)
    queue.down = True
    assert look(engine_settings, queue) == 0
    queue.down, queue.messages = False, []
    assert look(engine_settings, queue) == 5
    finish(engine_settings, queue, jobs)


def test_a_clock_that_is_set_back_does_not_hide_a_loss(engine_settings: Settings, queue: Queue) -> None:
    ask(engine_settings, queue, 3)
    age(engine_settings, -timedelta(hours=1))
    assert look(engine_settings, queue, late=False) == 0, "they are in the queue"
    queue.messages.clear()
    assert look(engine_settings, queue, late=False) == 3


def test_a_clock_that_jumps_ahead_dispatches_nothing(engine_settings: Settings, queue: Queue) -> None:
    ask(engine_settings, queue, 3)
    age(engine_settings, timedelta(days=400))
    assert look(engine_settings, queue, late=False) == 0


def test_lost_steps_are_dispatched_by_priority(engine_settings: Settings, queue: Queue) -> None:
    for priority in (1, 9, 5, 9):
        ask(engine_settings, queue, 1, priority)
    queue.messages.clear()
    look(engine_settings, queue)
    assert [message.priority for message in queue.messages] == [9, 9, 5, 1]
    assert queue.messages[0].step_id < queue.messages[1].step_id


def test_an_urgent_job_is_not_mistaken_for_a_loss(engine_settings: Settings, queue: Queue) -> None:
    ask(engine_settings, queue, 5)
    ask(engine_settings, queue, 1, priority=9)
    work(engine_settings, queue, 1)
    queue.messages.append(queue.messages[-1])  # a message too many, so that the count alone tells nothing
    assert look(engine_settings, queue) == 0


def test_a_delayed_step_is_dispatched_when_it_is_due(engine_settings: Settings, queue: Queue) -> None:
    with transaction(engine_settings) as session:
        later = now(session) + timedelta(hours=1)
    job = enqueue(engine_settings, queue, "probe", {}, not_before=later).job.id or 0
    assert (look(engine_settings, queue), queue.dispatched) == (0, 0)
    with transaction(engine_settings) as session:
        session.exec(update(Step).where(col(Step.job_id) == job, col(Step.stage) == "prepare").values(not_before=None))
    assert look(engine_settings, queue) == 1


def test_a_step_with_an_expired_lease_is_dispatched_at_once(engine_settings: Settings, queue: Queue) -> None:
    ask(engine_settings, queue, 1)
    attempt = claim(engine_settings, queue.take().step_id, "dying")
    assert attempt is not None
    time.sleep(0.7)  # its lease of 0.6 s runs out
    assert look(engine_settings, queue, late=False) == 1
    assert look(engine_settings, queue) == 0


def test_an_enqueue_that_is_killed_before_its_dispatch_loses_nothing(engine_settings: Settings, queue: Queue) -> None:
    class Killed(BaseException):
        pass

    def dies(_: Sequence[StepMessage]) -> None:
        raise Killed

    with pytest.raises(Killed):
        enqueue(engine_settings, dies, "probe", {})
    with transaction(engine_settings) as session:
        [job] = session.exec(select(Job.id)).all()
    assert look(engine_settings, queue) == 1
    finish(engine_settings, queue, [job or 0])


def finish(settings: Settings, queue: Queue, jobs: Sequence[int]) -> None:
    """Be workers and reaper until nothing rings any more; every job must have succeeded."""
    while queue.messages or look(settings, queue):
        work(settings, queue, len(queue.messages))
    assert {control.view(settings, job).job.state for job in jobs} == {JobState.SUCCEEDED}
