"""``segadmin data interrupted``: what imports that died read, listed and dropped."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from segadmin.events import erase, import_commit
from segadmin.events.import_request import ImportRequest
from segadmin.events.inbox import Inbox
from segadmin.events.ingest import import_file
from segadmin.events.interrupted import list_interrupted
from segadmin.settings import Settings
from segadmin.storage.audit import entries
from segadmin.storage.import_lock import alone
from segadmin.storage.lake import Lake
from tests.commands import command_server
from tests.conftest import Cli

KILLED = """
import os, signal, sys
from segadmin.events import ingest
from segadmin.events.import_request import ImportRequest
from segadmin.settings import get_settings
setattr(ingest, sys.argv[2], lambda *_: os.kill(os.getpid(), signal.SIGKILL))
ingest.import_file(get_settings(), ImportRequest("events", sys.argv[1]))
"""


def kill_import(where: str, at: str) -> None:
    """Let a process import, and kill it when it calls the function ``at``."""
    assert command_server().python(KILLED, where, at).returncode == -signal.SIGKILL


def test_rows_of_a_killed_import_are_listed_and_dropped(settings: Settings, tmp_path: Path, cli: Cli) -> None:
    assert cli("data", "interrupted").stdout == "No import was interrupted.\n"
    (tmp_path / "e.csv").write_text("user,kind,item,at\nu1,view,a,2025-01-01\nu2,view,a,2025-01-01\n")
    Inbox.of(settings).add([json.dumps({"user": "u3", "kind": "view", "item": "a", "at": "2025-01-01"})])
    for where in (str(tmp_path / "e.csv"), "inbox://"):
        kill_import(where, "add_to_lake")
    listed = json.loads(cli("data", "interrupted", "--json").stdout)
    facts = sorted(
        (interrupted["import"], interrupted["file"], interrupted["rows"], interrupted["can_be_read_again"])
        for interrupted in listed
    )
    assert facts == [("1", "e.csv", 2, True), ("2", "inbox://", 1, False)]
    assert "e.csv" in cli("data", "interrupted").stdout
    for yes in ([], ["--yes"]):
        refused = cli("data", "interrupted", "--drop", "7", *yes, check=False)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "No interrupted import is called '7'. Look: segadmin data interrupted" in refused.stderr
    assert cli("data", "interrupted", "--drop", "1", check=False).returncode == 1  # nobody said yes
    dropped = cli("data", "interrupted", "--drop", "1", "--yes").stdout
    assert dropped == "Removed 2 rows of import 1.\n"
    assert [
        interrupted["import"]
        for interrupted in json.loads(cli("data", "interrupted", "--drop", "2", "--yes", "--json").stdout)
    ] == ["2"]
    assert not list((settings.store_path / "spool").iterdir())
    assert [entry.subject for entry in entries(settings, "data.interrupted")] == ["import 2", "import 1"]


def test_an_import_killed_before_reading_is_listed(settings: Settings, tmp_path: Path, cli: Cli) -> None:
    path = tmp_path / "e v.csv"
    path.write_text("user,kind,item,at\nu1,view,a,2025-01-01\n")
    kill_import(str(path), "_read")
    [listed] = json.loads(cli("data", "list", "--json").stdout)["imports"]
    assert listed["state"] == "interrupted"
    assert "To continue interrupted imports: segadmin data interrupted" in cli("data", "list").stdout
    [left] = json.loads(cli("data", "interrupted", "--json").stdout)
    assert (left["import"], left["rows"], left["error"]) == ("1", 0, "It was interrupted.")
    assert cli("data", "interrupted").stdout.endswith("\n  segadmin data import events 'e v.csv'\n")
    with alone(settings):  # as where it is going on
        assert list_interrupted(settings) == []
        assert json.loads(cli("data", "list", "--json").stdout)["imports"][0]["state"] == "running"

    kill_import("inbox://", "_read")  # it knows that no other import is running
    states = {record["id"]: record["state"] for record in json.loads(cli("data", "list", "--json").stdout)["imports"]}
    assert states == {1: "interrupted", 2: "interrupted"}
    assert cli("data", "interrupted", "--drop", "2", "--yes").stdout.startswith("Removed 0 rows of import 2")
    assert [record["import"] for record in json.loads(cli("data", "interrupted", "--json").stdout)] == ["1"]
    cli("data", "import", "events", str(path))
    assert json.loads(cli("data", "interrupted", "--json").stdout) == []
    states = {record["id"]: record["state"] for record in json.loads(cli("data", "list", "--json").stdout)["imports"]}
    assert states == {1: "succeeded", 2: "failed"}


def test_an_import_that_cannot_succeed_does_not_block_erasure(
    settings: Settings, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "e.csv").write_text("user,kind,item,at\nu1,view,a,2025-01-01\nu2,view,a,2025-01-01\n")
    import_file(settings, ImportRequest("events", str(tmp_path / "e.csv")))
    (tmp_path / "l.csv").write_text("user,segment\nu1,a\nu2,b\n")

    class PanicException(BaseException):  # as a panic of Polars
        pass

    def panic(*_: object) -> None:
        raise PanicException("not yet implemented")

    with monkeypatch.context() as patch, pytest.raises(PanicException):
        patch.setattr(import_commit, "_replace_labels", panic)
        import_file(settings, ImportRequest("labels", str(tmp_path / "l.csv"), label_set="x"))
    [left] = json.loads(cli("data", "interrupted", "--json").stdout)
    assert (left["table"], left["error"]) == ("labels:x", "PanicException: not yet implemented")
    assert "1 of 1 user erased" in cli("data", "forget", "u1", "--yes").stdout
    assert json.loads(cli("data", "interrupted", "--json").stdout) == []
    import_file(settings, ImportRequest("labels", str(tmp_path / "l.csv"), label_set="x"))
    assert Lake.of(settings).scan("labels").collect().height == 1


def test_an_erasure_that_was_interrupted_is_named_by_doctor_and_finished(
    settings: Settings, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "e.csv").write_text("user,kind,item,at\nu1,view,a,2025-01-01\nu2,view,a,2025-01-01\n")
    import_file(settings, ImportRequest("events", str(tmp_path / "e.csv")))
    assert cli("data", "forget", check=False).returncode == 2

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(erase, "_erase_rows", die)
        erase.forget(settings, ["u1"])
    assert "! erasure: an erasure of users was interrupted" in cli("doctor", check=False).stdout
    done = cli("data", "forget")
    assert (done.stdout, done.stderr) == ("", "An interrupted erasure was completed.\n")
    assert Lake.of(settings).scan("users").collect()["user"].to_list() == ["u2"]
    assert "erasure:" not in cli("doctor", check=False).stdout
