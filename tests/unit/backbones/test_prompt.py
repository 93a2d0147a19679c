"""A prompt around a decoder's texts, and a classification layer that begins as its language model's head."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from segadmin.contracts.backbone import FitContext, Pretraining
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError
from segadmin.settings import Settings
from segadmin.testing.backbones import check_backbone, planted
from segadmin.workflows.backbone_options import chosen_backbone
from segadmin_plugins.backbones.hf import HuggingFace
from segadmin_plugins.backbones.transformer.batches import PhraseEncoder
from segadmin_plugins.backbones.transformer.prompt import Prompt, verbalizers
from segadmin_plugins.engines.plain import Plain
from segadmin_plugins.engines.torch_packed import Torch
from tests.models import make_model

SETTINGS = Settings()
TRAIN, VALIDATION, TEST = planted(96), planted(24, seed=1), planted(40, seed=2)


@pytest.fixture(scope="module")
def decoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return decoders with room for a prompt of bytes: one with a head of its own, one whose head is the embedding."""
    return {kind: _decoder(kind, tmp_path_factory.mktemp(kind)) for kind in ("llama", "qwen2")}


def _decoder(kind: str, folder: Path) -> Path:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(make_model(kind, folder), max_position_embeddings=256)
    torch.manual_seed(3)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def _backbone(folder: Path, **options: Any) -> HuggingFace:
    defaults = {"max_tokens": 128, "epochs": 2, "batch_size": 16, "learning_rate": 2e-3, "tuner": "lora"}
    return HuggingFace(model=str(folder), **defaults | {"head_steps": 20, "prompt": "classification"} | options)


def _run(folder: Path, **more: Any) -> FitContext:
    folder.mkdir(parents=True, exist_ok=True)
    return FitContext(Settings(home=folder), folder, **more)


def _encoder(folder: Path, max_tokens: int, segments: Sequence[str] = ("low", "high")) -> PhraseEncoder:
    from transformers import AutoTokenizer

    return PhraseEncoder(AutoTokenizer.from_pretrained(folder), max_tokens, Prompt.of(segments, "en"))


def test_the_prompt_is_around_every_text_and_outlives_truncation(decoders: dict[str, Path]) -> None:
    encoder = _encoder(decoders["llama"], 110)
    phrases = pl.Series([["bought milk", "bought wine"], ["bought coffee"] * 200, []], dtype=pl.List(pl.String))
    texts = encoder.encode(phrases)
    before = "<s>Customer segments of an online shop: low, high.\nWhat the customer did:"
    shown = [encoder.tokenizer.decode(ids) for ids in texts.ids]
    assert shown[0] == f"{before} bought milk bought wine\nSegment:"
    assert shown[2] == f"{before}\nSegment:"
    assert shown[1].startswith(f"{before} bought coffee bought coffee")
    assert shown[1].endswith("bought coffee\nSegment:")
    assert 100 < len(texts.ids[1]) <= 110
    assert texts.truncation["users_truncated"] == 1


def test_the_prompt_speaks_chinese_where_the_text_does() -> None:
    prompt = Prompt.of(("高消费", "低消费"), "zh")
    assert (prompt.before, prompt.after) == ("网店的用户分群：高消费、低消费。\n用户的行为：", "\n分群：")
    assert prompt.answers == ("高消费", "低消费")
    options = chosen_backbone(load_plugins(SETTINGS), "some/decoder", {"prompt": "classification"}, "zh")
    assert options["backbone_options"]["prompt_language"] == "zh"
    options = chosen_backbone(load_plugins(SETTINGS), "some/decoder", {"prompt": "classification"}, "en")
    assert "prompt_language" not in options["backbone_options"]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([[5], [6], [7]], [5, 6, 7]),
        ([[9, 5], [9, 6], [7, 6]], [5, 6, 7]),  # they differ behind a common beginning
        ([[5], [5, 6]], [5, 6]),  # one is the beginning of the other
        ([[9, 5, 1], [9, 5, 2], [9, 4, 1]], [1, 2, 4]),
        ([[5, 6], [5, 6]], [6, 6]),
    ],
)
def test_answers_are_known_by_the_first_token_that_no_other_has(answers: list[list[int]], expected: list[int]) -> None:
    assert verbalizers(answers) == expected


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_before_training_the_logits_are_those_of_the_language_model(
    kind: str, decoders: dict[str, Path], tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    # Nothing is trained: the rate is too small to change a float32.
    backbone = _backbone(decoders[kind], features=False, learning_rate=1e-30, epochs=1, warmup=0)
    fitted = backbone.fit(TRAIN, VALIDATION, _run(tmp_path))
    assert fitted.report["prompt"]["classification_layer"] == "language model"
    ids = fitted.encoder.encode(TEST.frame["phrases"]).ids
    language_model = AutoModelForCausalLM.from_pretrained(decoders[kind]).eval()
    tokenizer = fitted.encoder.tokenizer
    first = [tokenizer(f" {segment}", add_special_tokens=False)["input_ids"] for segment in TEST.segments]
    assert len({tuple(answer[:2]) for answer in first}) == len(first)
    verbalizer = verbalizers(first)
    with torch.inference_mode():
        logits = np.stack(
            [language_model(torch.from_numpy(text[None].astype(np.int64))).logits[0, -1, verbalizer] for text in ids]
        )
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(fitted.predict(TEST), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_packed_texts_with_a_prompt_have_the_logits_of_padded_ones(
    kind: str, decoders: dict[str, Path], tmp_path: Path
) -> None:
    fitted = _backbone(decoders[kind]).fit(TRAIN, VALIDATION, _run(tmp_path))
    assert fitted.report["packed"]
    ids = fitted.encoder.encode(TEST.frame["phrases"]).ids
    ids = ids.take(np.argsort(ids.lengths, kind="stable")[::-1])
    assert len(set(ids.lengths.tolist())) > 1
    read = [engine.reader(fitted.model.text, fitted.encoder.pad_id, "float32")(ids) for engine in (Plain(), Torch())]
    np.testing.assert_allclose(read[1], read[0], atol=1e-5)


@pytest.mark.parametrize("store", ["adapter", "merged"])
def test_a_version_keeps_its_prompt(store: str, decoders: dict[str, Path], tmp_path: Path) -> None:
    """A pipeline of transformers gives the same answer if it puts the stored prompt around a text."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    backbone = _backbone(decoders["qwen2"], features=False, store=store)
    fitted = backbone.fit(TRAIN, VALIDATION, _run(tmp_path / "work"))
    probabilities = fitted.predict(TEST)
    fitted.save(tmp_path / "saved")
    fitted.export(tmp_path / "whole")
    for name in ("saved", "whole"):
        # What was stored decides, not the options of the backbone that loads it.
        loaded = replace(backbone, prompt="none").load(tmp_path / name, SETTINGS)
        np.testing.assert_allclose(loaded.predict(TEST), probabilities, atol=1e-5)
    prompt = json.loads((tmp_path / "whole" / "features.json").read_text())["prompt"]
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "whole").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "whole")
    phrases = TEST.frame["phrases"][0].to_list()
    text = prompt["before"] + "".join(f" {phrase}" for phrase in phrases) + prompt["after"]
    with torch.inference_mode():
        alone = model(**tokenizer(text, return_tensors="pt")).logits.softmax(dim=1).numpy()
    np.testing.assert_allclose(alone[0], probabilities[0], atol=1e-4)


def test_a_decoder_with_a_prompt_keeps_the_contract_of_backbones(decoders: dict[str, Path], tmp_path: Path) -> None:
    report = check_backbone(_backbone(decoders["llama"], epochs=3, head_steps=100), SETTINGS, tmp_path)
    assert report["prompt"]["tokens"] > 20


def test_fine_tuning_goes_on_from_the_version_and_not_from_the_head(decoders: dict[str, Path], tmp_path: Path) -> None:
    backbone = _backbone(decoders["qwen2"], features=False, epochs=4)
    fitted = backbone.fit(TRAIN, VALIDATION, _run(tmp_path / "first"))
    fitted.save(tmp_path / "saved")
    still = replace(backbone, learning_rate=1e-30, warmup=0.0, epochs=1)
    again = still.fit(TRAIN, VALIDATION, _run(tmp_path / "second", start=tmp_path / "saved"))
    assert again.report["prompt"]["classification_layer"] == "earlier version"
    np.testing.assert_allclose(again.predict(TEST), fitted.predict(TEST), atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_a_pretrained_decoder_keeps_the_head_that_it_learnt(
    kind: str, decoders: dict[str, Path], tmp_path: Path
) -> None:
    backbone = _backbone(decoders[kind], features=False, learning_rate=5e-3)
    pretrained = backbone.pretrain(TRAIN, TEST, _run(tmp_path / "pretraining"), Pretraining())
    folder = tmp_path / "pretrained"
    pretrained.save(folder)
    still = replace(backbone, learning_rate=1e-30, warmup=0.0, epochs=1)
    again = still.pretrain(TRAIN, TEST, _run(tmp_path / "again", start=folder), Pretraining())
    assert again.report["held_out_loss_before"] == pytest.approx(pretrained.report["held_out_loss"], abs=1e-3)

    fitted = still.fit(TRAIN, VALIDATION, _run(tmp_path / "fit", start=folder))
    assert fitted.report["prompt"]["classification_layer"] == "language model"
    ids = verbalizers(fitted.encoder.tokenize([f" {segment}" for segment in TRAIN.segments]))
    before, after = (
        load_file(decoders[kind] / "model.safetensors"),
        {name: weights for path in folder.glob("*.safetensors") for name, weights in load_file(path).items()},
    )
    head = "lm_head.weight" if kind == "llama" else "model.embed_tokens.weight"
    assert not torch.allclose(before[head][ids], after[head][ids], atol=1e-4), "pretraining changed it"
    torch.testing.assert_close(fitted.model.text.score.weight.detach(), after[head][ids])


def test_without_a_head_in_the_files_the_layer_is_random(decoders: dict[str, Path], tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    AutoModel.from_pretrained(decoders["llama"]).save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(decoders["llama"]).save_pretrained(tmp_path / "base")
    fitted = _backbone(tmp_path / "base", epochs=1).fit(TRAIN, VALIDATION, _run(tmp_path / "work"))
    assert fitted.report["prompt"]["classification_layer"] == "random"


@pytest.mark.parametrize(("kind", "type_"), [("bert", "bert"), ("t5", "t5"), ("bart", "bart")])
def test_an_encoder_with_a_prompt_is_refused(kind: str, type_: str, tmp_path: Path) -> None:
    backbone = _backbone(make_model(kind, tmp_path / kind), max_tokens=24, tuner="full")
    message = f"prompt=classification is for decoders.*{kind}' is of the kind '{type_}'.* Leave prompt out"
    with pytest.raises(ConfigurationError, match=message):
        backbone.check(SETTINGS)
    with pytest.raises(ConfigurationError, match=message):
        backbone.fit(TRAIN, VALIDATION, _run(tmp_path / "work"))


def test_a_prompt_that_leaves_no_room_is_refused(decoders: dict[str, Path]) -> None:
    with pytest.raises(
        ConfigurationError, match=r"max_tokens=24 leaves no room .* the prompt put (\d+) tokens .*max_tokens=\d+$"
    ):
        _encoder(decoders["llama"], 24)
    segments = tuple(f"segment {n}" for n in range(100))
    with pytest.raises(ConfigurationError, match="leaves no room"):
        _encoder(decoders["llama"], 256, segments)


def test_options_that_are_no_prompt_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="prompt"):
        load_plugins(SETTINGS).make("backbone", "hf", {"model": "some/decoder", "prompt": "chat"})
