from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from segadmin.contracts.backbone import Examples, FitContext, no_progress
from segadmin.errors import ConfigurationError, StepFenced
from segadmin.settings import Settings
from segadmin.testing.backbones import planted
from segadmin_plugins.backbones.tiny import Tiny

TINY = Tiny(max_tokens=16, epochs=4, batch_size=16, width=64, learning_rate=2e-3, patience=10, processes=2)
TRAIN, VALIDATION, TEST = planted(128), planted(48, seed=1), planted(40, seed=2)


def _run(folder: Path, progress: Callable[[float, str], None] = no_progress, plugin: str = "") -> FitContext:
    settings = Settings(home=folder / "home")
    if plugin:
        (folder / "plugin.py").write_text(plugin)
        settings = settings.model_copy(update={"plugin_files": (folder / "plugin.py",)})
    return FitContext(settings, folder, 17, progress)


def _left(folder: Path) -> list[str]:
    """Return the commands of processes that work on ``folder``."""
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands.append(path.read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return [command for command in commands if str(folder) in command]


def test_two_processes_share_every_batch(tmp_path: Path) -> None:
    said: list[tuple[float, str]] = []
    logged: list[tuple[int, str]] = []
    other = Examples(
        TRAIN.frame.with_columns(target=(pl.col("target") > 0).cast(pl.Int64)), ("no", "yes"), TRAIN.feature_names
    )
    run = replace(
        _run(tmp_path, lambda fraction, note: said.append((fraction, note))),
        also={"other": other},
        log=lambda step, figures: logged.extend((step, name) for name in figures),
    )
    fitted = TINY.fit(TRAIN, VALIDATION, run)
    assert (fitted.report["processes"], fitted.report["batch_size"], fitted.report["steps"]) == (2, 16, 32)
    validated = [step for step, name in logged if name == "validation_log_loss"]
    assert validated == [one["step"] for one in fitted.report["validation"]] == list(range(4, 33, 4))
    assert [step for step, name in logged if name == "training_loss"] == list(range(1, 33)), (
        "once, by the first process"
    )
    found = fitted.predict(TEST)
    assert (found.argmax(axis=1) == TEST.targets).mean() > 0.9
    fitted.save(tmp_path / "saved")
    np.testing.assert_allclose(TINY.load(tmp_path / "saved").predict(TEST), found, atol=1e-5)
    assert said[-1][0] == 1.0
    assert any("epoch 4 of 4" in note for _, note in said)
    assert not (tmp_path / "processes").exists()


def test_what_fails_in_a_process_fails_here(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="frozen_layers=3, but the model has 2 layers"):
        replace(TINY, frozen_layers=3).fit(TRAIN, VALIDATION, _run(tmp_path))


BROKEN = """
import os, segadmin
class Broken(segadmin.Tuner):
    name = "broken"
    def adapt(self, model, run):
        return model
    def after_step(self, model, step):
        if step == 3 and os.environ["RANK"] == "1":
            raise RuntimeError("a fault, said the second")
@segadmin.hookimpl
def register_tuners():
    return [Broken]
"""


def test_when_one_process_fails_the_others_do_not_wait_for_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"It said last:(?s:.*)a fault, said the second"):
        replace(TINY, tuner="broken").fit(TRAIN, VALIDATION, _run(tmp_path, plugin=BROKEN))
    assert not _left(tmp_path)


def test_a_lost_step_ends_all_processes(tmp_path: Path) -> None:
    def progress(fraction: float, _note: str) -> None:
        if fraction > 0.05:
            assert len(_left(tmp_path)) >= 3
            raise StepFenced("attempt 1 of step 1 no longer owns it")

    with pytest.raises(StepFenced):
        replace(TINY, epochs=500).fit(TRAIN, VALIDATION, _run(tmp_path, progress))
    ends = time.monotonic() + 10
    while _left(tmp_path) and time.monotonic() < ends:
        time.sleep(0.2)
    assert not _left(tmp_path)


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.unit.backbones import test_launch as here

def progress(fraction, note):
    if note.startswith("epoch 3"):
        os.kill(os.getpid(), signal.SIGKILL)

folder = Path(sys.argv[1])
here.TINY.fit(here.TRAIN, here.VALIDATION, here._run(folder, progress))
"""


def test_processes_end_when_who_asked_is_killed_and_others_go_on_from_there(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    ends = time.monotonic() + 30
    while _left(tmp_path) and time.monotonic() < ends:
        time.sleep(0.2)
    assert not _left(tmp_path)
    report = TINY.fit(TRAIN, VALIDATION, _run(tmp_path)).report
    assert report["resumed_at_step"] >= 12, "two of the four epochs of eight steps were done"
    assert report["steps"] == 32


def test_a_batch_that_cannot_be_shared(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"batch_size=16 cannot be shared by 3 .* batch_size=18"):
        replace(TINY, processes=3).fit(TRAIN, VALIDATION, _run(tmp_path))
