"""Callbacks of transformers' Trainer: progress, checkpoints by time, and the tuner."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from segadmin_plugins.backbones.transformer.distributed import size

if TYPE_CHECKING:
    from segadmin.contracts.backbone import FitContext
    from segadmin.contracts.tuner import Tuner
    from segadmin_plugins.backbones.transformer.head import UserModel
    from segadmin_plugins.backbones.transformer.options import TrainingOptions

CHECKPOINT_SECONDS = 120.0
PROGRESS_SECONDS = 1.0


class TunerCallback(TrainerCallback):  # type: ignore[misc]
    """Calls the tuner after each step, while the gradients still exist."""

    def __init__(self, tuner: Tuner, model: UserModel) -> None:
        self._tuner, self._model = tuner, model

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Call the tuner."""
        self._tuner.after_step(self._model.text, state.global_step)


class DivergenceCallback(TrainerCallback):  # type: ignore[misc]
    """Ends the training after a loss that is not finite.

    That waits for the GPU, so it is looked up only where the loss is logged, and before weights are evaluated or saved.
    """

    def __init__(self, first_not_finite: Callable[[], int | None]) -> None:
        self._first_not_finite = first_not_finite

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """End the training if the loss of this step or an earlier one was not finite."""
        looks = control.should_log or control.should_evaluate or control.should_save or control.should_training_stop
        if looks and self._first_not_finite() is not None:
            control.should_training_stop = True
            control.should_log = control.should_evaluate = control.should_save = False


class Reporter(TrainerCallback):  # type: ignore[misc]
    """Reports progress, which may stop the training, and requests a checkpoint when the last one is old."""

    def __init__(self, run: FitContext, options: TrainingOptions, requested_batch: int | None = None) -> None:
        self._run, self._options, self._requested_batch = run, options, requested_batch or options.batch_size
        self._reported, self._saved = 0.0, time.monotonic()
        self._start: tuple[float, int] | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Report progress, about once a second."""
        now = time.monotonic()
        self._start = self._start or (now, state.global_step)
        if size() == 1 and now - self._saved > CHECKPOINT_SECONDS:  # several processes have no common clock
            control.should_save = True
        if now - self._reported >= PROGRESS_SECONDS:
            self._reported = now
            self._run.progress(self._fraction(state), f"{self._where(state)}, {self._speed(state, now)}")

    def on_prediction_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Report that it validates."""
        if time.monotonic() - self._reported >= PROGRESS_SECONDS:
            self._reported = time.monotonic()
            self._run.progress(self._fraction(state), f"{self._where(state)}, validating")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Log the training loss; it is weighted as in training, so it is not a log-loss."""
        if "loss" in (logs or {}):
            self._run.log(state.global_step, {"training_loss": logs["loss"]})

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any) -> None:
        """Report and log the validation metrics."""
        validation_loss = (metrics or {}).get("eval_log_loss", math.nan)
        scores = {name: (metrics or {}).get(f"eval_{name}", math.nan) for name in ("log_loss", "auroc")}
        self._run.log(state.global_step, {f"validation_{name}": value for name, value in scores.items()})
        self._run.progress(self._fraction(state), f"{self._where(state)}, validation log-loss {validation_loss:.4f}")

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Remember the time of the checkpoint."""
        self._saved = time.monotonic()

    def _fraction(self, state: Any) -> float:
        done: float = state.global_step / max(state.max_steps, 1)
        return 0.05 + 0.95 * done

    def _where(self, state: Any) -> str:
        where = f"epoch {min(int(state.epoch or 0) + 1, self._options.epochs)} of {self._options.epochs}"
        rows = self._options.batch_size
        return (
            where
            if rows == self._requested_batch
            else f"{where}, batches of {rows}: {self._requested_batch} do not fit in memory"
        )

    def _speed(self, state: Any, now: float) -> str:
        assert self._start is not None
        started, first = self._start
        done = (state.global_step - first) * self._options.batch_size
        return f"{done / max(now - started, 1e-9):.0f} users/s"
