"""Pretraining on packed texts: the loss and the gradients of padded texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from segadmin.contracts.backbone import Examples, FitContext, Pretraining
from segadmin.settings import Settings
from segadmin.testing.backbones import planted
from segadmin_plugins.backbones.hf import HuggingFace
from segadmin_plugins.backbones.transformer.batches import PhraseEncoder
from segadmin_plugins.backbones.transformer.language_model import language_model, objective_of
from segadmin_plugins.backbones.transformer.masking import IGNORED, MaskedText, MaskingCollator, TextDataset
from segadmin_plugins.backbones.transformer.packed_language_model import packed_language_model
from tests.models import make_model

KINDS = ["bert", "distilbert", "roberta", "xlm-roberta", "gpt2", "llama", "qwen2"]
TEXTS = [["bought milk"], ["bought wine", "viewed coffee"], ["bought bread", "bought milk", "viewed steak"], []]


def _pretraining_of(kind: str, folder: Path) -> tuple[Any, MaskingCollator, list[MaskedText]]:
    """Return a language model of ``kind`` without dropout, its collator, and some masked texts."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    make_model(kind, folder)
    torch.manual_seed(1)
    text = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    model, tokenizer = language_model(text, folder), AutoTokenizer.from_pretrained(folder)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for name in ("attention_dropout", "attention_probs_dropout_prob"):
        if hasattr(model.config, name):
            setattr(model.config, name, 0.0)
    encoder = PhraseEncoder(tokenizer, 24)
    model.config.pad_token_id = encoder.pad_id
    collate = MaskingCollator(encoder, len(tokenizer), Pretraining(mask=0.3), objective_of(text, tokenizer))
    rows = TextDataset(encoder.encode(pl.Series(TEXTS * 3, dtype=pl.List(pl.String))), len(encoder.prefix))
    return model, collate, [collate.masked(rows[row]) for row in range(len(rows))]


def _gradients(loss: torch.Tensor, model: Any) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: weights.grad.clone() for name, weights in model.named_parameters() if weights.grad is not None}


@pytest.mark.parametrize("kind", KINDS)
def test_packed_texts_have_the_loss_and_the_gradients_of_padded_texts(kind: str, tmp_path: Path) -> None:
    model, collate, texts = _pretraining_of(kind, tmp_path)
    packed = packed_language_model(model, collate, texts[:3])
    assert packed is not None
    model.train()
    expected = model(**collate.padded(texts)).loss
    loss = packed.loss(**collate.packed(texts))
    assert expected.item() > 1
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    padded, gradients = _gradients(expected, model), _gradients(loss, model)
    assert gradients.keys() == padded.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, padded[name], atol=1e-5, rtol=1e-3, msg=name)


def test_only_what_is_predicted_is_computed_of_the_last_layer(tmp_path: Path) -> None:
    model, collate, texts = _pretraining_of("bert", tmp_path)
    packed = packed_language_model(model, collate, texts)
    assert packed is not None
    batch = collate.packed(texts)
    predictions = sum(int((text.labels != IGNORED).sum()) for text in texts)
    assert len(batch["labels"]) == predictions < len(batch["input_ids"])
    del batch["labels"]
    assert packed.logits(**batch).shape == (predictions, model.config.vocab_size)


def test_the_next_token_is_never_that_of_another_text(tmp_path: Path) -> None:
    _, collate, _ = _pretraining_of("gpt2", tmp_path)
    texts = [MaskedText(ids, ids) for ids in (np.array([7], np.int32), np.array([4, 5, 6], np.int32))]
    batch = collate.packed(texts)
    assert batch["input_ids"].tolist() == [4, 5, 6, 7]
    assert (batch["predicting"].tolist(), batch["labels"].tolist()) == ([0, 1], [5, 6])


def test_texts_that_predict_nothing_have_no_loss(tmp_path: Path) -> None:
    model, collate, _ = _pretraining_of("gpt2", tmp_path)
    single = np.array([7], np.int32)
    packed = packed_language_model(model, collate, [MaskedText(np.arange(4, dtype=np.int32), np.arange(4))])
    assert packed is not None
    assert packed.loss(**collate.packed([MaskedText(single, single)])).item() == 0


def test_accumulated_batches_have_the_loss_of_one(tmp_path: Path) -> None:
    model, collate, texts = _pretraining_of("bert", tmp_path)
    packed = packed_language_model(model, collate, texts)
    assert packed is not None
    whole = collate.packed(texts)
    count = len(whole["labels"])
    halves = [collate.packed(texts[:3]), collate.packed(texts[3:])]
    total = torch.stack([packed.loss(**half, count=count) for half in halves]).sum()
    torch.testing.assert_close(total, packed.loss(**whole), atol=1e-5, rtol=1e-5)


def test_a_model_that_computes_something_else_is_padded(tmp_path: Path) -> None:
    model, collate, texts = _pretraining_of("llama", tmp_path)
    assert packed_language_model(model, collate, texts) is not None
    model.model.register_forward_hook(lambda _module, _given, out: out)
    assert packed_language_model(model, collate, texts) is None, "a hook would not know packed texts"
    model.model._forward_hooks.clear()
    # As the softcap of Gemma's logits: it is part of the model, not of its head.
    model.forward = _capped(model.forward)
    assert packed_language_model(model, collate, texts) is None


def _capped(forward: Any) -> Any:
    def capped(*arguments: Any, **named: Any) -> Any:
        output = forward(*arguments, **named)
        output.logits = output.logits.tanh() * 0.1
        return output

    return capped


@pytest.mark.parametrize(("kind", "objective"), [("bert", "masked"), ("qwen2", "next token"), ("bart", "denoising")])
def test_pretraining_learns_packed_and_padded(kind: str, objective: str, tmp_path: Path) -> None:
    backbone = HuggingFace(
        model=str(make_model(kind, tmp_path / kind)), max_tokens=24, epochs=4, batch_size=16, learning_rate=5e-3
    )
    texts, held_out = (Examples(planted(rows, seed=rows).frame, (), ()) for rows in (96, 24))
    run = FitContext(Settings(home=tmp_path), tmp_path)
    report = backbone.pretrain(texts, held_out, run, Pretraining()).report
    assert report["objective"] == objective
    assert report["packed"] is (kind != "bart")
    assert report["held_out_loss"] < report["held_out_loss_before"] - 0.3


class Killed(Exception):
    pass


def test_pretraining_on_packed_texts_resumes(tmp_path: Path) -> None:
    backbone = HuggingFace(
        model=str(make_model("bert", tmp_path / "bert")), max_tokens=24, epochs=6, batch_size=16, learning_rate=5e-3
    )
    texts = Examples(planted(64).frame, (), ())

    def killer(step: int, _figures: Any) -> None:
        if step > 12:
            raise Killed

    def run(name: str, **options: Any) -> FitContext:
        (tmp_path / name).mkdir(exist_ok=True)
        return FitContext(Settings(home=tmp_path), tmp_path / name, **options)

    with pytest.raises(Killed):
        backbone.pretrain(texts, texts, run("cut", log=killer), Pretraining())
    resumed = backbone.pretrain(texts, texts, run("cut"), Pretraining()).report
    whole = backbone.pretrain(texts, texts, run("whole"), Pretraining()).report
    assert 12 <= resumed["resumed_at_step"] < resumed["steps"] == whole["steps"] == 24
    assert resumed["held_out_loss"] == pytest.approx(whole["held_out_loss"], abs=1e-3)
