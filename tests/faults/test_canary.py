"""A challenger that kills its own process, through a real Celery worker: its users keep their segments."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from segadmin.jobs import control
from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.lease import claim
from segadmin.jobs.reap import reap
from segadmin.jobs.run import run_step
from segadmin.models.aliases import current_snapshot, pointed
from segadmin.models.canary import list_canaries
from segadmin.settings import Settings, get_settings
from segadmin.snapshots.read import assignments
from segadmin.storage import database
from segadmin.storage.database import now, reading, transaction
from segadmin.storage.records import Canary, CanaryState, JobState, SegmentSnapshot, Step, StepState
from segadmin_worker.client import dispatcher
from tests.faults.world import copy_home
from tests.planted import LABELS, more_weeks, nothing_runs, planted_users, retrain, through_the_engine
from tests.servers import redis_server, wait_until, worker
from tests.unit.jobs.conftest import Messages

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def canary_home(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a shop with a canary, whose users have done something since."""
    settings = Settings(home=tmp_path_factory.mktemp("canary") / "home")
    copy_home(trained_home, settings.root)
    retrain(settings, seed=5, canary=0.4, canary_days=60).all()
    nothing_runs(settings)
    more_weeks(settings, planted_users(settings).head(60), range(14, 15), seed=3)
    database.engine(settings).dispose()
    return settings.root


@pytest.fixture
def shop(canary_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A copy of it for this test, with short times."""
    copy_home(canary_home, tmp_path / "home")
    monkeypatch.setenv("SEGADMIN_HOME", str(tmp_path / "home"))
    for name, value in {"HEARTBEAT": "0.4", "REAP": "0.3", "BACKOFF": "0.2"}.items():
        monkeypatch.setenv(f"SEGADMIN_{name}_SECONDS", value)
    get_settings.cache_clear()
    yield get_settings()
    database.engine(get_settings()).dispose()


def canary_of(settings: Settings) -> Canary:
    with reading(settings) as session:
        return list_canaries(session)[0]


def check_scored_by_the_champion(settings: Settings, job: int) -> None:
    """Check that the job has published everybody's segment by the champion, and what became of the canary."""
    view = control.view(settings, job)
    assert view.job.state == JobState.SUCCEEDED, view.job.error
    assert view.job.has_warning
    with reading(settings) as session:
        current = pointed(session, current_snapshot(LABELS)) or 0
        assert session.get_one(SegmentSnapshot, current).job_id == job
    rows = assignments(settings, current).collect()
    assert rows.height == 240
    assert rows["model_version_id"].unique().to_list() == [1]
    canary = canary_of(settings)
    assert canary.state == CanaryState.STOPPED
    assert canary.reason == f"the processes in which the challenger ran died: segadmin jobs show {job}"


def test_a_challenger_that_kills_its_process_costs_no_segment(shop: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGADMIN_FAILPOINT", "compute@score_challenger:kill!")
    with redis_server(shop), worker(shop, concurrency=1):
        job = enqueue(shop, dispatcher(shop), "refresh", {"labels": LABELS}).job.id or 0
        wait_until(lambda: control.view(shop, job).job.state.over, 120, "the job ends")
    check_scored_by_the_champion(shop, job)
    assert "score_challenger: " in (control.view(shop, job).job.error or "")


def test_a_comparison_that_kills_its_process_stops_the_canary(shop: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with transaction(shop) as session:
        canary = session.get_one(Canary, 1)
        canary.compared_as_of = None
        session.add(canary)
    monkeypatch.setenv("SEGADMIN_FAILPOINT", "compute@canary:kill!")
    with redis_server(shop), worker(shop, concurrency=1):
        job = enqueue(shop, dispatcher(shop), "refresh", {"labels": LABELS}).job.id or 0
        wait_until(lambda: control.view(shop, job).job.state.over, 120, "the job ends")
    assert control.view(shop, job).job.state == JobState.SUCCEEDED
    assert canary_of(shop).state == CanaryState.STOPPED


def lose_the_challenger(settings: Settings) -> int:
    """Run a refresh whose challenger's steps are claimed by a worker that is there no more; return the job."""
    messages = Messages()
    job = enqueue(settings, messages, "refresh", {"labels": LABELS}).job.id or 0
    while steps := messages.take():
        for step in steps:
            if stage_of(settings, step) == "score_challenger":
                assert claim(settings, step, "lost") is not None
                let_the_lease_run_out(settings, step)
                reap(settings, messages)
            else:
                run_step(settings, messages, step, "me")
    return job


def stage_of(settings: Settings, step: int) -> str:
    with reading(settings) as session:
        return session.get_one(Step, step).stage


def let_the_lease_run_out(settings: Settings, step: int) -> None:
    with transaction(settings) as session:
        row = session.get_one(Step, step)
        row.lease_until = now(session) - timedelta(seconds=1)
        session.add(row)


def test_a_challenger_whose_leases_run_out_costs_no_segment(shop: Settings) -> None:
    check_scored_by_the_champion(shop, lose_the_challenger(shop))


def test_the_next_refresh_does_not_try_it_again(shop: Settings) -> None:
    lose_the_challenger(shop)
    more_weeks(shop, planted_users(shop).tail(30), range(15, 16), seed=4)
    view = control.view(shop, through_the_engine(shop, "refresh", {"labels": LABELS}))
    assert (view.job.state, view.job.error) == (JobState.SUCCEEDED, None)
    assert {step.state for step in view.steps if step.stage == "score_challenger"} == {StepState.SKIPPED}
