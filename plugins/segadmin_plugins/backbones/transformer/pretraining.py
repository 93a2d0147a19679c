"""Domain-adaptive pretraining, without labels: masked language modelling for encoders, the next token for decoders.

Encoder-decoders reconstruct a text of which some tokens are hidden (BART's denoising: Lewis et al. 2020).

Continued pretraining on the texts of the target domain helps, most if labels are few (Gururangan et
al.: Don't Stop Pretraining, ACL 2020).
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

from segadmin.contracts.backbone import Examples, FitContext, Pretraining, SavableModel
from segadmin.errors import ConfigurationError
from segadmin_plugins.backbones.transformer.batches import PhraseEncoder
from segadmin_plugins.backbones.transformer.callbacks import Reporter
from segadmin_plugins.backbones.transformer.checkpoints import checkpoints_of, last_checkpoint, step_of
from segadmin_plugins.backbones.transformer.disk_errors import disk_errors
from segadmin_plugins.backbones.transformer.distributed import on_one_gpu
from segadmin_plugins.backbones.transformer.fitness import check_together
from segadmin_plugins.backbones.transformer.gradient_checkpointing import gradient_checkpointing, uses_checkpointing
from segadmin_plugins.backbones.transformer.masking import MaskedText, MaskingCollator, Objective, TextDataset
from segadmin_plugins.backbones.transformer.packed_language_model import (
    PackedLanguageModel,
    on_device,
    packed_language_model,
)
from segadmin_plugins.backbones.transformer.prompt import LANGUAGE_HEAD
from segadmin_plugins.backbones.transformer.training import POINTS_PER_EPOCH, with_batches_of
from segadmin_plugins.backbones.transformer.weight_files import is_decoder
from segadmin_plugins.engines.precision import as_trained, bf16_is_faster
from segadmin_plugins.engines.silence_transformers import quiet
from segadmin_plugins.engines.smaller_batches import with_smaller_batches

if TYPE_CHECKING:
    from segadmin_plugins.backbones.transformer.model_source import ModelSource
    from segadmin_plugins.backbones.transformer.options import TrainingOptions

_WORD = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]+|[^\W\d_\u3400-\u4dbf\u4e00-\u9fff]+")
_CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_LEAST_TIMES = 5  #: rarer words are not added to the vocabulary
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
    if text.config.is_encoder_decoder and tokenizer.mask_token_id is None:
        raise ConfigurationError(
            f"A {text.config.model_type} model cannot be pretrained here: its tokenizer has no mask token to hide "
            "words with. Leave pretraining out: segadmin enqueue retrain, or use another: --backbone bert-base-chinese"
        )
    words = new_words(tokenizer, texts, how.new_words) if how.new_words else []
    model = _language_model(text, run.start or options.folder(run.settings))
    extend(tokenizer, (text, model), words)
    encoder = PhraseEncoder(tokenizer, options.room(text.config))
    check_together(text, encoder, options.name)
    run.progress(0.01, "reading the user texts")
    train, held_out_texts = (
        TextDataset(encoder.encode(examples.frame["phrases"]), len(encoder.prefix)) for examples in (texts, held_out)
    )
    collate = MaskingCollator(encoder, len(tokenizer), how, objective := _objective(text, tokenizer))
    facts = {"how": how.__dict__, "words": words}
    folder = checkpoints_of(train.texts.ids, facts, options, run)
    resume = last_checkpoint(folder)
    model.config.pad_token_id = encoder.pad_id
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    packed = _packed(model.to(device), collate, train)
    loss_of = partial(_loss_of, model, packed, collate)
    before = _mean_loss(loss_of, held_out_texts, collate, run.seed)
    run.log(0, {"validation_log_loss": before})
    started = time.monotonic()

    def work(rows: int) -> Trainer:
        smaller = with_batches_of(rows, options)
        trainer = _Trainer(
            packed,
            model=model,
            args=on_one_gpu(_arguments(folder, len(train), smaller, run)),
            data_collator=collate,
            train_dataset=train,
            callbacks=[Reporter(run, smaller, options.batch_size)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=last_checkpoint(folder))
        return trainer

    def report_smaller(rows: int) -> None:
        model.zero_grad(set_to_none=True)
        run.progress(0.03, f"out of memory; trying batches of {rows}")

    checkpointing = uses_checkpointing(model, model, train.texts.ids, options)
    with gradient_checkpointing(model, on=checkpointing):
        trainer, rows = with_smaller_batches(
            options.batch_size,
            work,
            report_smaller,
            what="pretraining",
            advice="Read less: --backbone-option max_tokens=64",
        )
    seconds = time.monotonic() - started
    after = _mean_loss(loss_of, held_out_texts, collate, run.seed)
    run.log(trainer.state.global_step, {"validation_log_loss": after})
    text.base_model.load_state_dict(model.base_model.state_dict(), strict=False)  # a pooler stays as it was
    report = {
        "objective": objective,
        "held_out_loss_before": round(before, 4),
        "held_out_loss": round(after, 4),
        "perplexity": round(math.exp(min(after, 30.0)), 2),
        "steps": trainer.state.global_step,
        "resumed_at_step": step_of(resume),
        "packed": packed is not None,
        "gradient_checkpointing": checkpointing,
        "epochs": options.epochs,
        "batch_size": rows,
        "seconds": round(seconds, 1),
        "new_words": words[:50],
        "words_added": len(words),
        "truncation": train.texts.truncation,
    }
    trainer.accelerator.free_memory()
    head = None
    if is_decoder(text.config.to_dict()) and not text.config.tie_word_embeddings:
        state = model.get_output_embeddings().state_dict().items()
        head = {f"lm_head.{name}": weights.detach().cpu().contiguous() for name, weights in state}
    return Pretrained(text.cpu(), tokenizer, report, head)


def new_words(tokenizer: Any, texts: Examples, most: int) -> list[str]:
    """Return the words of the texts that the vocabulary spells in three pieces or more, the most costly first."""
    phrases = texts.frame["phrases"].explode().drop_nulls().value_counts()
    counts: Counter[str] = Counter()
    for phrase, times in phrases.iter_rows():
        for word in _WORD.findall(phrase.lower()):
            counts[word] += times
    common = [word for word, times in counts.items() if times >= _LEAST_TIMES]
    pieces = tokenizer([f" {word}" for word in common], add_special_tokens=False)["input_ids"] if common else []
    unknown = tokenizer.unk_token_id
    cost = {
        word: counts[word] * (len(ids) - 1)
        for word, ids in zip(common, pieces, strict=True)
        if len(ids) > 2 or (unknown is not None and unknown in ids)
    }
    return sorted(cost, key=lambda word: (-cost[word], word))[:most]


def extend(tokenizer: Any, models: Sequence[Any], words: Sequence[str]) -> None:
    """Add ``words`` to the vocabulary; each is initialised as the mean of its former pieces."""
    from tokenizers import AddedToken

    if not words:
        return
    pieces = [tokenizer(f" {word}", add_special_tokens=False)["input_ids"] for word in words]
    old_size = len(tokenizer)
    tokenizer.add_tokens([AddedToken(word, single_word=not _CHINESE.match(word), normalized=True) for word in words])
    for model in models:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        table = model.get_input_embeddings().weight
        with torch.no_grad():
            for n, ids in enumerate(pieces):
                table[old_size + n] = table[torch.tensor(ids)].mean(dim=0)


def _objective(text: Any, tokenizer: Any) -> Objective:
    """Return what a model of this kind learns to predict."""
    if tokenizer.mask_token_id is None or is_decoder(text.config.to_dict()):
        return "next token"
    return "denoising" if text.config.is_encoder_decoder else "masked"


def _language_model(text: Any, folder: Path | None) -> Any:
    """Return the model with a language-modelling head; its own if its weights have one."""
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

    auto: Any = AutoModelForCausalLM if is_decoder(text.config.to_dict()) else AutoModelForMaskedLM
    auto = AutoModelForSeq2SeqLM if text.config.is_encoder_decoder else auto
    if folder is None:
        model = auto.from_config(text.config)
    else:
        model = auto.from_pretrained(
            folder, dtype="float32", local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
    if folder is not None and (folder / LANGUAGE_HEAD).exists():  # of a version that was pretrained here
        state = load_file(folder / LANGUAGE_HEAD)
        model.get_output_embeddings().load_state_dict({name.rpartition(".")[2]: state[name] for name in state})
    if model.config.vocab_size != text.config.vocab_size:  # of a vocabulary that was cut to the texts
        model.resize_token_embeddings(text.config.vocab_size, mean_resizing=False)
    model.base_model.load_state_dict(text.base_model.state_dict(), strict=False)
    return model


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
