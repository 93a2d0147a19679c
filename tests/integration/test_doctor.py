from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from segadmin.jobs import schedules
from segadmin.settings import Settings
from segadmin.storage import database
from tests.conftest import Cli
from tests.servers import redis_server, stop, wait_until


def look(cli: Cli, *words: str, code: int, **environment: str) -> dict[str, dict[str, str]]:
    done = cli("doctor", "--json", *words, check=False, **environment)
    assert done.returncode == code, done.stdout + done.stderr
    return {finding["what"]: finding for finding in json.loads(done.stdout)}


def test_a_fresh_installation_only_has_to_be_started(cli: Cli) -> None:
    findings = look(cli, code=0)
    assert findings["extra worker"]["detail"] == "installed"
    assert findings["broker"] == {
        "level": "warn",
        "what": "broker",
        "detail": "the embedded Redis is not started",
        "mend": "segadmin up --detach",
    }
    assert findings["backbone minilm"]["level"] == "ok"


def test_every_line_is_one_finding_with_its_fix(cli: Cli) -> None:
    lines = cli("doctor", "--backbone", "tabular").stdout.splitlines()
    assert "! broker: the embedded Redis is not started → segadmin up --detach" in lines
    assert any(line.startswith("✓ store: ") for line in lines)


def test_a_misspelt_variable_is_found(cli: Cli) -> None:
    findings = look(cli, code=0, SEGADMIN_EVENT_MAPPING="shop.toml")
    assert findings["variables"] == {
        "level": "warn",
        "what": "variables",
        "detail": "SEGADMIN_EVENT_MAPPING is no setting. Did you mean SEGADMIN_EVENTS_MAPPING?",
        "mend": "rename it, or unset SEGADMIN_EVENT_MAPPING",
    }


def test_an_engine_that_does_not_exist_is_found(cli: Cli) -> None:
    for engine in ("nonsense", ""):
        finding = look(cli, code=1, SEGADMIN_ENGINE=engine)["setting engine"]
        assert finding["level"] == "fail"
        assert f"There is no engine {engine!r}. There are: onnxruntime, openvino, torch, " in finding["detail"]
    assert look(cli, code=0, SEGADMIN_ENGINE="transformers")["setting engine"]["level"] == "ok"


def test_a_misspelt_backbone_is_found(cli: Cli) -> None:
    assert "Did you mean 'tabular'?" in look(cli, "--backbone", "tabulr", code=1)["backbone tabulr"]["detail"]


def test_unavailable_weights_fail_when_requested(cli: Cli, tmp_path: Path) -> None:
    findings = look(cli, "--backbone", str(tmp_path / "nothing/here"), code=1)
    assert [finding["level"] for what, finding in findings.items() if what.startswith("backbone")] == ["fail"]


def test_a_broker_or_database_that_is_down_fails_and_hides_its_password(cli: Cli) -> None:
    findings = look(
        cli,
        code=1,
        SEGADMIN_BROKER_URL="redis://:hush@127.0.0.1:1/0",
        SEGADMIN_DATABASE_URL="postgresql://me:hush@127.0.0.1:1/x",
    )
    assert findings["broker"]["level"] == findings["database"]["level"] == "fail"
    assert "hush" not in json.dumps(findings)


def test_a_store_that_cannot_be_written_fails(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    findings = look(cli, code=1, SEGADMIN_STORE=str(tmp_path / "file" / "store"))
    assert findings["store"]["level"] == "fail"
    assert findings["store"]["detail"].endswith("cannot be written: Not a directory. Set SEGADMIN_STORE to a folder.")


def test_a_plugin_file_that_is_broken_fails(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import no_such_package")
    assert "mine.py" in look(cli, code=1, SEGADMIN_PLUGIN_FILES=str(tmp_path / "mine.py"))["plugins"]["detail"]


def test_an_overdue_schedule_means_that_no_beat_runs(cli: Cli, settings: Settings) -> None:
    database.ensure_schema(settings)
    schedules.add(settings, "nightly", "0 3 * * *", "textualize", {})
    assert look(cli, code=0)["beat"]["level"] == "ok"
    with database.transaction(settings) as session:
        from segadmin.storage.records import Schedule, utcnow

        slot = session.get_one(Schedule, "nightly")
        slot.next_slot = utcnow().replace(year=2020)
    assert look(cli, code=1)["beat"]["detail"] == "overdue: nightly"


def test_a_champion_whose_files_are_gone_is_found(cli: Cli, shop: Settings) -> None:
    assert "champion" not in look(cli, code=0)
    shutil.rmtree(shop.store_path / "models")
    finding = look(cli, code=0)["champion"]
    assert finding["level"] == "warn"
    assert "version 1 of 'spend3' cannot be used: The model folder" in finding["detail"]
    assert "Restore it from a backup, or train again: segadmin enqueue retrain" in finding["detail"]


def test_a_queue_without_a_worker_fails(cli: Cli, settings: Settings) -> None:
    with redis_server(settings):
        findings = look(cli, code=1)
        assert {what: findings[f"queue {what}"]["level"] for what in ("cpu", "control", "gpu")} == {
            "cpu": "fail",
            "control": "fail",
            "gpu": "fail",
        }
        command = [sys.executable, "-m", "segadmin_api.cli", "worker", "--queues", "gpu", "--name", "mine@%h"]
        worker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: look(cli, code=1)["queue gpu"]["level"] == "ok", 60, "the worker answers")
            assert look(cli, code=1)["queue gpu"]["detail"].startswith("mine@")
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(20) == 0
        finally:
            stop(worker)


@pytest.mark.parametrize(("queues", "message"), [("gpus", "Did you mean 'gpu'?"), (",", "name at least one of")])
def test_a_worker_of_no_known_queue_is_a_usage_error(cli: Cli, queues: str, message: str) -> None:
    done = cli("worker", "--queues", queues, check=False)
    assert done.returncode == 2
    assert message in done.stderr
