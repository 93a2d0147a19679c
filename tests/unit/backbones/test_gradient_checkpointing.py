"""Gradient checkpointing: the same loss and gradients, with layers that are computed again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segadmin.contracts.backbone import Examples, FitContext, Pretraining
from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.tuner import TuningRun
from segadmin.errors import ConfigurationError
from segadmin.ragged import Ragged
from segadmin.settings import Settings
from segadmin.testing.backbones import planted
from segadmin_plugins.backbones.hf import HuggingFace
from segadmin_plugins.backbones.transformer import gradient_checkpointing as checkpointing
from segadmin_plugins.backbones.transformer.batches import PadCollator, UserDataset, pack
from segadmin_plugins.backbones.transformer.head import UserModel, freeze_below
from segadmin_plugins.backbones.transformer.stored import adapt
from segadmin_plugins.engines.packed_text import packed_like
from tests.models import make_model

TRAIN, VALIDATION, TEST = planted(64), planted(24, seed=1), planted(40, seed=2)
TEXTS = Ragged.from_rows([np.arange(3, 3 + length) for length in (9, 7, 7, 4, 1)])
#: A module in the lowest layer of each kind, which is called once more if the layer is computed again.
INNER = {"bert": "encoder.layer.0.intermediate", "qwen2": "layers.0.input_layernorm"}


def _model(kind: str, tuner: str, folder: Path, frozen_layers: int = 0) -> UserModel:
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.set_verbosity_error()
    torch.manual_seed(1)
    text = AutoModelForSequenceClassification.from_pretrained(make_model(kind, folder), num_labels=3, dtype="float32")
    text.config.pad_token_id = 1
    freeze_below(text, frozen_layers)
    adapted = adapt(text, load_plugins(Settings(home=folder)).make("tuner", tuner, {}), TuningRun(8, 1))
    return UserModel(adapted, None)


def _step(model: UserModel, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the loss and all gradients, with dropout of the same seed."""
    torch.manual_seed(3)
    model.zero_grad()
    loss = model.train()(**batch)["loss"]
    loss.backward()
    return loss, {name: weights.grad.clone() for name, weights in model.named_parameters() if weights.grad is not None}


@pytest.mark.parametrize("is_packed", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("tuner", ["full", "lora", "houlsby"])
@pytest.mark.parametrize("kind", ["bert", "qwen2"])
def test_loss_and_gradients_stay_the_same(kind: str, tuner: str, is_packed: bool, tmp_path: Path) -> None:
    model = _model(kind, tuner, tmp_path)
    labels = np.array([0, 1, 2, 1, 0])
    rows = UserDataset(TEXTS, np.zeros((len(TEXTS), 0), np.float32), labels)
    model.packed = packed_like(model.text, 1, TEXTS) if is_packed else None
    assert (model.packed is not None) == is_packed
    batch = (pack if is_packed else PadCollator(1))([rows[row] for row in range(len(rows))])
    calls: list[int] = []
    inner = next(module for name, module in model.text.named_modules() if name.endswith(INNER[kind]))
    inner.register_forward_hook(lambda *_: calls.append(1))
    loss, gradients = _step(model, batch)
    once = len(calls)
    with checkpointing.gradient_checkpointing(model.text):
        again, recomputed = _step(model, batch)
    assert (once, len(calls)) == (1, 3), "once without; with it, once more in the backward pass"
    torch.testing.assert_close(again, loss, atol=0, rtol=0)
    assert recomputed.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(recomputed[name], gradient, atol=1e-7, rtol=1e-5, msg=name)
    assert any(gradient.abs().sum() > 0 for gradient in gradients.values())
    calls.clear()
    _step(model, batch)
    assert len(calls) == 1, "it is off again"


@pytest.mark.parametrize(("kind", "tuner"), [("bert", "full"), ("llama", "lora"), ("bart", "lora")])
def test_a_fit_learns_the_same(kind: str, tuner: str, tmp_path: Path) -> None:
    backbone = HuggingFace(
        model=str(make_model(kind, tmp_path / kind)),
        max_tokens=24,
        epochs=2,
        batch_size=16,
        learning_rate=2e-3,
        tuner=tuner,
        head_steps=20,
    )
    predictions = []
    for on in (False, True):
        (tmp_path / str(on)).mkdir()
        run = FitContext(Settings(home=tmp_path), tmp_path / str(on))
        fitted = replace(backbone, gradient_checkpointing=on).fit(TRAIN, VALIDATION, run)
        assert fitted.report["gradient_checkpointing"] is on
        predictions.append(fitted.predict(TEST))
    np.testing.assert_allclose(predictions[1], predictions[0], atol=1e-3)


class Killed(Exception):
    pass


def test_a_fit_with_it_resumes(tmp_path: Path) -> None:
    backbone = HuggingFace(
        model=str(make_model("qwen2", tmp_path / "qwen2")),
        max_tokens=24,
        epochs=4,
        batch_size=16,
        learning_rate=2e-3,
        tuner="lora",
        head_steps=20,
        patience=10,
        gradient_checkpointing=True,
    )

    def killer(step: int, figures: Any) -> None:
        if step > 8 and "training_loss" in figures:
            raise Killed

    def run(name: str, **options: Any) -> FitContext:
        (tmp_path / name).mkdir(exist_ok=True)
        return FitContext(Settings(home=tmp_path), tmp_path / name, **options)

    with pytest.raises(Killed):
        backbone.fit(TRAIN, VALIDATION, run("cut", log=killer))
    resumed = backbone.fit(TRAIN, VALIDATION, run("cut"))
    whole = backbone.fit(TRAIN, VALIDATION, run("whole"))
    assert resumed.report["resumed_at_step"] == 8
    np.testing.assert_allclose(resumed.predict(TEST), whole.predict(TEST), atol=1e-3)


def test_pretraining_with_it_learns_the_same(tmp_path: Path) -> None:
    texts = Examples(TRAIN.frame, (), ())
    losses = []
    for on in (False, True):
        (tmp_path / str(on)).mkdir()
        backbone = HuggingFace(
            model=str(make_model("qwen2", tmp_path / "qwen2")),
            max_tokens=24,
            epochs=1,
            learning_rate=5e-3,
            gradient_checkpointing=on,
        )
        run = FitContext(Settings(home=tmp_path), tmp_path / str(on))
        report = backbone.pretrain(texts, texts, run, Pretraining()).report
        assert report["gradient_checkpointing"] is on
        losses.append(report["held_out_loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)


def test_auto_is_on_if_a_batch_would_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = HuggingFace(model="x", batch_size=4)
    model = _model("bert", "full", tmp_path)
    needed = checkpointing.training_bytes(model, model.text, 4 * 9)
    for free, on in ((needed, False), (needed - 1, True)):
        monkeypatch.setattr(checkpointing, "free_memory", lambda _device, free=free: free)
        assert checkpointing.uses_checkpointing(model, model.text, TEXTS, options) is on
        assert checkpointing.uses_checkpointing(model, model.text, TEXTS, replace(options, gradient_checkpointing=True))
        off = replace(options, gradient_checkpointing=False)
        assert not checkpointing.uses_checkpointing(model, model.text, TEXTS, off)


def test_frozen_layers_keep_nothing(tmp_path: Path) -> None:
    whole, upper, adapters = (
        _model("bert", tuner, tmp_path, layers) for tuner, layers in (("full", 0), ("full", 1), ("lora", 0))
    )
    sizes = [checkpointing.training_bytes(model, model.text, 10_000) for model in (whole, upper, adapters)]
    trained = [sum(w.numel() for w in model.parameters() if w.requires_grad) for model in (whole, upper, adapters)]
    activations = [size - 12 * weights for size, weights in zip(sizes, trained, strict=True)]
    assert activations[0] == activations[2] == 2 * activations[1] > 0


@pytest.mark.parametrize(("batch", "tokens", "on"), [(32, 1024, True), (1, 128, False)])
def test_a_7b_decoder_with_adapters_in_80_gib(batch: int, tokens: int, on: bool) -> None:
    from transformers import LlamaConfig, LlamaForSequenceClassification

    with torch.device("meta"):  # no memory is taken for the weights
        text = LlamaForSequenceClassification(LlamaConfig())
    weights = 2 * sum(parameter.numel() for parameter in text.parameters())
    text.requires_grad_(False)
    text.model.layers[0].input_layernorm.requires_grad_(True)  # as an adapter: from here on, activations are kept
    assert (checkpointing.training_bytes(text, text, batch * tokens) > 80 * 2**30 - weights) is on


def test_a_tuner_that_uses_a_cache_is_refused(tmp_path: Path) -> None:
    model = _model("qwen2", "prefix", tmp_path)
    options = HuggingFace(model="x", gradient_checkpointing=True)
    with pytest.raises(ConfigurationError, match="gradient_checkpointing is not possible with the tuner 'prefix'"):
        checkpointing.uses_checkpointing(model, model.text, TEXTS, options)


@pytest.mark.parametrize(("given", "option"), [("auto", "auto"), ("true", True), ("false", False), (True, True)])
def test_the_option_is_read_from_a_command_line_and_a_job_file(given: Any, option: Any, settings: Settings) -> None:
    made = load_plugins(settings).make("backbone", "hf", {"model": "x", "gradient_checkpointing": given})
    assert made.gradient_checkpointing is option or made.gradient_checkpointing == option
