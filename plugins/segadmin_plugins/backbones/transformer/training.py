"""Fitting a :class:`UserModel`: first the head of the features, then the whole model with transformers' Trainer."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from hashlib import blake2s
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from transformers import EarlyStoppingCallback, PrinterCallback

from segadmin.errors import DataError
from segadmin.evaluation.metrics import log_loss
from segadmin_plugins.backbones.numbers import balanced_odds, softmax
from segadmin_plugins.backbones.transformer.batch_size import with_fitting_batches
from segadmin_plugins.backbones.transformer.batches import PadCollator, UserDataset, pack
from segadmin_plugins.backbones.transformer.callbacks import DivergenceCallback, Reporter, TunerCallback
from segadmin_plugins.backbones.transformer.checkpoints import checkpoints_of, last_checkpoint, step_of
from segadmin_plugins.backbones.transformer.distributed import main_first, on_one_gpu, size
from segadmin_plugins.backbones.transformer.frozen_states import keep_states
from segadmin_plugins.backbones.transformer.gradient_checkpointing import gradient_checkpointing, uses_checkpointing
from segadmin_plugins.backbones.transformer.head import UserModel
from segadmin_plugins.backbones.transformer.starting_point import StartingPoint
from segadmin_plugins.backbones.transformer.trainer import (
    HEAD_DECAY,
    UserTrainer,
    arguments_of,
    metrics_of,
    optimizer_of,
)
from segadmin_plugins.engines.packed_text import packed_like

if TYPE_CHECKING:
    from segadmin.contracts.backbone import FitContext
    from segadmin.contracts.tuner import Tuner
    from segadmin_plugins.backbones.transformer.options import TrainingOptions

HEAD_BATCH = 256
#: Texts on which packed and padded reading are compared.
_PROBE = 8


def pretrain_head(
    model: UserModel,
    train: UserDataset,
    validation: UserDataset,
    run: FitContext,
    *,
    steps: int,
    balanced: bool = False,
) -> None:
    """Fit the features' head alone, in about a second, so that the slow model needs fewer epochs.

    Kept are the weights with the lowest log-loss on ``validation``, which may be those that it began with.
    """
    head, held_out = model.features, validation if len(validation) else train
    if head is None:
        return
    own = train.labels if train.labels.ndim == 1 else train.labels[:, 0]
    x, y = torch.tensor(train.features[own >= 0]), torch.tensor(own[own >= 0])
    odds = torch.tensor(balanced_odds(own[own >= 0]))
    segments = model.tasks[0] if model.tasks else head.linear.out_features
    truth = held_out.labels if held_out.labels.ndim == 1 else held_out.labels[:, 0]
    held_out_features, truth = torch.tensor(held_out.features[truth >= 0]), truth[truth >= 0]
    optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=HEAD_DECAY)

    def loss_now() -> float:
        with torch.inference_mode():
            return log_loss(softmax(head.eval()(held_out_features)[:, :segments].numpy()), truth)

    best, best_loss = copy.deepcopy(head.state_dict()), loss_now()
    for step in range(1, steps + 1):
        chosen = torch.randint(0, len(x), (HEAD_BATCH,))
        if balanced:
            chosen = torch.multinomial(odds, HEAD_BATCH, replacement=True)
        logits = head.train()(x[chosen])[:, :segments]
        loss = nn.functional.cross_entropy(logits, y[chosen], weight=model.loss.weights)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 20 == 0:
            validation_loss = loss_now()
            if validation_loss < best_loss:
                best, best_loss = copy.deepcopy(head.state_dict()), validation_loss
            run.progress(0.02, f"features alone: validation log-loss {best_loss:.4f}")
    head.load_state_dict(best)


def train_model(
    model: UserModel,
    train: UserDataset,
    validation: UserDataset,
    options: TrainingOptions,
    run: FitContext,
    *,
    tuner: Tuner,
    base: Any = None,
) -> dict[str, Any]:
    """Train ``model`` in place, keep the weights that were best on ``validation``, and return a report.

    Checkpoints hold only the trainable weights; ``base`` identifies the others.
    """
    with main_first():
        folder = checkpoints_of(train.ids, [base, *_digests(train)], options, run)
        resume = last_checkpoint(folder)
    trained = sum(weights.numel() for weights in model.parameters() if weights.requires_grad)
    if resume is None:
        pretrain_head(model, train, validation, run, steps=options.head_steps, balanced=options.balanced)
    started = time.monotonic()
    _prepare_reading(model, train, validation, options, run)
    fit = _Fit(model, train, validation, options, run, tuner, folder)
    checkpointing = uses_checkpointing(model, model.text, train.ids, options)
    with gradient_checkpointing(model.text, on=checkpointing):
        if size() > 1:  # no retry here: all processes must restart together, see launch
            trainer, rows = fit.attempt(options), options.batch_size
        else:
            trainer, rows = with_fitting_batches(options, fit.attempt, run, model=model)
    kept_start = fit.restore_start(trainer)
    if not kept_start and trainer.first_not_finite() is not None:
        _check_best_exists(trainer, options)
    report = _report(trainer, options, resume, time.monotonic() - started)
    if fit.start is not None:
        report |= {"start_log_loss": round(fit.start.log_loss, 5), "kept_start": kept_start}
    report |= {"trained_weights": trained, "weights": sum(weights.numel() for weights in model.parameters())}
    report |= {"packed": model.packed is not None, "gradient_checkpointing": checkpointing}
    report |= {"batch_size_asked": options.batch_size} if rows < options.batch_size else {}
    model.packed, train.states, validation.states = None, None, None
    trainer.accelerator.free_memory()
    return report


def _digests(rows: UserDataset) -> list[str]:
    """Return the digests of the features and labels that are trained on."""
    return [blake2s(np.ascontiguousarray(array).tobytes()).hexdigest() for array in (rows.features, rows.labels)]


def _prepare_reading(
    model: UserModel, train: UserDataset, validation: UserDataset, options: TrainingOptions, run: FitContext
) -> None:
    """Move ``model`` to its device; let it read packed texts if it can, and keep what frozen layers compute."""
    # The Trainer would move it later, but the frozen layers are computed before.
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    sample = train.ids.take(np.arange(min(len(train), _PROBE)))
    model.packed = packed_like(model.text, model.text.config.pad_token_id, sample)
    if not options.phrase_dropout:
        keep_states(model, (train, validation), run)


@dataclass
class _Fit:
    """What the attempts of a fit share: what is trained, on what, and where its checkpoints are."""

    model: UserModel
    train: UserDataset
    validation: UserDataset
    options: TrainingOptions
    run: FitContext
    tuner: Tuner
    folder: Path
    start: StartingPoint | None = None  #: what an update began with, as the first attempt measures it

    def attempt(self, options: TrainingOptions) -> UserTrainer:
        """Train, from the last checkpoint on, with the batches of ``options``."""
        trainer = self._trainer(options)
        if self.run.update and len(self.validation) and self.start is None:
            self.start = StartingPoint.of(trainer, self.folder, self.model.loaded)
        trainer.train(resume_from_checkpoint=last_checkpoint(self.folder))
        return trainer

    def _trainer(self, options: TrainingOptions) -> UserTrainer:
        model, validates = self.model, bool(len(self.validation))
        trainer = UserTrainer(
            model=model,
            args=on_one_gpu(arguments_of(self.folder, self.train, validates, options, self.run)),
            data_collator=pack if model.packed else PadCollator(model.text.config.pad_token_id),
            train_dataset=self.train,
            eval_dataset=self.validation if validates else None,
            compute_metrics=metrics_of,
            optimizers=(optimizer_of(model, options), None),
            callbacks=[Reporter(self.run, options, self.options.batch_size), TunerCallback(self.tuner, model)],
        )
        trainer.add_callback(DivergenceCallback(trainer.first_not_finite))
        trainer.balanced, trainer.loaded = options.balanced, model.loaded
        trainer.remove_callback(PrinterCallback)
        if validates:
            trainer.add_callback(EarlyStoppingCallback(options.patience))
        return trainer

    def restore_start(self, trainer: UserTrainer) -> bool:
        """Restore what an update began with, unless training reached better weights; return whether it was restored."""
        if self.start is None or (trainer.state.best_metric or math.inf) < self.start.log_loss:
            return False
        self.start.restore(self.model)
        return True


def _report(trainer: UserTrainer, options: TrainingOptions, resume: str | None, seconds: float) -> dict[str, Any]:
    """Return the report of a training."""
    state = trainer.state
    read = (state.global_step - step_of(resume)) * options.batch_size * options.accumulate
    return {
        "epochs": round(state.epoch or 0.0, 2),
        "steps": state.global_step,
        "resumed_at_step": step_of(resume),
        "best_step": state.best_global_step or state.global_step,
        "seconds": round(seconds, 1),
        "users_per_second": round(read / max(seconds, 1e-9), 1),
        "batch_size": trainer.args.per_device_train_batch_size * size(),
        "processes": size(),
        "diverged_at_step": trainer.first_not_finite(),
        "validation": [
            {"step": e["step"], "log_loss": round(e["eval_log_loss"], 5), "auroc": round(e["eval_auroc"], 5)}
            for e in state.log_history
            if "eval_log_loss" in e
        ],
    }


def _check_best_exists(trainer: UserTrainer, options: TrainingOptions) -> None:
    """Check that there is a best checkpoint to return to.

    Raises:
        DataError: there is none.
    """
    if trainer.state.best_global_step is None:
        raise DataError(
            f"The loss is not finite at step {trainer.first_not_finite()}, before anything was learnt. Learn more "
            f"slowly: --backbone-option learning_rate={options.learning_rate / 10:g}"
        )
