"""Domain-adaptive pretraining, without labels: masked language modelling for encoders, the next token for decoders.

Encoder-decoders reconstruct a text of which some tokens are hidden (BART's denoising: Lewis et al. 2020).

Continued pretraining on the texts of the target domain helps, most if labels are few (Gururangan et
al.: Don't Stop Pretraining, ACL 2020).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

from segadmin.contracts.backbone import Examples, FitContext, Pretraining, SavableModel
from segadmin.errors import ConfigurationError
from segadmin_plugins.backbones.transformer.batch_size import with_fitting_batches
from segadmin_plugins.backbones.transformer.batches import PhraseEncoder
from segadmin_plugins.backbones.transformer.callbacks import Reporter
from segadmin_plugins.backbones.transformer.checkpoints import checkpoints_of, last_checkpoint, step_of
from segadmin_plugins.backbones.transformer.disk_errors import disk_errors
from segadmin_plugins.backbones.transformer.distributed import on_one_gpu
from segadmin_plugins.backbones.transformer.fitness import check_together
from segadmin_plugins.backbones.transformer.gradient_checkpointing import gradient_checkpointing, uses_checkpointing
from segadmin_plugins.backbones.transformer.language_model import language_model, objective_of, separate_head
from segadmin_plugins.backbones.transformer.masking import MaskedText, MaskingCollator, TextDataset
from segadmin_plugins.backbones.transformer.packed_language_model import (
    PackedLanguageModel,
    on_device,
    packed_language_model,
)
from segadmin_plugins.backbones.transformer.prompt import LANGUAGE_HEAD
from segadmin_plugins.backbones.transformer.trainer import POINTS_PER_EPOCH
from segadmin_plugins.backbones.transformer.vocabulary import extend, new_words
from segadmin_plugins.engines.precision import as_trained, bf16_is_faster
from segadmin_plugins.engines.silence_transformers import quiet
from segadmin_plugins.engines.smaller_batches import with_smaller_batches

if TYPE_CHECKING:
    from segadmin_plugins.backbones.transformer.model_source import ModelSource
    from segadmin_plugins.backbones.transformer.options import TrainingOptions

_VALIDATION_BATCH = 64  #: texts
_PROBE = 8  #: texts on which packed and padded reading are compared


class Pretrained(SavableModel):
    """A model to start from, with its tokenizer, and a decoder's language-model head if it is not the embedding."""

    def __init__(
        self, text: Any, tokenizer: Any, report: dict[str, Any], head: Mapping[str, torch.Tensor] | None = None
    ) -> None:
        self._text, self._tokenizer, self.report, self._head = text, tokenizer, report, head

    def save(self, folder: Path) -> None:
        """Write a folder that ``AutoModel.from_pretrained`` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        with quiet(), disk_errors(folder):
            self._text.save_pretrained(folder)
            self._tokenizer.save_pretrained(folder)
        if self._head:
            save_file(dict(self._head), folder / LANGUAGE_HEAD)


def pretrain(
    options: ModelSource, texts: Examples, held_out: Examples, run: FitContext, how: Pretraining
) -> Pretrained:
    """Pretrain on ``texts`` for ``options.epochs``; ``held_out`` is only used to measure the loss."""
    set_seed(run.seed)
    run.progress(0.0, "loading the model")
    # The classification layer is required, but not used.
    text, tokenizer = replace(options, dtype="float32").begin(replace(texts, segments=("0", "1")), run)
    _check_mask(text, tokenizer)
    words = new_words(tokenizer, texts, how.new_words) if how.new_words else []
    model = language_model(text, run.start or options.folder(run.settings))
    extend(tokenizer, (text, model), words)
    encoder = PhraseEncoder(tokenizer, options.room(text.config))
    check_together(text, encoder, options.name)
    model.config.pad_token_id = encoder.pad_id
    run.progress(0.01, "reading the user texts")
    train, validation = (
        TextDataset(encoder.encode(examples.frame["phrases"]), len(encoder.prefix)) for examples in (texts, held_out)
    )
    objective = objective_of(text, tokenizer)
    collate = MaskingCollator(encoder, len(tokenizer), how, objective)
    folder = checkpoints_of(train.texts.ids, {"how": how.__dict__, "words": words}, options, run)
    trained = _train(model, collate, train, validation, folder=folder, options=options, run=run)
    text.base_model.load_state_dict(model.base_model.state_dict(), strict=False)  # a pooler stays as it was
    added = {"new_words": words[:50], "words_added": len(words)}
    report = {"objective": objective, **trained, **added, "truncation": train.texts.truncation}
    return Pretrained(text.cpu(), tokenizer, report, separate_head(text, model))


def _check_mask(text: Any, tokenizer: Any) -> None:
    """Check that an encoder-decoder's tokenizer can hide words.

    Raises:
        ConfigurationError: it has no mask token.
    """
    if text.config.is_encoder_decoder and tokenizer.mask_token_id is None:
        raise ConfigurationError(
            f"A {text.config.model_type} model cannot be pretrained here: its tokenizer has no mask token to hide "
            "words with. Leave pretraining out: segadmin enqueue retrain, or use another: --backbone bert-base-chinese"
        )


def _train(
    model: Any,
    collate: MaskingCollator,
    train: TextDataset,
    validation: TextDataset,
    *,
    folder: Path,
    options: TrainingOptions,
    run: FitContext,
) -> dict[str, Any]:
    """Train ``model`` in place, from the last checkpoint in ``folder`` on, and return a report."""
    resume = last_checkpoint(folder)
    packed = _packed(model.to("cuda" if torch.cuda.is_available() else "cpu"), collate, train)
    loss_of = partial(_loss_of, model, packed, collate)
    before = _mean_loss(loss_of, validation, collate, run.seed)
    run.log(0, {"validation_log_loss": before})
    started = time.monotonic()

    def attempt(reduced: TrainingOptions) -> _Trainer:
        trainer = _Trainer(
            packed,
            model=model,
            args=on_one_gpu(_arguments(folder, len(train), reduced, run)),
            data_collator=collate,
            train_dataset=train,
            callbacks=[Reporter(run, reduced, options.batch_size)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=last_checkpoint(folder))
        return trainer

    advice = "Read less: --backbone-option max_tokens=64"
    checkpointing = uses_checkpointing(model, model, train.texts.ids, options)
    with gradient_checkpointing(model, on=checkpointing):
        trainer, rows = with_fitting_batches(options, attempt, run, model=model, what="pretraining", advice=advice)
    seconds, steps = time.monotonic() - started, trainer.state.global_step
    after = _mean_loss(loss_of, validation, collate, run.seed)
    run.log(steps, {"validation_log_loss": after})
    trainer.accelerator.free_memory()
    return {
        "held_out_loss_before": round(before, 4),
        "held_out_loss": round(after, 4),
        "perplexity": round(math.exp(min(after, 30.0)), 2),
        "steps": steps,
        "resumed_at_step": step_of(resume),
        "packed": packed is not None,
        "gradient_checkpointing": checkpointing,
        "epochs": options.epochs,
        "batch_size": rows,
        "seconds": round(seconds, 1),
    }


class _Trainer(Trainer):  # type: ignore[misc]
    """Reads packed texts if the model can."""

    def __init__(self, packed: PackedLanguageModel | None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._packed = packed
        if packed is not None:
            # The labels of packed texts are those that are predicted, and their number is what the loss is divided by.
            self.model_accepts_loss_kwargs, self._loss_shifts_labels = True, False

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss of a batch."""
        if self._packed is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        return self._packed.loss(**inputs, count=num_items_in_batch)


def _packed(model: Any, collate: MaskingCollator, texts: TextDataset) -> PackedLanguageModel | None:
    """Return the model for packed texts, for which the collator is set, if it can read them."""
    with torch.random.fork_rng(devices=[]):
        sample = [collate.masked(texts[row]) for row in range(min(len(texts), _PROBE))]
    packed = packed_language_model(model, collate, sample) if sample else None
    collate.packs = packed is not None
    return packed


def _mean_loss(
    loss_of: Callable[[Sequence[MaskedText]], float], texts: TextDataset, collate: MaskingCollator, seed: int
) -> float:
    """Return the mean loss on ``texts``, always with the same tokens hidden."""
    if not len(texts):
        return math.nan
    total = 0.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for start in range(0, len(texts), _VALIDATION_BATCH):
            rows = range(start, min(start + _VALIDATION_BATCH, len(texts)))
            total += _summed_loss([collate.masked(texts[row]) for row in rows], loss_of)
    return total / len(texts)


def _loss_of(
    model: Any, packed: PackedLanguageModel | None, collate: MaskingCollator, texts: Sequence[MaskedText]
) -> float:
    """Return the mean loss on a batch of texts, without dropout."""
    device = next(model.parameters()).device
    batch = on_device(collate.batch(texts), device)
    model.eval()
    with torch.inference_mode(), as_trained(model, device.type):
        return float(packed.loss(**batch) if packed else model(**batch).loss)


def _summed_loss(texts: Sequence[MaskedText], loss_of: Callable[[Sequence[MaskedText]], float]) -> float:
    """Return the loss summed over the texts, in batches that fit in memory."""

    def work(size: int) -> float:
        batches = (texts[start : start + size] for start in range(0, len(texts), size))
        return sum(loss_of(batch) * len(batch) for batch in batches)

    return with_smaller_batches(len(texts), work, lambda _rows: None, what="validation")[0]


def _arguments(folder: Path, rows: int, options: TrainingOptions, run: FitContext) -> TrainingArguments:
    steps_per_epoch = math.ceil(rows / options.batch_size)
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_size,
        gradient_accumulation_steps=options.accumulate,
        learning_rate=options.learning_rate,
        warmup_steps=options.warmup,
        weight_decay=options.weight_decay,
        train_sampling_strategy="group_by_length",
        save_strategy="steps",
        save_steps=max(1, math.ceil(steps_per_epoch / 2)),
        save_total_limit=1,
        bf16=bf16_is_faster(),
        use_cpu=not torch.cuda.is_available(),
        seed=run.seed,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        logging_strategy="steps",
        logging_steps=max(1, steps_per_epoch // POINTS_PER_EPOCH),
        report_to=[],
        disable_tqdm=True,
    )
