"""Transformers' Trainer for a :class:`UserModel`: its arguments, its optimizer, and what it saves and measures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import Trainer, TrainingArguments
from transformers.utils import SAFE_WEIGHTS_NAME

from segadmin.evaluation.metrics import log_loss
from segadmin_plugins.backbones.numbers import auroc, balanced_odds, softmax
from segadmin_plugins.backbones.transformer.distributed import size
from segadmin_plugins.backbones.transformer.head import UserModel, layers_of
from segadmin_plugins.backbones.transformer.learned_weights import learned_state
from segadmin_plugins.engines.precision import bf16_is_faster

if TYPE_CHECKING:
    from segadmin.contracts.backbone import FitContext
    from segadmin_plugins.backbones.transformer.batches import UserDataset
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


class UserTrainer(Trainer):  # type: ignore[misc]
    """Saves the trainable weights only, and remembers when the loss was not finite, without waiting for a GPU."""

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


def arguments_of(
    folder: Path, train: UserDataset, evaluate: bool, options: TrainingOptions, run: FitContext
) -> TrainingArguments:
    """Return the Trainer's arguments for a fit on ``train``, with checkpoints in ``folder``."""
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


def optimizer_of(model: UserModel, options: TrainingOptions) -> torch.optim.Optimizer:
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


def metrics_of(prediction: Any) -> dict[str, float]:
    """Return the log-loss and the AUROC of what the Trainer has predicted."""
    logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
    probabilities = softmax(logits)
    return {
        "log_loss": log_loss(probabilities, prediction.label_ids),
        "auroc": auroc(probabilities, prediction.label_ids),
    }
