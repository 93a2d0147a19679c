"""A key of the wrong type in Redis keeps workers from starting; the error names it and the command that fixes it."""

from __future__ import annotations

import subprocess

import pytest

from segadmin.errors import BrokerUnavailable, DataError
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.jobs.dispatch import StepMessage
from segadmin.settings import Settings
from segadmin_worker import inspection, state
from segadmin_worker.client import check_keys, dispatcher
from segadmin_worker.redis_keys import PRIORITIES, QUEUES, TYPES
from segadmin_worker.services import Service, redis_service
from segadmin_worker.state import ServiceState
from tests.conftest import Cli
from tests.integration.test_supervisor import STAYS, ask_redis, is_running, running
from tests.servers import redis_server, wait_until, worker

#: Keys whose names hold a number that is drawn: no other program makes the same.
_DRAWN = (".reply.celery.pidbox", "celeryev.")


def make_wrong(settings: Settings, key: str) -> None:
    ask_redis(settings, *(("LPUSH", key, "x") if TYPES[key] == "string" else ("SET", key, "x")))


def fix(error: object) -> None:
    """Run the command that an error names."""
    command = str(error).partition("if it is renamed: ")[2]
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)


def test_each_key_of_the_wrong_type_is_named_and_its_command_fixes_it(settings: Settings) -> None:
    with redis_server(settings):
        for key in TYPES:
            make_wrong(settings, key)
            with pytest.raises(BrokerUnavailable, match="Workers cannot run: in the broker, the key") as raised:
                inspection.ping(settings)
            kind = "list" if TYPES[key] == "string" else "string"
            assert f"the key {key!r} is a {kind} and should be a {TYPES[key]}." in str(raised.value)
            fix(raised.value)
            inspection.ping(settings)
            assert ask_redis(settings, "TYPE", f"{key}.moved") == kind, "nothing is lost"
        for key in ("cpu", "unacked"):
            make_wrong(settings, key)
        with pytest.raises(BrokerUnavailable, match=r"the key 'cpu' is .* and the key 'unacked' is") as raised:
            check_keys(settings)
        fix(raised.value)
        check_keys(settings)


def test_the_known_types_are_those_that_workers_make(settings: Settings) -> None:
    with redis_server(settings), worker(settings):
        wait_until(lambda: inspection.workers(settings), 40, "the worker answers")
        messages = [StepMessage(1, "nothing", queue, "x", priority) for queue in QUEUES for priority in range(10)]
        dispatcher(settings)(messages)
        found = {key: ask_redis(settings, "TYPE", key) for key in ask_redis(settings, "KEYS", "*")}
    named = {key: kind for key, kind in found.items() if not any(part in key for part in _DRAWN) or "binding" in key}
    assert {key: TYPES.get(key) for key in named} == named
    assert {f"control{priority}" for priority in PRIORITIES} <= named.keys()
    assert {"_kombu.binding.celery.pidbox", "_kombu.binding.cpu"} <= named.keys()


def test_what_asks_the_broker_gets_an_error_that_names_the_key(settings: Settings) -> None:
    with redis_server(settings):
        make_wrong(settings, "cpu")
        with pytest.raises(BrokerUnavailable, match="the key 'cpu' is a string"):
            inspection.queue_lengths(settings)
        with pytest.raises(BrokerUnavailable, match="the key 'cpu' is a string"):
            dispatcher(settings)([StepMessage(1, "nothing", "cpu", "x", 9)])
        make_wrong(settings, "_kombu.binding.reply.celery.pidbox")
        with pytest.raises(BrokerUnavailable, match=r"'_kombu\.binding\.reply\.celery\.pidbox' is a string"):
            inspection.workers(settings)


def test_services_wait_until_the_key_is_gone(settings: Settings) -> None:
    beat, web = Service("beat", STAYS), Service("web", STAYS)
    with running(settings, redis_service(settings), beat, web) as look:
        wait_until(lambda: is_running(look, "beat"), 20, "beat runs")
        make_wrong(settings, "unacked")
        process = look("beat").process
        assert process is not None
        process.kill()
        wait_until(lambda: look("beat").state == ServiceState.BLOCKED, 20, "beat is not started again")
        assert "the key 'unacked' is a string and should be a hash" in look("beat").note
        assert (look("beat").restarts, look("redis").state) == (1, ServiceState.RUNNING)
        assert look("web").pid is not None
        fix(look("beat").note)
        wait_until(lambda: is_running(look, "beat"), 20, "beat runs again")
        assert look("beat").note == ""


def test_up_names_the_key_and_goes_on_when_it_is_renamed(settings: Settings, cli: Cli) -> None:
    with running(settings, redis_service(settings)) as look:
        wait_until(lambda: is_running(look, "redis"), 20, "Redis runs")
        make_wrong(settings, "_kombu.binding.celery.pidbox")  # it is in the append-only file
    try:
        started = cli("up", "--detach", "--no-flower", "--no-web", "--cpu", "1", check=False)
        assert started.returncode == 1
        assert "Traceback" not in started.stdout + started.stderr
        [line] = [line for line in started.stderr.splitlines() if line.startswith("Error")]
        assert "the key '_kombu.binding.celery.pidbox' is a string and should be a set." in line
        assert "Then worker-cpu, worker-gpu, beat start by themselves." in started.stderr
        doctor = cli("doctor", check=False)
        assert "the key '_kombu.binding.celery.pidbox' is a string" in doctor.stdout
        fix(line)

        def all_run() -> bool:
            current = state.read(settings)
            return current is not None and all(each.state == ServiceState.RUNNING for each in current.services)

        wait_until(all_run, 60, "everything runs")
    finally:
        cli("down")


def test_a_worker_of_a_deployment_ends_with_one_line(settings: Settings, cli: Cli) -> None:
    with redis_server(settings):
        make_wrong(settings, "gpu:3")
        done = cli("worker", "--queues", "gpu", check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("Error: Workers cannot run: ")]
    assert "the key 'gpu:3' is a string and should be a list." in line


def test_a_stream_that_is_none_is_named(settings: Settings) -> None:
    with redis_server(settings):
        ask_redis(settings, "SET", "segadmin:events", "x")
        with pytest.raises(DataError, match=r"key 'segadmin:events' at unix:.* is not a stream\. Name the stream: -o"):
            import_file(settings, ImportRequest("events", f"unix://{settings.redis_socket}"))
