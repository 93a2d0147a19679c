"""What a job will cost is what past jobs of its kind and like options took."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import Field

import tests.probe  # noqa: F401  (adds the probe job kind)
from segadmin.errors import ConfigurationError
from segadmin.jobs.counts import count_by_state
from segadmin.jobs.estimate import Likeness, Range, estimate
from segadmin.jobs.peak_memory import PeakMemory
from segadmin.jobs.registry import Request, Stage, Workflow, workflows
from segadmin.jobs.selection import JobSelection
from segadmin.settings import Settings
from segadmin.storage.database import reading, transaction
from segadmin.storage.records import Import, ImportState, Job, JobState, Step, StepState, utcnow
from tests.stores import empty_store


class Options(Request):
    backbone: str | None = None
    backbone_options: dict[str, Any] = Field({})
    epochs: int = 1
    seed: int = 17


def nothing(_: Any) -> Any:
    raise AssertionError


@pytest.fixture
def store(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A store whose jobs read every user, then train and write side by side, and publish."""
    stages = (
        Stage("read", nothing, per_buckets=True),
        Stage("train", nothing, after=("read",)),
        Stage("write", nothing, after=("read",)),
        Stage("publish", nothing, after=("train", "write")),
    )
    monkeypatch.setitem(workflows(), "fit", Workflow("fit", Options, stages))
    empty_store(settings)
    return settings


def add_job(
    store: Settings, seconds: dict[str, float], memory: int | None = None, days: int = 1, **options: Any
) -> int:
    """Add a job that succeeded some days ago, whose stages took these seconds."""
    begun = utcnow() - timedelta(days=days)
    with transaction(store) as session:
        options = Options(**options).model_dump(mode="json")
        job = Job(kind="fit", state=JobState.SUCCEEDED, options=options, created_at=begun)
        session.add(job)
        session.flush()
        for stage, took in seconds.items():
            ends = begun + timedelta(seconds=took)
            step = Step(job_id=job.id or 0, stage=stage, queue="cpu", state=StepState.SUCCEEDED, memory_bytes=memory)
            step.started_at, step.finished_at = begun, ends
            session.add(step)
        return job.id or 0


def add_events(store: Settings, rows: int, days: int) -> None:
    with transaction(store) as session:
        moment = utcnow() - timedelta(days=days)
        session.add(
            Import(table="events", file="f", sha256="", state=ImportState.SUCCEEDED, rows_kept=rows, created_at=moment)
        )


def test_without_a_past_job_nothing_is_estimated(store: Settings) -> None:
    done = estimate(store, "fit", {})
    assert (done.jobs, done.likeness, done.seconds, done.memory_bytes, done.growth) == ((), None, None, None, None)
    with transaction(store) as session:
        session.add(Job(kind="fit", state=JobState.FAILED, options=Options().model_dump()))
    assert estimate(store, "fit", {}).seconds is None, "a job that failed says nothing"


def test_the_longest_path_counts(store: Settings) -> None:
    numbers = [
        add_job(store, {"read": 10, "train": seconds, "write": 1, "publish": 2}, memory)
        for seconds, memory in ((100, 3_000), (200, 1_000), (50, None))
    ]
    done = estimate(store, "fit", {})
    assert done.jobs == tuple(reversed(numbers))
    assert done.seconds == Range(112, 62, 212)
    assert done.memory_bytes == Range(2_000, 1_000, 3_000)
    assert done.growth is None, "no events were imported"


def test_like_options_go_before_others(store: Settings) -> None:
    other = add_job(store, {"train": 1}, backbone="tabular")
    same_backbone = add_job(store, {"train": 2}, backbone="minilm", epochs=9)
    same = add_job(store, {"train": 3}, backbone="minilm", epochs=3, seed=1)
    wanted = {"backbone": "minilm", "epochs": 3}
    assert (estimate(store, "fit", wanted).likeness, estimate(store, "fit", wanted).jobs) == (Likeness.OPTIONS, (same,))
    done = estimate(store, "fit", wanted | {"epochs": 4})
    assert (done.likeness, done.jobs) == (Likeness.BACKBONE, (same, same_backbone))
    done = estimate(store, "fit", {"backbone": "tfidf"})
    assert (done.likeness, done.jobs) == (Likeness.KIND, (same, same_backbone, other))


def test_stages_that_read_every_user_grow_with_the_events(store: Settings) -> None:
    add_events(store, 1_000, days=9)
    add_job(store, {"read": 10, "train": 5}, days=5)
    add_events(store, 2_000, days=1)
    done = estimate(store, "fit", {})
    assert (done.growth, done.seconds) == (3.0, Range(35, 35, 35))


def test_only_the_newest_jobs_count(store: Settings) -> None:
    for seconds in (1_000, *[7] * 10):
        add_job(store, {"train": seconds})
    assert estimate(store, "fit", {}).seconds == Range(7, 7, 7)


def test_a_job_that_cannot_be_enqueued_is_not_estimated(store: Settings) -> None:
    with pytest.raises(ConfigurationError, match="cannot use epochs='many'"):
        estimate(store, "fit", {"epochs": "many"})
    with pytest.raises(ConfigurationError, match="no job kind 'fitt'"):
        estimate(store, "fitt", {})


def test_jobs_are_counted_by_state(any_database: Settings) -> None:
    empty_store(any_database)
    with transaction(any_database) as session:
        for kind, state, count in (("a", JobState.QUEUED, 3), ("a", JobState.FAILED, 2), ("b", JobState.FAILED, 4)):
            session.add_all(Job(kind=kind, state=state) for _ in range(count))
    expected = {(): (3, 6), ("a",): (3, 2), ("a", "b", "a"): (3, 6), ("nothing",): (0, 0)}
    with reading(any_database) as session:
        for kinds, (queued, failed) in expected.items():
            counts = count_by_state(session, JobSelection(kinds))
            assert (counts[JobState.QUEUED], counts[JobState.FAILED], counts[JobState.RUNNING]) == (queued, failed, 0)
        assert count_by_state(session, JobSelection(states=(JobState.QUEUED,)), most=5)[JobState.FAILED] == 5
        assert count_by_state(session, JobSelection(last=3))[JobState.FAILED] == 0


def test_the_peak_is_that_of_the_step_and_not_of_the_process() -> None:
    first = bytearray(200 * 2**20)
    for n in range(0, len(first), 4096):
        first[n] = 1
    del first
    peak = PeakMemory()
    before = peak.look()
    block = bytearray(100 * 2**20)
    for n in range(0, len(block), 4096):
        block[n] = 1
    del block
    grown = peak.look() - before
    assert 90 * 2**20 < grown < 150 * 2**20
    assert peak.look() >= before + grown, "a peak does not go back"
