"""Packed texts: the same logits as the padded texts that transformers reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segadmin.errors import EngineUnavailable
from segadmin.ragged import Ragged
from segadmin_plugins.backbones.transformer.head import freeze_below
from segadmin_plugins.engines.openvino import OpenVino
from segadmin_plugins.engines.packed_attention import attend, packed_attention, padded_attention
from segadmin_plugins.engines.packed_text import PackedText
from segadmin_plugins.engines.packing import Packing
from segadmin_plugins.engines.plain import Plain, padded
from segadmin_plugins.engines.torch_packed import Torch
from segadmin_plugins.engines.trial import compared
from tests.models import make_model

KINDS = ["albert", "bert", "distilbert", "ernie", "gpt2", "llama", "qwen2", "qwen3", "roberta", "xlm-roberta"]


def classifier(kind: str, folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.set_verbosity_error()
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(make_model(kind, folder), num_labels=3, dtype=dtype)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = 1
    for weights in model.parameters():
        weights.data *= 3  # otherwise the logits of all texts are nearly equal
    return model.eval()


def texts_of(lengths: list[int], vocabulary: int, seed: int = 0) -> Ragged:
    random = np.random.default_rng(seed)
    return Ragged.from_rows([random.integers(3, vocabulary, length) for length in lengths])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [[9, 9, 9, 4, 4, 1], [22], [1, 1], list(range(20, 0, -1))])
def test_packed_texts_have_the_logits_of_padded_texts(kind: str, lengths: list[int], tmp_path: Path) -> None:
    model = classifier(kind, tmp_path)
    texts, pad_id = texts_of(lengths, min(model.config.vocab_size, 30)), model.config.pad_token_id
    expected = Plain().reader(model, pad_id, "float32")(texts)
    assert expected.shape == (len(lengths), 3)
    assert expected.dtype == np.float32
    np.testing.assert_allclose(Torch().reader(model, pad_id, "float32")(texts), expected, atol=1e-5)
    # The model itself is left as it was.
    np.testing.assert_array_equal(Plain().reader(model, pad_id, "float32")(texts), expected)


@pytest.mark.parametrize("kind", ["bert", "llama", "qwen2", "qwen3"])
def test_of_the_last_layer_only_what_the_classifier_reads_is_computed(kind: str, tmp_path: Path) -> None:
    model = classifier(kind, tmp_path)
    blocks = {"bert": "encoder.layer.1.intermediate"}
    last, tokens = model.base_model.get_submodule(blocks.get(kind, "layers.1.mlp")), []
    last.register_forward_hook(lambda _module, given, _out: tokens.append(given[0].numel() // given[0].shape[-1]))
    PackedText(model).logits(Packing.of(texts_of([9, 4, 4], 15)))
    assert tokens == [3]


@pytest.mark.parametrize("kind", ["bert", "llama", "qwen2", "qwen3"])
def test_gradients_are_those_of_padded_texts(kind: str, tmp_path: Path) -> None:
    model, texts = classifier(kind, tmp_path), texts_of([12, 9, 9, 4, 1], 15)
    labels = torch.tensor([0, 1, 2, 1, 0])
    ids, mask = (torch.from_numpy(array) for array in padded(texts, model.config.pad_token_id))
    gradients = []
    for logits in (
        model(input_ids=ids, attention_mask=mask).logits,
        PackedText(model).logits(Packing.of(texts)),
    ):
        model.zero_grad()
        torch.nn.functional.cross_entropy(logits, labels).backward()
        gradients.append(
            {n: weights.grad.clone() for n, weights in model.named_parameters() if weights.grad is not None}
        )
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize("kind", ["bert", "llama", "qwen2", "qwen3"])
def test_frozen_layers_are_not_computed_again(kind: str, tmp_path: Path) -> None:
    model, packing = classifier(kind, tmp_path), Packing.of(texts_of([9, 4, 4], 15))
    packed = PackedText(model)
    assert packed.frozen_layers == 0
    freeze_below(model, 1)
    assert packed.frozen_layers == 1
    states = packed.states(packing, 1)
    assert states.shape == (17, model.config.hidden_size)
    torch.testing.assert_close(packed.logits(packing, states, 1), packed.logits(packing), atol=1e-5, rtol=1e-5)
    model.base_model.requires_grad_(False)
    assert packed.frozen_layers == 1, "all but the last, which is computed of one token only"


def test_a_short_window_of_the_last_layer_is_refused(tmp_path: Path) -> None:
    model = classifier("qwen2", tmp_path)
    model.base_model.layers[-1].self_attn.sliding_window = 4
    PackedText(model).logits(Packing.of(texts_of([4, 3], 15)))
    with pytest.raises(EngineUnavailable, match="window shorter than the texts"):
        PackedText(model).logits(Packing.of(texts_of([5, 3], 15)))


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_close_and_has_weights_of_its_own(kind: str, tmp_path: Path) -> None:
    model = classifier(kind, tmp_path)
    texts, pad_id = texts_of([20, 12, 12, 5], min(model.config.vocab_size, 30)), model.config.pad_token_id
    expected = Plain().reader(model, pad_id, "float32")(texts)
    comparison = compared(Torch().reader(model, pad_id, "bfloat16")(texts), expected)
    assert comparison is not None
    assert comparison[1] < 0.05
    assert {weights.dtype for weights in model.parameters()} == {torch.float32}


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")
def test_adapters_and_a_base_in_bfloat16_are_read(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    model = classifier("bert", tmp_path)
    adapted = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", target_modules=["query", "value"], r=2)).eval()
    for name, weights in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights)
    texts = texts_of([9, 9, 3], 15)
    expected = Plain().reader(adapted, 0, "float32")(texts)
    np.testing.assert_allclose(Torch().reader(adapted, 0, "float32")(texts), expected, atol=1e-5)
    adapted.base_model.model.bert.to(torch.bfloat16)
    expected = Plain().reader(adapted, 0, "float32")(texts)
    np.testing.assert_allclose(Torch().reader(adapted, 0, "float32")(texts), expected, atol=2e-2)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_openvino_computes_the_same(kind: str, tmp_path: Path) -> None:
    model = classifier(kind, tmp_path)
    texts, pad_id = texts_of([20, 12, 12, 5, 1], min(model.config.vocab_size, 30)), model.config.pad_token_id
    expected = Plain().reader(model, pad_id, "float32")(texts)
    assert "float32" in OpenVino().precisions("cpu")
    assert OpenVino().precisions("cuda") == ()
    for precision in OpenVino().precisions("cpu"):
        logits = OpenVino().reader(model, pad_id, precision)(texts)
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, expected, atol=1e-4 if precision == "float32" else 0.1)


def test_an_engine_that_is_not_installed_is_not_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segadmin_plugins.engines.openvino.find_spec", lambda _: None)
    assert OpenVino().precisions("cpu") == ()
    with pytest.raises(EngineUnavailable, match=r"pip install 'segadmin\[openvino\]'"):
        OpenVino().reader(classifier("bert", tmp_path), 0, "float32")


def test_models_that_cannot_be_packed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="bart cannot be read packed"):
        Torch().reader(classifier("bart", tmp_path / "bart"), 1, "float32")
    model = classifier("bert", tmp_path / "bert")
    del model.classifier
    with pytest.raises(EngineUnavailable, match="head of BertForSequenceClassification is not known"):
        Torch().reader(model, 0, "float32")


def test_windows_and_softcaps_are_refused() -> None:
    packing = Packing.of(texts_of([5, 3], 9))
    states = torch.zeros(1, 2, 8, 4)
    for option in ({"sliding_window": 4}, {"softcap": 30.0}):
        with pytest.raises(EngineUnavailable, match="window shorter than the texts"):
            packed_attention(torch.nn.Identity(), states, states, states, None, packing=packing, **option)
    seen, _ = packed_attention(torch.nn.Identity(), states, states, states, None, packing=packing, sliding_window=5)
    assert seen.shape == (1, 8, 2, 4)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("one_each", [False, True])
def test_attention_stays_within_a_text(causal: bool, one_each: bool) -> None:
    """Also where texts are padded for it, as a GPU does in training; the gradients too."""
    torch.manual_seed(0)
    lengths = [4, 4, 2]
    packing = Packing.of(texts_of(lengths, 9))
    asked = packing.lasts if one_each else torch.arange(10)
    query, key, value = (torch.randn(10, heads, 8, requires_grad=True) for heads in (4, 2, 2))
    expected = []
    for start, length in zip(packing.offsets.tolist(), lengths, strict=False):
        own = slice(start, start + length)
        scores = torch.einsum("qhd,khd->hqk", query[own], key[own].repeat_interleave(2, 1)) / 8**0.5
        if causal:
            scores = scores + torch.full((length, length), -torch.inf).triu(1)
        expected.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1), value[own].repeat_interleave(2, 1)))
    wanted = torch.cat(expected)[asked]
    weights = torch.randn_like(wanted)
    gradients = torch.autograd.grad((wanted * weights).sum(), (query, key, value))
    repeated = [tensor.repeat_interleave(2, 1) for tensor in (key, value)]
    for seen in (
        attend(query[asked], key, value, packing, causal=causal),
        padded_attention(query[asked], *repeated, packing, causal=causal, scaling=None, dropout=0.0),
    ):
        torch.testing.assert_close(seen, wanted, atol=1e-5, rtol=1e-4)
        got = torch.autograd.grad((seen * weights).sum(), (query, key, value), retain_graph=True)
        torch.testing.assert_close(got, gradients, atol=1e-5, rtol=1e-4)


def test_padded_attention_drops_weights() -> None:
    torch.manual_seed(0)
    packing = Packing.of(texts_of([64, 48], 9))
    query, key, value = (torch.randn(112, 2, 8) for _ in range(3))
    options = {"causal": False, "scaling": 0.0}  # all weights of a text are equal
    mean = torch.stack([padded_attention(query, key, value, packing, dropout=0.5, **options) for _ in range(200)]).mean(
        0
    )
    whole = padded_attention(query, key, value, packing, dropout=0.0, **options)
    assert not torch.equal(padded_attention(query, key, value, packing, dropout=0.5, **options), whole)
    torch.testing.assert_close(mean, whole, atol=0.06, rtol=0)


def test_packing_keeps_where_each_text_is() -> None:
    packing = Packing.of(Ragged.from_rows([[7, 8, 9], [4, 5, 6], [3]]))
    assert packing.ids.tolist() == [[7, 8, 9, 4, 5, 6, 3]]
    assert packing.positions.tolist() == [[0, 1, 2, 0, 1, 2, 0]]
    assert packing.offsets.tolist() == [0, 3, 6, 7]
    assert packing.runs == ((0, 2, 3), (6, 1, 1))
    assert (packing.firsts.tolist(), packing.lasts.tolist()) == ([0, 3, 6], [2, 5, 6])


def test_padded_texts() -> None:
    ids, mask = padded(Ragged.from_rows([[5, 6, 7], [5]]), 9, multiple=4)
    assert ids.tolist() == [[5, 6, 7, 9], [5, 9, 9, 9]]
    assert mask.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
