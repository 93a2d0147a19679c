"""The weights that an update starts from, to return to if training finds none that are better on validation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

from segadmin_plugins.backbones.transformer.disk_errors import disk_errors
from segadmin_plugins.backbones.transformer.distributed import main_first
from segadmin_plugins.backbones.transformer.learned_weights import learned_state, load_learned


@dataclass(frozen=True)
class StartingPoint:
    """Trainable weights in a file, and their log-loss on the validation rows."""

    file: Path
    log_loss: float
    loaded: frozenset[int]  #: parameters of the model that are not in the file, see ``learned_state``

    @classmethod
    def of(cls, trainer: Any, folder: Path, loaded: frozenset[int]) -> StartingPoint:
        """Measure and keep the weights of the model of ``trainer``, before it is trained."""
        file = folder / "start.safetensors"
        with main_first():
            if trainer.args.should_save:
                state = learned_state(trainer.model, loaded)
                with disk_errors(folder):
                    save_file({name: weights.contiguous() for name, weights in state.items()}, file)
        return cls(file, float(trainer.evaluate()["eval_log_loss"]), loaded)

    def restore(self, model: nn.Module) -> None:
        """Load the weights into ``model``."""
        load_learned(model, load_file(self.file), self.loaded)
