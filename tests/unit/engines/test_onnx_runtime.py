"""ONNX Runtime: the logits of transformers in float32, and int8 within its bounds or left aside."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segadmin.errors import EngineUnavailable
from segadmin.settings import Settings
from segadmin_plugins.engines.onnx_runtime import OnnxRuntime
from segadmin_plugins.engines.plain import Plain
from segadmin_plugins.engines.text_reader import TextReader
from segadmin_plugins.engines.trial import AGREEMENT, DIFFERENCE, compared
from tests.unit.engines.test_packed import KINDS, classifier, texts_of

#: Several lengths in a batch, one text, texts of one token.
LENGTHS = [[20, 12, 12, 5, 1], [17], [1, 1, 1]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of temporary files and of the process, which is empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_float32_computes_the_same_as_transformers(kind: str, tmp_path: Path, folder: Path) -> None:
    model = classifier(kind, tmp_path / "model")
    pad_id, attention = model.config.pad_token_id, model.config._attn_implementation
    read = OnnxRuntime().reader(model, pad_id, "float32")
    for lengths in LENGTHS:
        texts = texts_of(lengths, min(model.config.vocab_size, 30))
        logits, expected = read(texts), Plain().reader(model, pad_id, "float32")(texts)
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert model.config._attn_implementation == attention
    assert not list(folder.iterdir())


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "xlm-roberta"])
def test_int8_quantizes_the_weights_and_is_close(
    kind: str, tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    model = classifier(kind, tmp_path / "model")
    capfd.readouterr()
    texts, pad_id = texts_of([20, 12, 12, 5, 1], min(model.config.vocab_size, 30)), model.config.pad_token_id
    engine = OnnxRuntime()
    expected, exact = engine.reader(model, pad_id, "float32")(texts), Plain().reader(model, pad_id, "float32")(texts)
    with caplog.at_level(logging.INFO):
        logits = engine.reader(model, pad_id, "int8")(texts)
    assert 1e-4 < np.abs(logits - expected).max() < 0.2
    comparison = compared(logits, exact)
    assert comparison is not None
    assert comparison.difference < DIFFERENCE
    assert not list(folder.iterdir())
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")
def test_adapters_and_weights_in_bfloat16_are_computed_in_float32(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(
        classifier("bert", tmp_path / "model"),
        LoraConfig(task_type="SEQ_CLS", target_modules=["query", "value"], r=2),
    ).eval()
    for name, weights in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights)
    adapted.base_model.model.bert.to(torch.bfloat16)
    stored = [weights.dtype for weights in adapted.parameters()]
    texts = texts_of([9, 9, 3], 15)
    expected = Plain().reader(adapted, 0, "float32")(texts)
    np.testing.assert_allclose(OnnxRuntime().reader(adapted, 0, "float32")(texts), expected, atol=2e-2)
    assert [weights.dtype for weights in adapted.parameters()] == stored


def test_models_that_cannot_be_exported_are_left_aside(tmp_path: Path, settings: Settings, folder: Path) -> None:
    bart = classifier("bart", tmp_path / "model")
    with pytest.raises(EngineUnavailable, match="models of the kind bart cannot be exported: RuntimeError: "):
        OnnxRuntime().reader(bart, 1, "float32")
    assert not list(folder.iterdir())
    reader = TextReader(bart, 1, settings.model_copy(update={"engine": "onnxruntime"}))
    texts = texts_of([9, 5], 15)
    texts.values[texts.offsets[1:] - 1] = bart.config.eos_token_id
    np.testing.assert_array_equal(reader.logits(texts), Plain().reader(bart, 1, "float32")(texts))
    assert reader.inference.engine == "transformers"
    assert "onnxruntime in float32: models of the kind bart" in reader.inference.left_aside[0]


def test_a_model_that_is_too_large_for_a_file_is_refused() -> None:
    from transformers import BertConfig, BertForSequenceClassification

    with torch.device("meta"):  # without memory
        model = BertForSequenceClassification(BertConfig(vocab_size=800_000, num_hidden_layers=1))
    with pytest.raises(EngineUnavailable, match=r"its weights have 2\.3 GiB in float32, and a file of ONNX at most 2"):
        OnnxRuntime().reader(model, 0, "float32")


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_an_engine_that_is_not_installed_is_not_offered(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segadmin_plugins.engines.onnx_runtime.find_spec", lambda name: None if name == missing else 1)
    assert OnnxRuntime().precisions("cpu") == ()
    with pytest.raises(EngineUnavailable, match=r"pip install 'segadmin\[onnxruntime\]'"):
        OnnxRuntime().reader(classifier("bert", tmp_path / "model"), 0, "float32")


def test_it_reads_on_cpus_only() -> None:
    assert OnnxRuntime().precisions("cpu") == ("float32", "int8")
    assert OnnxRuntime().precisions("cuda") == ()


def with_outliers(model: Any) -> Any:
    """Give two channels of the states large values, as language models have, which the next layer ignores."""
    layer = model.bert.encoder.layer[0]
    layer.intermediate.dense.bias.data[:2] = 3000.0
    layer.output.dense.weight.data[:, :2] = 0.0
    model.classifier.weight.data *= 10
    return model


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_int8_that_changes_the_answers_is_left_aside(kind: str, tmp_path: Path, settings: Settings) -> None:
    model = classifier(kind, tmp_path / "model")
    model = with_outliers(model) if kind == "bert" else model
    texts, pad_id = texts_of(np.random.default_rng(0).integers(2, 24, 1600).tolist(), 15), model.config.pad_token_id
    expected = TextReader(model, pad_id, settings.model_copy(update={"engine": "transformers"})).logits(texts)
    longest = texts.take(np.argsort(texts.lengths, kind="stable")[::-1][:64])
    quantized = OnnxRuntime().reader(model, pad_id, "int8")(longest)
    comparison = compared(quantized, Plain().reader(model, pad_id, "float32")(longest))
    assert comparison is not None
    assert comparison.difference > DIFFERENCE
    reader = TextReader(model, pad_id, settings.model_copy(update={"engine": "onnxruntime"}))
    logits = reader.logits(texts)
    assert "onnxruntime in int8: it differs from the model" in reader.inference.left_aside
    assert reader.inference.precision == "float32"
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_int8_that_agrees_is_recorded_and_near_ties_are_read_in_float32(tmp_path: Path, settings: Settings) -> None:
    model = classifier("bert", tmp_path / "model")
    texts = texts_of(np.random.default_rng(0).integers(2, 24, 1600).tolist(), 15)
    reader = TextReader(model, 0, settings.model_copy(update={"engine": "onnxruntime"}))
    (int8,) = [candidate for candidate in reader._candidates() if candidate[1] == "int8"]
    reader._is_checked = reader._is_tried = True
    trial = reader._begin([int8], texts.take(np.arange(512)), must_be_faster=False)
    assert trial is not None
    assert not reader._try(trial, texts)
    facts = reader.inference.as_json()
    assert (facts["engine"], facts["precision"]) == ("onnxruntime", "int8")
    assert 0 < facts["difference"] < DIFFERENCE
    assert facts["read_again"] > 0
    expected = TextReader(model, 0, settings.model_copy(update={"engine": "transformers"})).logits(texts)
    assert (reader.logits(texts).argmax(axis=1) == expected.argmax(axis=1)).mean() >= AGREEMENT
