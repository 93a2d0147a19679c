from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from segadmin.contracts.backbone import Examples, FitContext, no_log, no_progress
from segadmin.errors import ConfigurationError, StepFenced
from segadmin.settings import Settings
from segadmin.testing.backbones import planted
from segadmin_plugins.backbones.tiny import Tiny
from segadmin_plugins.backbones.transformer.classifier import TransformerClassifier
from segadmin_plugins.backbones.transformer.distributed import on_one_gpu
from segadmin_plugins.backbones.transformer.launch import _failure
from tests.commands import CommandServer

TINY = Tiny(max_tokens=16, epochs=4, batch_size=16, width=64, learning_rate=2e-3, patience=10, processes=2)
TRAIN, VALIDATION, TEST = planted(128), planted(48, seed=1), planted(40, seed=2)


def _run(folder: Path, progress: Callable[[float, str], None] = no_progress, plugin: str = "") -> FitContext:
    settings = Settings(home=folder / "home")
    if plugin:
        (folder / "plugin.py").write_text(plugin)
        settings = settings.model_copy(update={"plugin_files": (folder / "plugin.py",)})
    return FitContext(settings, folder, 17, progress)


def processes_of(folder: Path) -> list[str]:
    """Return the commands of processes that work on ``folder``."""
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands.append(path.read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return [command for command in commands if str(folder) in command]


def _left_after(folder: Path, seconds: float = 30) -> list[str]:
    """Return which processes that work on ``folder`` do not end in time."""
    ends = time.monotonic() + seconds
    while (left := processes_of(folder)) and time.monotonic() < ends:
        time.sleep(0.2)
    return left


#: Fits in two processes, and is killed in the third of four epochs.
KILLED = """
import os, signal, sys
from pathlib import Path
from tests.unit.backbones import test_launch as here

def progress(fraction, note):
    if note.startswith("epoch 3"):
        os.kill(os.getpid(), signal.SIGKILL)

here.fit(Path(sys.argv[1]), progress)
"""


@dataclass
class ResumedFit:
    """A fit in two processes that resumed where another one had been killed."""

    folder: Path
    fitted: TransformerClassifier
    killed: int  #: how the first one ended
    left: list[str]  #: processes that outlived it
    progress: list[tuple[float, str]]
    logged: list[tuple[int, str]]


def fit(
    folder: Path, progress: Callable[[float, str], None], log: Callable[[int, Mapping[str, float]], None] = no_log
) -> TransformerClassifier:
    """Fit in two processes, with another label set beside."""
    target = (pl.col("target") > 0).cast(pl.Int64)
    other = Examples(TRAIN.frame.with_columns(target=target), ("no", "yes"), TRAIN.feature_names)
    return TINY.fit(TRAIN, VALIDATION, replace(_run(folder, progress), also={"other": other}, log=log))


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory, commands: CommandServer) -> ResumedFit:
    """Kill who asked for a fit, wait for its processes, and ask for it again: each start takes seconds."""
    folder = tmp_path_factory.mktemp("launch")
    killed = commands.python(KILLED, str(folder)).returncode
    left = _left_after(folder)
    progress: list[tuple[float, str]] = []
    logged: list[tuple[int, str]] = []
    fitted = fit(
        folder,
        lambda fraction, note: progress.append((fraction, note)),
        lambda step, figures: logged.extend((step, name) for name in figures),
    )
    return ResumedFit(folder, fitted, killed, left, progress, logged)


@pytest.mark.slow
def test_processes_end_with_their_parent_and_a_new_fit_resumes(resumed: ResumedFit) -> None:
    assert resumed.killed == -signal.SIGKILL
    assert not resumed.left
    report = resumed.fitted.report
    assert report["resumed_at_step"] >= 12, "two of the four epochs of eight steps were done"
    assert report["steps"] == 32


@pytest.mark.slow
def test_two_processes_share_every_batch(resumed: ResumedFit, tmp_path: Path) -> None:
    fitted, begun = resumed.fitted, resumed.fitted.report["resumed_at_step"]
    assert (fitted.report["processes"], fitted.report["batch_size"], fitted.report["steps"]) == (2, 16, 32)
    assert [evaluation["step"] for evaluation in fitted.report["validation"]] == list(range(4, 33, 4))
    validated = [step for step, name in resumed.logged if name == "validation_log_loss"]
    assert validated == list(range(begun + 4, 33, 4))
    learnt = [step for step, name in resumed.logged if name == "training_loss"]
    assert learnt == list(range(begun + 1, 33)), "once, by the first process"
    probabilities = fitted.predict(TEST)
    assert (probabilities.argmax(axis=1) == TEST.targets).mean() > 0.9
    fitted.save(tmp_path / "saved")
    np.testing.assert_allclose(
        TINY.load(tmp_path / "saved", _run(tmp_path).settings).predict(TEST), probabilities, atol=1e-5
    )
    assert resumed.progress[-1][0] == 1.0
    assert any("epoch 4 of 4" in note for _, note in resumed.progress)
    assert not (resumed.folder / "processes").exists()


def test_own_errors_keep_their_type_and_others_their_last_lines(tmp_path: Path) -> None:
    def failed(kind: str, message: str) -> Exception:
        failure = {"kind": kind, "message": message, "traceback": f"File x\n{kind}: {message}"}
        (tmp_path / "failed-1.json").write_text(json.dumps(failure))
        return _failure(tmp_path)

    (tmp_path / "stderr").write_text("Killed")
    assert "It said last:\nKilled" in str(_failure(tmp_path)), "one that was killed wrote nothing down"
    ours, other = failed("ConfigurationError", "frozen_layers=3"), failed("ZeroDivisionError", "by zero")
    assert (type(ours), str(ours)) == (ConfigurationError, "frozen_layers=3")
    assert type(other) is RuntimeError
    assert str(other).endswith("It said last:\nFile x\nZeroDivisionError: by zero")


BROKEN = """
import os, segadmin
class Broken(segadmin.Tuner):
    name = "broken"
    def adapt(self, model, run):
        return model
    def after_step(self, model, step):
        if step == 3 and os.environ["RANK"] == "1":
            raise RuntimeError("a fault of the second process")
@segadmin.hookimpl
def register_tuners():
    return [Broken]
"""


@pytest.mark.slow
def test_when_one_process_fails_the_others_do_not_wait_for_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"It said last:(?s:.*)a fault of the second process"):
        replace(TINY, tuner="broken").fit(TRAIN, VALIDATION, _run(tmp_path, plugin=BROKEN))
    assert not _left_after(tmp_path)


@pytest.mark.slow
def test_a_lost_step_ends_all_processes(tmp_path: Path) -> None:
    def progress(fraction: float, _note: str) -> None:
        if fraction > 0.05:
            assert len(processes_of(tmp_path)) >= 3
            raise StepFenced("attempt 1 of step 1 no longer owns it")

    with pytest.raises(StepFenced):
        replace(TINY, epochs=500).fit(TRAIN, VALIDATION, _run(tmp_path, progress))
    assert not _left_after(tmp_path)


def test_a_batch_that_cannot_be_shared(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"batch_size=16 cannot be shared by 3 .* batch_size=18"):
        replace(TINY, processes=3).fit(TRAIN, VALIDATION, _run(tmp_path))


def test_a_process_that_sees_several_gpus_uses_one(tmp_path: Path) -> None:
    from transformers import TrainingArguments

    for seen, used in ((4, 1), (1, 1), (0, 0)):
        arguments = TrainingArguments(output_dir=str(tmp_path), per_device_train_batch_size=8, use_cpu=True)
        arguments.n_gpu  # noqa: B018 - transformers counts them at first use
        arguments._n_gpu = seen
        assert arguments.train_batch_size == 8 * max(seen, 1)
        assert on_one_gpu(arguments).n_gpu == used
        assert arguments.train_batch_size == 8
