"""Fitting a :class:`UserModel`: the features' head first, then all of it with the Trainer of transformers."""

from __future__ import annotations

import json
import math
import shutil
import time
from dataclasses import asdict
from hashlib import blake2s
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from segadmin_plugins.backbones.numbers import auroc, log_loss, softmax
from segadmin_plugins.backbones.transformer.batches import Pad, Rows
from segadmin_plugins.backbones.transformer.head import UserModel

if TYPE_CHECKING:
    from segadmin.learn.backbone import Fit
    from segadmin_plugins.backbones.transformer.base import Transformer

#: New weights start from nothing, so they learn this many times faster than pretrained ones.
HEAD_SPEED = 20.0
EVALUATIONS_PER_EPOCH = 2
CHECKPOINT_SECONDS = 120.0
WARM_START_STEPS = 300


def bf16_is_faster() -> bool:
    """Return whether this machine computes bfloat16 faster than float32: newer GPUs, and CPUs with AMX."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def warm_start(model: UserModel, train: Rows, validation: Rows, run: Fit) -> None:
    """Fit the features' head alone, all rows at once: seconds that save the slow model epochs."""
    head = model.features
    if head is None or train.targets is None:
        return
    x, y = torch.from_numpy(train.features), torch.from_numpy(train.targets)
    held_out = validation if len(validation) else train
    assert held_out.targets is not None
    optimizer = torch.optim.AdamW(head.parameters(), lr=5e-3, weight_decay=0.05)
    best, best_loss = {name: one.clone() for name, one in head.state_dict().items()}, math.inf
    for step in range(WARM_START_STEPS):
        head.train()
        loss = nn.functional.cross_entropy(head(x), y, weight=model.weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 9:
            head.eval()
            with torch.inference_mode():
                found = log_loss(softmax(head(torch.from_numpy(held_out.features)).numpy()), held_out.targets)
            if found < best_loss:
                best, best_loss = {name: one.clone() for name, one in head.state_dict().items()}, found
            run.progress(0.02, f"features alone: validation log-loss {best_loss:.4f}")
    head.load_state_dict(best)


def train_model(
    model: UserModel, train: Rows, validation: Rows, options: Transformer, run: Fit, pad_id: int
) -> dict[str, Any]:
    """Train ``model`` in place, leaving it with the weights that were best on ``validation``; return a report."""
    folder = _checkpoints_of(train, options, run)
    resume = get_last_checkpoint(str(folder))
    if resume is None:
        warm_start(model, train, validation, run)
    started = time.monotonic()
    trainer = Trainer(
        model=model,
        args=_arguments(folder, len(train), bool(len(validation)), options, run),
        data_collator=Pad(pad_id),
        train_dataset=train,
        eval_dataset=validation if len(validation) else None,
        compute_metrics=_metrics,
        optimizers=(_optimizer(model, options), None),
        callbacks=[_Reporter(run, options)],
    )
    trainer.remove_callback(PrinterCallback)
    if len(validation):
        trainer.add_callback(EarlyStoppingCallback(options.patience))
    trainer.train(resume_from_checkpoint=resume)
    seconds = time.monotonic() - started
    state = trainer.state
    first_step = int(Path(resume).name.rpartition("-")[2]) if resume else 0
    evaluations = [entry for entry in state.log_history if "eval_log_loss" in entry]
    report = {
        "epochs": round(state.epoch or 0.0, 2),
        "steps": state.global_step,
        "resumed_at_step": first_step,
        "best_step": state.best_global_step or state.global_step,
        "seconds": round(seconds, 1),
        "users_per_second": round((state.global_step - first_step) * options.batch_size / max(seconds, 1e-9), 1),
        "trained_weights": sum(one.numel() for one in model.parameters() if one.requires_grad),
        "validation": [
            {"step": e["step"], "log_loss": round(e["eval_log_loss"], 5), "auroc": round(e["eval_auroc"], 5)}
            for e in evaluations
        ],
    }
    trainer.accelerator.free_memory()
    return report


def _arguments(folder: Path, rows: int, evaluate: bool, options: Transformer, run: Fit) -> TrainingArguments:
    steps_per_epoch = math.ceil(rows / options.batch_size)
    every = max(1, math.ceil(steps_per_epoch / EVALUATIONS_PER_EPOCH))
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=options.batch_size * 2,
        learning_rate=options.learning_rate,
        warmup_steps=options.warmup,
        train_sampling_strategy="group_by_length",
        eval_strategy="steps" if evaluate else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=evaluate,
        metric_for_best_model="log_loss" if evaluate else None,
        greater_is_better=False if evaluate else None,
        restore_callback_states_from_checkpoint=True,
        bf16=bf16_is_faster(),
        seed=run.seed,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=torch.cuda.is_available(),
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


def _optimizer(model: UserModel, options: Transformer) -> torch.optim.Optimizer:
    """Return AdamW with a higher rate for the new weights, and no decay of biases and norms."""
    pretrained = {id(one) for one in model.text.base_model.parameters()}
    groups = []
    for is_new in (False, True):
        for decays in (True, False):
            members = [
                one
                for one in model.parameters()
                if one.requires_grad and (id(one) not in pretrained) == is_new and (one.ndim > 1) == decays
            ]
            rate = options.learning_rate * (HEAD_SPEED if is_new else 1.0)
            groups.append({"params": members, "lr": rate, "weight_decay": options.weight_decay if decays else 0.0})
    return torch.optim.AdamW([group for group in groups if group["params"]], fused=True)


def _metrics(found: Any) -> dict[str, float]:
    logits = found.predictions[0] if isinstance(found.predictions, tuple) else found.predictions
    probabilities = softmax(logits)
    return {"log_loss": log_loss(probabilities, found.label_ids), "auroc": auroc(probabilities, found.label_ids)}


def _checkpoints_of(train: Rows, options: Transformer, run: Fit) -> Path:
    """Return the folder of this very fit's checkpoints, emptied if another fit left something there."""
    facts = {"options": asdict(options), "backbone": options.name, "seed": run.seed, "rows": len(train)}
    digest = blake2s(json.dumps(facts, sort_keys=True, default=str).encode())
    for ids in train.ids:
        digest.update(ids.tobytes())
    digest.update(np.ascontiguousarray(train.features).tobytes())
    digest.update(np.ascontiguousarray(train.targets).tobytes())
    folder, mark = run.checkpoints / "trainer", run.checkpoints / "fit"
    if not mark.exists() or mark.read_text() != digest.hexdigest():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        mark.write_text(digest.hexdigest())
    return folder


class _Reporter(TrainerCallback):  # type: ignore[misc]
    """Says how far training is, which may end it, and asks for a checkpoint when the last one is old."""

    def __init__(self, run: Fit, options: Transformer) -> None:
        self._run, self._options = run, options
        self._said, self._saved = 0.0, time.monotonic()
        self._begun: tuple[float, int] | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        now = time.monotonic()
        self._begun = self._begun or (now, state.global_step)
        if now - self._saved > CHECKPOINT_SECONDS:
            control.should_save = True
        if now - self._said >= 1.0:
            self._said = now
            self._run.progress(self._fraction(state), f"{self._where(state)}, {self._speed(state, now)}")

    def on_prediction_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if time.monotonic() - self._said >= 1.0:
            self._said = time.monotonic()
            self._run.progress(self._fraction(state), f"{self._where(state)}, validating")

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any) -> None:
        found = (metrics or {}).get("eval_log_loss", math.nan)
        self._run.progress(self._fraction(state), f"{self._where(state)}, validation log-loss {found:.4f}")

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._saved = time.monotonic()

    def _fraction(self, state: Any) -> float:
        return 0.05 + 0.95 * float(state.global_step) / max(state.max_steps, 1)

    def _where(self, state: Any) -> str:
        return f"epoch {min(int(state.epoch or 0) + 1, self._options.epochs)} of {self._options.epochs}"

    def _speed(self, state: Any, now: float) -> str:
        assert self._begun is not None
        started, first = self._begun
        done = (state.global_step - first) * self._options.batch_size
        return f"{done / max(now - started, 1e-9):.0f} users/s"
