"""The checkpoints of a fit: which belong to it, and which are complete."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from hashlib import blake2s
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segadmin.ragged import Ragged

if TYPE_CHECKING:
    from segadmin.contracts.backbone import FitContext
    from segadmin_plugins.backbones.transformer.options import TrainingOptions


def checkpoints_of(texts: Ragged, more: Any, options: TrainingOptions, run: FitContext) -> Path:
    """Return the folder of this fit's checkpoints, emptied if it holds those of another fit.

    A fit is identified by its options, seed and start, the token ids of the texts, and ``more``.
    """
    facts = {"options": asdict(options), "backbone": options.name, "seed": run.seed, "start": run.start, "more": more}
    digest = blake2s(json.dumps(facts, sort_keys=True, default=str).encode())
    for array in (texts.values, texts.offsets):
        digest.update(np.ascontiguousarray(array).tobytes())
    folder, mark = run.checkpoints / "trainer", run.checkpoints / "fit"
    if not mark.exists() or mark.read_text() != digest.hexdigest():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        mark.write_text(digest.hexdigest())
    return folder


def last_checkpoint(folder: Path) -> str | None:
    """Return the newest complete checkpoint; incomplete ones of killed processes are removed.

    The trainer writes its state last, so a checkpoint with a state is complete.
    """
    for path in sorted(folder.glob("checkpoint-*"), key=lambda checkpoint: step_of(str(checkpoint)), reverse=True):
        try:
            json.loads((path / "trainer_state.json").read_text())
            return str(path)
        except (OSError, ValueError):
            shutil.rmtree(path, ignore_errors=True)
    return None


def step_of(checkpoint: str | None) -> int:
    """Return the step that a checkpoint is of; 0 for none."""
    return int(Path(checkpoint).name.rpartition("-")[2]) if checkpoint else 0
