from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import pytest

from segadmin.settings import Settings
from tests.stores import empty_store

#: Gets the message of a step that is not there; the GPU of the process does not answer if there is an argument.
GETS_A_MESSAGE = """
import sys
from types import SimpleNamespace

import torch

from segadmin_worker.tasks import _run


def synchronize():
    raise torch.AcceleratorError("CUDA error: unspecified launch failure")


if len(sys.argv) > 1:
    torch.cuda.is_initialized, torch.cuda.synchronize = lambda: True, synchronize
_run(SimpleNamespace(name="segadmin.score", request=SimpleNamespace(hostname="me")), 1)
"""


class Kept:
    def __init__(self) -> None:
        self.itself = self


def test_frozen_objects_are_collected_periodically(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from segadmin_worker import tasks

    garbage = tasks._Garbage()
    kept = Kept()
    seen = weakref.ref(kept)
    garbage.freeze()
    del kept
    garbage.freeze()
    gc.collect()
    assert seen() is not None
    monkeypatch.setattr(tasks, "_FULL_COLLECTION_SECONDS", -1.0)
    garbage.freeze()
    assert seen() is None


@pytest.mark.parametrize(("arguments", "exit_code"), [([], 0), (["gone"], 69)])
def test_a_process_whose_gpu_failed_ends(settings: Settings, arguments: list[str], exit_code: int) -> None:
    empty_store(settings)
    ended = subprocess.run(
        [sys.executable, "-c", GETS_A_MESSAGE, *arguments], capture_output=True, text=True, check=False
    )
    assert ended.returncode == exit_code, ended.stderr
    assert ("the GPU does not answer; this process ends" in ended.stderr) == bool(exit_code)
