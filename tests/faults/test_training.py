"""Fine-tuning that is killed goes on from its last checkpoint."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from segadmin.contracts.backbone import FitContext
from segadmin.settings import Settings
from segadmin.testing.backbones import planted
from segadmin_plugins.backbones.tiny import Tiny
from segadmin_plugins.backbones.transformer.trainer import EVALUATIONS_PER_EPOCH

pytestmark = pytest.mark.faults

TRAIN, VALIDATION = planted(256), planted(48, seed=1)
TINY = Tiny(max_tokens=16, epochs=4, batch_size=16, width=64, learning_rate=2e-3, patience=10)
STEPS = 4 * 256 // 16
#: A checkpoint is saved with every evaluation.
INTERVAL = 256 // 16 // EVALUATIONS_PER_EPOCH


def fit(folder: Path, kill_at: float = 2.0) -> dict[str, object]:
    """Fit in ``folder``; at a progress of ``kill_at``, die as when memory is out."""

    def progress(fraction: float, _note: str = "") -> None:
        if fraction > kill_at:
            (folder / "died").write_text(str(fraction))
            os.kill(os.getpid(), signal.SIGKILL)

    return TINY.fit(TRAIN, VALIDATION, FitContext(Settings(home=folder), folder, 17, progress)).report


@pytest.mark.parametrize("kill_at", [0.3, 0.66])
def test_a_killed_training_loses_at_most_one_interval(tmp_path: Path, kill_at: float) -> None:
    code = (
        f"from tests.faults.test_training import fit; from pathlib import Path; fit(Path({str(tmp_path)!r}), {kill_at})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False, timeout=200)
    assert done.returncode == -signal.SIGKILL
    died_at = (float((tmp_path / "died").read_text()) - 0.05) / 0.95 * STEPS
    checkpoints = tmp_path / "trainer"
    newest = max(checkpoints.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    torn = shutil.copytree(newest, checkpoints / f"checkpoint-{STEPS}")  # and a later one was being written
    (torn / "trainer_state.json").unlink()
    report = fit(tmp_path)
    assert report["steps"] == STEPS
    resumed_at = report["resumed_at_step"]
    assert isinstance(resumed_at, int)
    assert died_at - resumed_at <= INTERVAL + 1e-6
    assert resumed_at > 0
