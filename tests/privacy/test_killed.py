"""Erasures that are killed: the next one finishes what they began."""

from __future__ import annotations

import signal
import subprocess

import pytest

from segadmin.events import erase
from segadmin.events.erase import forget
from segadmin.events.erasure_mark import was_interrupted
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from tests.commands import command_server
from tests.privacy.victim import fill, left_of, users

pytestmark = pytest.mark.privacy

#: Erases, and dies at a change of a file: at which one, the first argument says. It prints how many there are.
CHILD = """
import os, signal, sys
from segadmin.events.erase import forget
from segadmin.settings import get_settings

last, seen = int(sys.argv[1]), 0
CHANGES = {"os.remove", "os.rename", "os.rmdir", "os.truncate", "shutil.rmtree"}

def count(event, arguments):
    global seen
    if event in CHANGES or (event == "open" and set(str(arguments[1])) & set("wax+")):
        seen += 1
        if seen == last:
            os.kill(os.getpid(), signal.SIGKILL)

settings = get_settings()
sys.addaudithook(count)
forget(settings, ["victim~1"])
print(seen)
"""


def die(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


STEPS = (
    "erase_in_database",
    "erase_in_logs",
    "erase_in_streams",
    "erase_in_files",
    "erase_waiting",
    "_erase_rows",
    "_record",
)


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("step", STEPS)
def test_an_erasure_killed_anywhere_is_finished_by_the_next(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, step: str, behind: bool
) -> None:
    fill(settings)
    real = getattr(erase, step)

    def dies(*arguments: object) -> None:
        if behind:
            real(*arguments)
        die()

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(erase, step, dies)
        forget(settings, ["victim~1"])
    assert was_interrupted(settings)
    forget(settings, ["victim~1"])
    assert left_of(settings, "victim~1") == {}
    assert not was_interrupted(settings)
    assert users(settings) == {"other"}


@pytest.mark.parametrize("table", ["events", "labels", "users", "quarantine"])
@pytest.mark.parametrize("call", ["delete", "drop_history"])
def test_an_erasure_killed_between_tables_is_finished_by_the_next(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, call: str, table: str
) -> None:
    fill(settings)
    real = getattr(Lake, call)

    def dies(lake: Lake, name: str, *more: object) -> None:
        real(lake, name, *more)
        if name == table:
            die()

    with monkeypatch.context() as patch:
        patch.setattr(Lake, call, dies)
        if (call, table) != ("delete", "quarantine"):
            with pytest.raises(KeyboardInterrupt):
                forget(settings, ["victim~1"])
    forget(settings, ["victim~1"])
    assert left_of(settings, "victim~1") == {}
    assert not was_interrupted(settings)


def erase_in_a_child(last: int) -> subprocess.CompletedProcess[str]:
    return command_server().python(CHILD, str(last))


@pytest.mark.parametrize("part", range(8))
def test_an_erasure_killed_while_changing_a_file(settings: Settings, part: int) -> None:
    """At some of the two dozen changes, and the next run at another."""
    fill(settings)
    for last in (1 + 3 * part, 3 + 2 * part):
        assert erase_in_a_child(last).returncode in {-signal.SIGKILL, 0}
    done = erase_in_a_child(0)
    assert done.returncode == 0, done.stderr
    assert left_of(settings, "victim~1") == {}
    assert not was_interrupted(settings)
    assert users(settings) == {"other"}
