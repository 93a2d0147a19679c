"""A beat that hangs: ``doctor`` and ``status`` report it, and the supervisor starts another."""

from __future__ import annotations

import json
import os
import signal
import time

import psutil
import pytest

from segadmin.jobs import schedules
from segadmin.settings import Settings, get_settings
from segadmin.storage import database
from segadmin.storage.database import transaction
from segadmin.storage.records import Schedule, utcnow
from segadmin_api.cli import checks, machine_status
from segadmin_worker import state
from segadmin_worker.services import beat_service
from segadmin_worker.state import ServiceState, ServiceStatus, Status
from tests.conftest import Cli
from tests.integration.test_doctor import look
from tests.integration.test_supervisor import is_running, running
from tests.servers import beat, wait_until


@pytest.fixture
def quick(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with which beat looks twice a second; there is a schedule."""
    monkeypatch.setenv("SEGADMIN_REAP_SECONDS", "0.5")
    get_settings.cache_clear()
    settings.root.mkdir(parents=True)
    schedules.add(get_settings(), "nightly", "0 3 * * *", "compact", {})
    return get_settings()


def stop(process: psutil.Process) -> None:
    """Stop a process as Ctrl-Z does; it takes no signal but SIGKILL and SIGCONT then."""
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED, 10, "it is stopped")


def test_a_hung_beat_is_reported(
    quick: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with beat(quick, app="segadmin_worker.app") as started:
        process, own = psutil.Process(started.pid), psutil.Process()
        service = ServiceStatus("beat", ServiceState.RUNNING, process.pid, process.create_time(), 0, "", "beat.log")
        quick.run_path.mkdir(exist_ok=True)
        state.write(quick, Status(own.pid, own.create_time(), (service,)))
        wait_until(lambda: (state.last_look(quick) or 0) > process.create_time(), 60, "beat looks")
        assert [finding.level for finding in checks.beat(quick)] == ["ok"]
        stop(process)
        try:
            monkeypatch.setattr(state, "SILENT_SECONDS", 1.0)
            make_overdue(quick)
            wait_until(lambda: state.hung_for(quick, service) is not None, 10, "it has been silent for long")
            hangs, late = checks.beat(quick)
            assert (hangs.level, late.level) == ("fail", "fail")
            assert hangs.detail.startswith(f"hangs (pid {process.pid}): it has not looked for due schedules for ")
            assert hangs.fix == "segadmin down, then: segadmin up --detach"
            assert (late.what, late.detail) == ("schedules", "overdue: nightly")
            machine_status.status(as_json=True)
            facts = json.loads(capsys.readouterr().out)
            assert facts["parts"][0]["state"] == "hung"
            assert facts["parts"][0]["note"].startswith("has not looked for due schedules for ")
            assert facts["overdue"] == ["nightly"]
            machine_status.status(as_json=False)
            shown = capsys.readouterr().out
            assert "hung" in shown
            assert "overdue schedules: nightly" in shown
        finally:
            process.send_signal(signal.SIGCONT)


def make_overdue(settings: Settings) -> None:
    with transaction(settings) as session:
        session.get_one(Schedule, "nightly").next_slot = utcnow().replace(year=2020)


def test_an_overdue_schedule_is_reported_unless_it_is_paused(any_database: Settings, cli: Cli) -> None:
    database.upgrade(any_database)
    schedules.add(any_database, "nightly", "0 3 * * *", "compact", {})
    make_overdue(any_database)
    assert look(cli, code=1)["beat"]["detail"] == "overdue: nightly"
    schedules.pause(any_database, "nightly")
    assert look(cli, code=0)["beat"]["level"] == "ok"


def test_a_beat_that_has_just_started_does_not_hang(quick: Settings) -> None:
    own = psutil.Process()
    service = ServiceStatus("beat", ServiceState.RUNNING, own.pid, time.time(), 0, "", "")
    state.note_look(quick)
    os.utime(state.look_file(quick), (0, 0))  # of the beat before
    assert state.hung_for(quick, service) is None


def test_a_hung_beat_is_killed_and_another_does_its_work(quick: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "SILENT_SECONDS", 8.0)
    with running(quick, beat_service(quick)) as look:
        wait_until(lambda: is_running(look, "beat") and state.last_look(quick) is not None, 60, "beat looks")
        first = look("beat").process
        assert first is not None
        stop(first)
        make_overdue(quick)
        wait_until(lambda: look("beat").restarts == 1, 60, "it is killed")
        assert "did not look for due schedules for" in look("beat").note
        wait_until(lambda: schedules.overdue(quick) == [], 60, "another beat enqueues what was due")
        assert not first.is_running() or first.status() == psutil.STATUS_ZOMBIE
        assert look("beat").pid != first.pid
