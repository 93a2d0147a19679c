"""Fitting a :class:`UserModel`: first the head of the features, then the whole model with transformers' Trainer."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import replace
from hashlib import blake2s
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainingArguments
from transformers.utils import SAFE_WEIGHTS_NAME

from segadmin.errors import DataError
from segadmin.evaluation.metrics import log_loss
from segadmin_plugins.backbones.numbers import auroc, balanced_odds, softmax
from segadmin_plugins.backbones.transformer.batches import PadCollator, UserDataset, pack
from segadmin_plugins.backbones.transformer.callbacks import DivergenceCallback, Reporter, TunerCallback
from segadmin_plugins.backbones.transformer.checkpoints import checkpoints_of, last_checkpoint, step_of
from segadmin_plugins.backbones.transformer.distributed import main_first, on_one_gpu, size
from segadmin_plugins.backbones.transformer.frozen_states import keep_states
from segadmin_plugins.backbones.transformer.gradient_checkpointing import gradient_checkpointing, uses_checkpointing
from segadmin_plugins.backbones.transformer.head import UserModel, layers_of
from segadmin_plugins.backbones.transformer.learned_weights import learned_state
from segadmin_plugins.backbones.transformer.starting_point import StartingPoint
from segadmin_plugins.engines.packed_text import packed_like
from segadmin_plugins.engines.precision import bf16_is_faster
from segadmin_plugins.engines.smaller_batches import with_smaller_batches

if TYPE_CHECKING:
    from segadmin.contracts.backbone import FitContext
    from segadmin.contracts.tuner import Tuner
    from segadmin_plugins.backbones.transformer.options import TrainingOptions

#: Factor on the learning rate of new weights, which start at random.
HEAD_SPEED = 20.0
FEATURES_SPEED = 5.0
#: Weight decay of the features' head; without it, the head overfits the few training users.
HEAD_DECAY = 1.0
#: Weight decay of the part of it that reads text and features together; with more, it never leaves zero.
FUSING_DECAY = 0.1
EVALUATIONS_PER_EPOCH = 2
#: How often per epoch the training loss is logged, as the mean since the last time.
POINTS_PER_EPOCH = 20
#: Advice if memory is too small for one user.
LESS_MEMORY = (
    "If nothing else needs the memory, read less: --backbone-option max_tokens=64, or train fewer weights: "
    "--backbone-option tuner=lora"
)
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
    arrays = (np.ascontiguousarray(array).tobytes() for array in (train.features, train.labels))
    with main_first():
        facts = [base, *(blake2s(array).hexdigest() for array in arrays)]
        folder = checkpoints_of(train.ids, facts, options, run)
        resume = last_checkpoint(folder)
    trained = sum(weights.numel() for weights in model.parameters() if weights.requires_grad)
    if resume is None:
        pretrain_head(model, train, validation, run, steps=options.head_steps, balanced=options.balanced)
    started, start = time.monotonic(), None
    model.to(
        "cuda" if torch.cuda.is_available() else "cpu"
    )  # the frozen layers are computed before the Trainer moves it
    sample = train.ids.take(np.arange(min(len(train), _PROBE)))
    model.packed = packed_like(model.text, model.text.config.pad_token_id, sample)
    if not options.phrase_dropout:
        keep_states(model, (train, validation), run)

    def make_trainer(reduced: TrainingOptions) -> _Trainer:
        trainer = _Trainer(
            model=model,
            args=on_one_gpu(_arguments(folder, train, bool(len(validation)), reduced, run)),
            data_collator=pack if model.packed else PadCollator(model.text.config.pad_token_id),
            train_dataset=train,
            eval_dataset=validation if len(validation) else None,
            compute_metrics=_metrics,
            optimizers=(_optimizer(model, reduced), None),
            callbacks=[Reporter(run, reduced, options.batch_size), TunerCallback(tuner, model)],
        )
        trainer.add_callback(DivergenceCallback(trainer.first_not_finite))
        trainer.balanced, trainer.loaded = reduced.balanced, model.loaded
        trainer.remove_callback(PrinterCallback)
        if len(validation):
            trainer.add_callback(EarlyStoppingCallback(reduced.patience))
        return trainer

    def work(rows: int) -> _Trainer:
        nonlocal start
        trainer = make_trainer(with_batches_of(rows, options))
        if run.update and len(validation) and start is None:
            start = StartingPoint.of(trainer, folder, model.loaded)
        trainer.train(resume_from_checkpoint=last_checkpoint(folder))
        return trainer

    def smaller(rows: int) -> None:
        model.zero_grad(set_to_none=True)
        run.progress(0.03, f"out of memory; trying batches of {rows}")

    checkpointing = uses_checkpointing(model, model.text, train.ids, options)
    with gradient_checkpointing(model.text, on=checkpointing):
        if size() > 1:  # no retry here: all processes must restart together, see launch
            trainer, rows = work(options.batch_size), options.batch_size
        else:
            trainer, rows = with_smaller_batches(options.batch_size, work, smaller, what="training", advice=LESS_MEMORY)
    kept_start = start is not None and not (trainer.state.best_metric or math.inf) < start.log_loss
    if start is not None and kept_start:
        start.restore(model)
    elif trainer.first_not_finite() is not None:
        _check_best_exists(trainer, options)
    report = _report(trainer, options, resume, time.monotonic() - started)
    report |= {"start_log_loss": round(start.log_loss, 5), "kept_start": kept_start} if start is not None else {}
    report |= {"trained_weights": trained, "weights": sum(weights.numel() for weights in model.parameters())}
    report |= {"packed": model.packed is not None, "gradient_checkpointing": checkpointing}
    report |= {"batch_size_asked": options.batch_size} if rows < options.batch_size else {}
    model.packed, train.states, validation.states = None, None, None
    trainer.accelerator.free_memory()
    return report


def _report(trainer: _Trainer, options: TrainingOptions, resume: str | None, seconds: float) -> dict[str, Any]:
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


class _Trainer(Trainer):  # type: ignore[misc]
    """Remembers when the loss was not finite, without waiting for a GPU."""

    not_finite: torch.Tensor | None = None  #: the first step whose loss was not finite, on the device; 0: none
    balanced = False  #: draw rows of every segment equally often
    loaded: frozenset[int] = frozenset()  #: parameters that are not saved while they are frozen

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if not self.balanced:
            return super()._get_train_sampler(train_dataset)
        labels = self.train_dataset.labels
        odds = balanced_odds(labels if labels.ndim == 1 else labels[:, 0])
        return torch.utils.data.WeightedRandomSampler(odds.tolist(), len(odds))

    def _save(self, output_dir: str | None = None, state_dict: dict[str, torch.Tensor] | None = None) -> None:
        """Write the trainable weights; frozen ones are large and already in the pretrained files."""
        if self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            state = {name: weights.contiguous() for name, weights in learned_state(self.model, self.loaded).items()}
            save_file(state, folder / SAFE_WEIGHTS_NAME)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Check that a checkpoint lacks only the weights that it leaves out deliberately.

        Raises:
            RuntimeError: it is of another model.
        """
        lacking = [
            *load_result.unexpected_keys,
            *learned_state(self.model, self.loaded).keys() & load_result.missing_keys,
        ]
        if lacking:
            raise RuntimeError(f"The checkpoint is of another model: {len(lacking)} weights, such as {lacking[0]}")

    def training_step(self, *arguments: Any, **options: Any) -> torch.Tensor:
        """Compute the loss and its gradients; return 0 for a loss that is not finite."""
        loss: torch.Tensor = super().training_step(*arguments, **options)
        before = torch.zeros_like(loss, dtype=torch.long) if self.not_finite is None else self.not_finite
        is_first = ~torch.isfinite(loss) & (before == 0)
        self.not_finite = torch.where(is_first, self.state.global_step + 1, before)
        return torch.nan_to_num(loss, nan=0.0, posinf=0.0, neginf=0.0)

    def first_not_finite(self) -> int | None:
        """Return the first step whose loss was not finite, in any of the processes; they must all call it."""
        if self.not_finite is None:
            return None
        steps = self.accelerator.gather(self.not_finite).flatten().tolist() if size() > 1 else [self.not_finite.item()]
        return min((int(step) for step in steps if step), default=None)


def _check_best_exists(trainer: _Trainer, options: TrainingOptions) -> None:
    """Check that there is a best checkpoint to return to.

    Raises:
        DataError: there is none.
    """
    if trainer.state.best_global_step is None:
        raise DataError(
            f"The loss is not finite at step {trainer.first_not_finite()}, before anything was learnt. Learn more "
            f"slowly: --backbone-option learning_rate={options.learning_rate / 10:g}"
        )


def with_batches_of(rows: int, options: TrainingOptions) -> TrainingOptions:
    """Return the options with batches of ``rows``, accumulated so that a step sees no fewer users."""
    accumulate = math.ceil(options.batch_size * options.accumulate / rows)
    return replace(options, batch_size=rows, accumulate=accumulate)


def _arguments(
    folder: Path, train: UserDataset, evaluate: bool, options: TrainingOptions, run: FitContext
) -> TrainingArguments:
    steps_per_epoch = math.ceil(len(train) / (options.batch_size * options.accumulate))
    pinned = torch.cuda.is_available() and train.states is None  # kept states are on the GPU already
    every = max(1, math.ceil(steps_per_epoch / (1 if run.update else EVALUATIONS_PER_EPOCH)))
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_size // size(),
        gradient_accumulation_steps=options.accumulate,
        per_device_eval_batch_size=options.batch_size // size(),  # what fits in training fits here
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
        use_cpu=not torch.cuda.is_available(),
        seed=run.seed,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=pinned,
        accelerator_config={"non_blocking": pinned},
        logging_strategy="steps",
        logging_steps=max(1, steps_per_epoch // POINTS_PER_EPOCH),
        logging_nan_inf_filter=False,  # it waits for the loss of every step
        report_to=[],
        disable_tqdm=True,
    )


def _optimizer(model: UserModel, options: TrainingOptions) -> torch.optim.Optimizer:
    """Return AdamW with separate rates for pretrained weights, new layers and features; norms do not decay."""
    features = {id(parameter) for parameter in model.features.parameters()} if model.features else set()
    fusing = {id(parameter) for parameter in model.features.fusing()} if model.features else set()
    adapted = hasattr(model.text, "peft_config")  # then all trainable weights are new
    pretrained = set() if adapted else {id(parameter) for parameter in model.text.base_model.parameters()}
    layers = layers_of(model.text)
    # Layer-wise rates (Howard and Ruder 2018): the embeddings, below all layers, are the slowest.
    slower: dict[int, float] = {}
    for height, layer in enumerate(reversed(layers)):
        slower |= {id(parameter): options.layer_decay**height for parameter in layer.parameters()}
    lowest = options.layer_decay ** len(layers)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in fusing:
            speed, decay = FEATURES_SPEED, FUSING_DECAY
        elif id(parameter) in features:
            speed, decay = FEATURES_SPEED, HEAD_DECAY
        else:
            speed = slower.get(id(parameter), lowest) if id(parameter) in pretrained else HEAD_SPEED
            decay = options.weight_decay
        groups.setdefault((speed * options.learning_rate, decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": members, "lr": rate, "weight_decay": decay} for (rate, decay), members in groups.items()],
        fused=True,
    )


def _metrics(prediction: Any) -> dict[str, float]:
    logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
    probabilities = softmax(logits)
    return {
        "log_loss": log_loss(probabilities, prediction.label_ids),
        "auroc": auroc(probabilities, prediction.label_ids),
    }
