"""Engines that fail, or compute what is not finite, after they were chosen."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segadmin.errors import PluginContractError
from segadmin.settings import Settings
from segadmin_plugins.engines.precision import bf16_is_faster
from segadmin_plugins.engines.text_reader import TextReader
from segadmin_plugins.engines.torch_packed import Torch
from tests.unit.engines.test_packed import classifier, texts_of
from tests.unit.engines.test_text_reader import with_engine

#: Texts in several batches of 64 tokens, too few for a trial.
TEXTS = texts_of([12] * 40, 15)
#: Reads as the model does in two calls of the check and in two batches, and does something else from the third on.
LATER = (
    "        import numpy as np\n"
    "        calls = []\n"
    "        def read(texts):\n"
    "            calls.append(1)\n"
    "            if len(calls) < 5:\n"
    "                return plain(texts)\n"
    "            {later}\n"
    "        return read\n"
    "    def tokens_at_once(self, text):\n"
    "        return 64\n"
)


@pytest.fixture
def model(tmp_path: Path) -> Any:
    return classifier("bert", tmp_path)


@pytest.fixture
def expected(model: Any, settings: Settings) -> Any:
    return TextReader(model, 0, settings.model_copy(update={"engine": "transformers"})).logits(TEXTS)


def failing(model: Any, settings: Settings, tmp_path: Path, later: str) -> TextReader:
    chosen = with_engine(settings, tmp_path, LATER.format(later=later)).model_copy(update={"engine": "other"})
    return TextReader(model, 0, chosen)


@pytest.mark.parametrize(
    ("later", "reason"),
    [
        ("raise RuntimeError('no device')", "other in int8: RuntimeError: no device (other_engine.py, line"),
        ("raise RuntimeError('CUDA error: device-side assert triggered')", "other in int8: RuntimeError: CUDA error"),
        ("raise OSError('the runtime ended')", "other in int8: OSError: the runtime ended"),
        ("return plain(texts)[:-1]", "other in int8: it returned the shape (4, 3), not (5, 3)"),
        ("return plain(texts)[:, :1]", "other in int8: it returned the shape (5, 1), not (5, 3)"),
        ("return plain(texts)[:0]", "other in int8: it returned the shape (0, 3), not (5, 3)"),
    ],
)
def test_the_model_itself_reads_if_an_engine_fails_later(
    model: Any,
    settings: Settings,
    tmp_path: Path,
    expected: Any,
    later: str,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    reader = failing(model, settings, tmp_path, later)
    reader.logits(TEXTS.take(np.arange(3)))
    assert reader.inference.engine == "other"
    with caplog.at_level(logging.WARNING):
        logits = reader.logits(TEXTS)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert (reader.inference.engine, reader.inference.precision) == ("transformers", "float32")
    assert reader.inference.left_aside[-1].startswith(reason)
    (record,) = caplog.records
    assert reason in record.getMessage()
    caplog.clear()
    np.testing.assert_allclose(reader.logits(TEXTS), expected, atol=1e-5)
    assert not caplog.records


def test_a_longer_text_than_an_engine_can_read_is_read_by_the_model_itself(tmp_path: Path, settings: Settings) -> None:
    model = classifier("qwen2", tmp_path)
    model.config.use_sliding_window = True
    for layer in model.model.layers:
        layer.self_attn.sliding_window = 8
    reader = TextReader(model, model.config.pad_token_id, settings)
    reader.logits(texts_of([5, 4, 3], 30))
    assert reader.inference.engine == "torch"
    reader.logits(texts_of([5, 20], 30))
    assert reader.inference.engine == "transformers"
    assert "window shorter than the texts" in reader.inference.left_aside[-1]


def test_a_gpu_that_fails_ends_the_call(model: Any, settings: Settings, tmp_path: Path) -> None:
    reader = failing(model, settings, tmp_path, "raise RuntimeError('CUDA error: device-side assert triggered')")
    reader._device = "cuda"
    reader.logits(TEXTS.take(np.arange(3)))
    with pytest.raises(RuntimeError, match=r"^CUDA error: device-side assert triggered$"):
        reader.logits(TEXTS)
    assert reader.inference.engine == "other"


def test_a_gpu_that_fails_while_engines_are_compared_ends_the_call(
    model: Any, settings: Settings, tmp_path: Path
) -> None:
    body = "        raise RuntimeError('CUDA error: unspecified launch failure')\n"
    reader = TextReader(model, 0, with_engine(settings, tmp_path, body).model_copy(update={"engine": "other"}))
    reader._device = "cuda"
    with pytest.raises(RuntimeError, match=r"^CUDA error: unspecified launch failure$"):
        reader.logits(TEXTS)


@pytest.mark.parametrize("value", ["np.nan", "np.inf"])
def test_texts_whose_logits_are_not_finite_are_read_again_in_float32(
    model: Any, settings: Settings, tmp_path: Path, expected: Any, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    later = f"logits = plain(texts); logits[0, 1] = {value}; return logits"
    reader = failing(model, settings, tmp_path, later)
    reader.logits(TEXTS.take(np.arange(3)))
    with caplog.at_level(logging.WARNING):
        logits = reader.logits(TEXTS)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert reader.inference.engine == "other"
    (record,) = caplog.records
    assert record.getMessage() == "logits are not finite; these texts are read again in float32"
    assert record.__dict__["texts"] == 7


def test_logits_that_are_not_finite_in_float32_either_are_an_error(model: Any, settings: Settings) -> None:
    reader = TextReader(model, 0, settings)
    reader.logits(TEXTS)
    model.bert.embeddings.word_embeddings.weight.data[7] = torch.nan  # one word of the vocabulary
    rows = sum(7 in row for row in TEXTS.values.reshape(40, 12).tolist())
    assert 0 < rows < 40
    message = rf"logits of {rows} of 40 different texts are not finite in float32 either.*segadmin models rollback"
    with pytest.raises(PluginContractError, match=message):
        reader.logits(TEXTS)


@pytest.mark.parametrize(
    ("capabilities", "precisions"),
    [
        ({"avx512_bf16": True}, ("float32", "bfloat16")),
        ({"amx_bf16": True, "avx512_bf16": False}, ("float32", "bfloat16")),
        ({"avx2": True, "avx512_f": True, "amx_bf16": False}, ("float32",)),
        ({}, ("float32",)),
    ],
)
def test_bfloat16_is_offered_where_the_cpu_has_instructions_for_it(
    model: Any,
    settings: Settings,
    capabilities: dict[str, bool],
    precisions: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert bf16_is_faster() == ("bfloat16" in precisions)
    assert Torch().precisions("cpu") == precisions
    assert Torch().precisions("cuda") == tuple(name for name in precisions if name != "float32")
    reader = TextReader(model, 0, settings.model_copy(update={"engine": "torch"}))
    assert [precision for _, precision in reader._candidates()] == list(precisions)
