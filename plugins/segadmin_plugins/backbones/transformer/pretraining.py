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
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import PrinterCallback, Trainer, TrainingArguments

from segadmin.contracts.backbone import Examples, FitContext, Pretraining, SavableModel
from segadmin.errors import ConfigurationError
from segadmin.text.tokens import Encoded
from segadmin_plugins.backbones.transformer.batches import PhraseEncoder
from segadmin_plugins.backbones.transformer.callbacks import Reporter
from segadmin_plugins.backbones.transformer.checkpoints import checkpoints_of, last_checkpoint, step_of
from segadmin_plugins.backbones.transformer.fitness import check_together
from segadmin_plugins.backbones.transformer.training import (
    POINTS_PER_EPOCH,
    with_batches_of,
)
from segadmin_plugins.engines.precision import bf16_is_faster
from segadmin_plugins.engines.silence_transformers import quiet
from segadmin_plugins.engines.smaller_batches import with_smaller_batches

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from segadmin_plugins.backbones.transformer.model_source import ModelSource
    from segadmin_plugins.backbones.transformer.options import TrainingOptions

_IGNORED = -100  #: ignored by cross-entropy
#: Fractions of the hidden tokens shown as the mask and as a random token; the rest is unchanged (Devlin et al. 2019).
_MASKED, _RANDOM = 0.8, 0.1
_WORD = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]+|[^\W\d_\u3400-\u4dbf\u4e00-\u9fff]+")
_CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_LEAST_TIMES = 5  #: rarer words are not added to the vocabulary


class Pretrained(SavableModel):
    """A model to start from, with its tokenizer."""

    def __init__(self, text: Any, tokenizer: Any, report: dict[str, Any]) -> None:
        self._text, self._tokenizer, self.report = text, tokenizer, report

    def save(self, folder: Path) -> None:
        """Write a folder that ``AutoModel.from_pretrained`` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        with quiet():
            self._text.save_pretrained(folder)
            self._tokenizer.save_pretrained(folder)


def pretrain(
    options: ModelSource, texts: Examples, held_out: Examples, run: FitContext, how: Pretraining
) -> Pretrained:
    """Pretrain on ``texts`` for ``options.epochs``; ``held_out`` is only used to measure the loss."""
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
    masked = tokenizer.mask_token_id is not None and not _is_decoder(text)
    collate = MaskingCollator(encoder, len(tokenizer), how, masked=masked, writes_all=text.config.is_encoder_decoder)
    facts = {"how": how.__dict__, "words": words}
    folder = checkpoints_of(train.texts.ids, facts, options, run)
    resume = last_checkpoint(folder)
    model.config.pad_token_id = encoder.pad_id
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    before = _loss(model.to(device), held_out_texts, collate, run.seed)
    run.log(0, {"validation_log_loss": before})
    started = time.monotonic()

    def work(rows: int) -> Trainer:
        smaller = with_batches_of(rows, options)
        trainer = Trainer(
            model=model,
            args=_arguments(folder, len(train), smaller, run),
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

    trainer, rows = with_smaller_batches(
        options.batch_size,
        work,
        report_smaller,
        what="pretraining",
        advice="Read less: --backbone-option max_tokens=64",
    )
    seconds = time.monotonic() - started
    after = _loss(model, held_out_texts, collate, run.seed)
    run.log(trainer.state.global_step, {"validation_log_loss": after})
    text.base_model.load_state_dict(model.base_model.state_dict(), strict=False)  # a pooler stays as it was
    report = {
        "objective": ("denoising" if text.config.is_encoder_decoder else "masked") if masked else "next token",
        "held_out_loss_before": round(before, 4),
        "held_out_loss": round(after, 4),
        "perplexity": round(math.exp(min(after, 30.0)), 2),
        "steps": trainer.state.global_step,
        "resumed_at_step": step_of(resume),
        "epochs": options.epochs,
        "batch_size": rows,
        "seconds": round(seconds, 1),
        "new_words": words[:50],
        "words_added": len(words),
        "truncation": train.texts.truncation,
    }
    trainer.accelerator.free_memory()
    return Pretrained(text.cpu(), tokenizer, report)


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


def _is_decoder(text: Any) -> bool:
    if text.config.is_encoder_decoder:
        return False
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    return text.config.model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES


def _language_model(text: Any, folder: Path | None) -> Any:
    """Return the model with a language-modelling head; its own if its weights have one."""
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

    auto: Any = AutoModelForCausalLM if _is_decoder(text) else AutoModelForMaskedLM
    auto = AutoModelForSeq2SeqLM if text.config.is_encoder_decoder else auto
    if folder is None:
        model = auto.from_config(text.config)
    else:
        model = auto.from_pretrained(
            folder, dtype="float32", local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
    model.base_model.load_state_dict(text.base_model.state_dict(), strict=False)
    return model


class TextDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Texts with the positions of their phrases."""

    def __init__(self, texts: Encoded, start: int) -> None:
        self.texts, self._start = texts, start

    def __len__(self) -> int:
        return len(self.texts.ids)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"input_ids": self.texts.ids[row], "span": (self._start, self.texts.phrase_lengths[row])}


class MaskingCollator:
    """Collates texts into a batch, and masks some of their tokens."""

    def __init__(
        self, encoder: PhraseEncoder, vocabulary: int, how: Pretraining, *, masked: bool, writes_all: bool
    ) -> None:
        self._encoder, self._vocabulary, self._how = encoder, vocabulary, how
        self._masked, self._writes_all = masked, writes_all

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return ``input_ids``, ``attention_mask`` and ``labels``, ``(rows, tokens)``."""
        longest = max(len(row["input_ids"]) for row in rows)
        ids = np.full((len(rows), longest), self._encoder.pad_id, np.int64)
        mask, labels = np.zeros_like(ids), np.full_like(ids, _IGNORED)
        for n, row in enumerate(rows):
            length = len(row["input_ids"])
            ids[n, :length], mask[n, :length] = row["input_ids"], 1
            hidden = self._hidden(length, *row["span"]) if self._masked else np.ones(length, bool)
            labels[n, :length][hidden] = row["input_ids"][hidden]
        if self._masked:
            whole = ids.copy()
            self._cover(ids, labels != _IGNORED)
            if self._writes_all:
                labels = np.where(mask == 1, whole, _IGNORED)
        batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        return {name: torch.from_numpy(array) for name, array in batch.items()}

    def _hidden(self, length: int, start: int, lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which tokens are hidden, at least one. Torch's seed makes the choice reproducible."""
        units = len(lengths) if self._how.whole_phrases else int(lengths.sum())
        chosen = torch.rand(units).numpy() < self._how.mask
        if units and not chosen.any():
            chosen[int(torch.randint(units, (1,)))] = True
        inside = np.repeat(chosen, lengths) if self._how.whole_phrases else chosen
        hidden = np.zeros(length, bool)
        hidden[start : start + len(inside)] = inside[: max(length - start, 0)]
        return hidden

    def _cover(self, ids: NDArray[np.int64], hidden: NDArray[np.bool_]) -> None:
        drawn = torch.rand(ids.shape).numpy()
        random = torch.randint(self._vocabulary, ids.shape).numpy()
        ids[hidden & (drawn < _MASKED)] = self._encoder.tokenizer.mask_token_id
        swapped = hidden & (drawn >= _MASKED) & (drawn < _MASKED + _RANDOM)
        ids[swapped] = random[swapped]


def _loss(model: Any, texts: TextDataset, collate: MaskingCollator, seed: int, batch: int = 64) -> float:
    """Return the mean loss on ``texts``, always with the same tokens hidden."""
    if not len(texts):
        return math.nan
    state, device = torch.get_rng_state(), next(model.parameters()).device
    torch.manual_seed(seed)
    total = 0.0
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(texts), batch):
            inputs = collate([texts[row] for row in range(start, min(start + batch, len(texts)))])
            total += _summed_loss(model, inputs, device, batch)
    torch.set_rng_state(state)
    return total / len(texts)


def _summed_loss(model: Any, inputs: dict[str, torch.Tensor], device: torch.device, batch: int) -> float:
    """Return the loss summed over the texts, in batches that fit in memory, with the same tokens hidden."""
    n_texts = len(inputs["input_ids"])

    def work(size: int) -> float:
        total = 0.0
        for start in range(0, n_texts, size):
            chunk = {name: tensor[start : start + size].to(device) for name, tensor in inputs.items()}
            total += float(model(**chunk).loss) * len(chunk["input_ids"])
        return total

    return with_smaller_batches(batch, work, lambda _rows: None, what="validation")[0]


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
