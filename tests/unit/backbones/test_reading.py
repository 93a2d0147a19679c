from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from segadmin.evaluation.metrics import log_loss
from segadmin.ragged import Ragged
from segadmin.settings import Settings
from segadmin_plugins.backbones.features.scaling import Scaling
from segadmin_plugins.backbones.hf import HuggingFace
from segadmin_plugins.backbones.numbers import auroc, class_weights
from segadmin_plugins.backbones.tfidf import counts_of, terms
from segadmin_plugins.backbones.tiny import wordpiece
from segadmin_plugins.backbones.transformer.batches import PadCollator, PhraseEncoder, UserDataset
from tests.models import CHINESE, ENGLISH, make_model


def _tokenizer(kind: str, folder: Path) -> object:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(make_model(kind, folder))


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("bert", "[CLS] bought milk bought wine [SEP]"),
        ("roberta", "<s> bought milk bought wine</s>"),
        ("llama", "<s> bought milk bought wine"),
        ("gpt2", " bought milk bought wine"),
    ],
)
def test_whole_phrases_between_the_model_s_own_marks(kind: str, shown: str, tmp_path: Path) -> None:
    encoder = PhraseEncoder(_tokenizer(kind, tmp_path), 6)
    phrases = pl.Series([["bought milk", "bought wine", "bought coffee bread"], ["bought milk"]])
    texts = encoder.encode(phrases)
    ids, truncation = texts.ids, texts.truncation
    assert encoder.tokenizer.decode(ids[0]) == shown
    assert truncation["users_truncated"] == 1
    assert len(ids[1]) < len(ids[0])


def test_tokens_are_counted_by_user(tmp_path: Path) -> None:
    encoder = PhraseEncoder(_tokenizer("bert", tmp_path), 6)
    counts = encoder.count(pl.Series([["bought milk", "bought wine", "bought coffee bread"], ["bought 🥐"], []]))
    assert counts.tokens.tolist() == [7, 2, 0]
    assert counts.unknown.tolist() == [0, 1, 0]
    assert counts.dropped.tolist() == [3, 0, 0]  # the whole phrase for which no room is left


def test_a_vocabulary_of_bytes_has_no_unknown_tokens(tmp_path: Path) -> None:
    assert not PhraseEncoder(_tokenizer("gpt2", tmp_path), 6).count(pl.Series([["bought 🥐"]])).unknown.any()


@pytest.mark.parametrize("kind", ["bert", "bert-chinese", "roberta", "gpt2", "llama", "xlm-roberta"])
def test_a_text_has_the_ids_that_the_tokenizer_gives_the_whole_text(kind: str, tmp_path: Path) -> None:
    encoder = PhraseEncoder(_tokenizer(kind, tmp_path), 4096)
    words = st.sampled_from([*ENGLISH, *CHINESE, "牛奶", "x2", "€9.99", "</s>", "[SEP]", "Brötchen", "🥐", "it's"])
    phrase = st.lists(words, min_size=1, max_size=4).map(" ".join)

    @given(st.lists(st.lists(phrase, max_size=4), max_size=5))
    @settings_of_hypothesis(max_examples=60, deadline=None)
    def check(users: list[list[str]]) -> None:
        texts = encoder.encode(pl.Series(users, dtype=pl.List(pl.String)))
        for ids, phrases in zip(texts.ids, users, strict=True):
            whole = "".join(f" {phrase}" for phrase in phrases)
            expected = encoder.tokenizer(whole, split_special_tokens=True, truncation=False)["input_ids"]
            assert ids.tolist() == (expected or [encoder.pad_id])

    check()


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_phrases_are_left_out_in_training_whole_and_by_the_seed(kind: str, tmp_path: Path) -> None:
    import torch

    encoder = PhraseEncoder(_tokenizer(kind, tmp_path), 40)
    phrases = pl.Series([["bought milk", "bought wine", "bought coffee bread", "bought milk"], ["bought wine"], []])
    texts = encoder.encode(phrases)
    features, lengths = np.zeros((3, 0), np.float32), texts.phrase_lengths
    rows = UserDataset(texts.ids, features, phrase_lengths=lengths, start=len(encoder.prefix), dropout=0.5)
    whole = UserDataset(texts.ids, features)
    torch.manual_seed(1)
    seen = [encoder.tokenizer.decode(rows[0]["input_ids"], skip_special_tokens=True).strip() for _ in range(40)]
    torch.manual_seed(1)
    again = [encoder.tokenizer.decode(rows[0]["input_ids"], skip_special_tokens=True).strip() for _ in range(40)]
    assert seen == again
    assert len(set(seen)) > 5
    pieces = ["bought milk", "bought wine", "bought coffee bread"]
    assert all(seen)
    for text in seen:
        left = text
        for piece in sorted(pieces, key=len, reverse=True):
            left = left.replace(piece, "")
        assert left.strip() == ""
    assert all((rows[1]["input_ids"] == whole[1]["input_ids"]).all() for _ in range(9))
    assert (rows[2]["input_ids"] == whole[2]["input_ids"]).all()


def test_a_user_without_a_phrase_can_still_be_read(tmp_path: Path) -> None:
    for kind in ("bert", "gpt2"):
        ids = PhraseEncoder(_tokenizer(kind, tmp_path / kind), 6).encode(pl.Series([[]], dtype=pl.List(pl.String))).ids
        assert len(ids[0]) >= 1


def test_padding_is_on_the_right_and_masked() -> None:
    rows = UserDataset(Ragged.from_rows([[5, 6, 7], [5]]), np.zeros((2, 1), np.float32), np.array([0, 1]))
    batch = PadCollator(9, multiple=4)([rows[0], rows[1]])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 9], [5, 9, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
    assert batch["labels"].tolist() == [0, 1]


def test_no_more_tokens_than_the_model_has_positions(tmp_path: Path) -> None:
    from transformers import AutoConfig

    make_model("roberta", tmp_path / "roberta")
    make_model("bert", tmp_path / "bert")
    backbone = HuggingFace(max_tokens=128)
    assert backbone.room(AutoConfig.from_pretrained(tmp_path / "roberta")) == 24
    assert backbone.room(AutoConfig.from_pretrained(tmp_path / "bert")) == 32
    assert HuggingFace(max_tokens=16).room(AutoConfig.from_pretrained(tmp_path / "bert")) == 16


def test_tiny_s_vocabulary_reads_chinese_one_character_at_a_time() -> None:
    tokenizer = wordpiece(["购买 牛奶", "购买 面包", "bought milk", "bought bread"], 200)
    assert tokenizer.tokenize("购买牛奶") == ["购", "买", "牛", "奶"]
    assert tokenizer.tokenize("Bought") == ["bought"]
    assert tokenizer.tokenize("买车") == ["买", "[UNK]"]


def test_terms() -> None:
    assert terms("Bought Milk, 2%") == ["bought", "milk", "2", "bought milk", "milk 2"]
    assert terms("购买iPad") == ["购", "买", "ipad", "购 买", "买 ipad"]
    assert terms("") == []


def test_counts_keep_repeats_and_users_without_phrases() -> None:
    phrases = pl.Series([["milk", "milk tea"], [], None, ["tea"], ["never seen"]], dtype=pl.List(pl.String))
    assert counts_of(phrases, ["milk", "tea"]).toarray().tolist() == [[2, 1], [0, 0], [0, 0], [0, 1], [0, 0]]


def test_scaling_uses_training_facts_and_bounds_outliers() -> None:
    values = np.array([[1.0, 7, np.nan], [10, 7, np.nan], [100, 7, np.nan], [1000, 7, np.nan]], np.float32)
    scaling = Scaling.fit(("spend", "constant", "unknown"), values)
    scaled = scaling(values)
    assert scaled[:, 0].mean() == pytest.approx(0, abs=1e-5)
    assert scaled[:, 0].std() == pytest.approx(1, abs=1e-4)
    assert not scaled[:, 1:].any()
    assert scaling(np.array([[np.nan, 7, 1e30]], np.float32)).tolist() == [[0, 0, 5]]
    again = Scaling.from_json(scaling.to_json())
    np.testing.assert_array_equal(again(values), scaled)


def test_scaling_keeps_the_sign() -> None:
    scaling = Scaling.fit(("growth",), np.array([[-50], [-1], [1], [50]], np.float32))
    scaled = scaling(np.array([[-50], [-1], [0], [1], [50]], np.float32)).ravel()
    assert (np.diff(scaled) > 0).all()
    assert scaled[2] == pytest.approx(0, abs=1e-6)


def test_class_weights_are_balanced_and_bounded() -> None:
    targets = np.array([0] * 90 + [1] * 10)
    weights = class_weights(targets, 3)
    assert weights[1] / weights[0] == pytest.approx(9)
    assert weights[targets].mean() == pytest.approx(1)
    assert class_weights(np.array([0] * 10_000 + [1]), 2)[1] == 20


def test_metrics_do_without_a_segment() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]], np.float32)
    assert auroc(probabilities, np.array([0, 2])) == 1
    assert np.isnan(auroc(probabilities, np.array([1, 1])))
    assert log_loss(probabilities, np.array([0, 2])) == pytest.approx(-np.log(0.7))


def test_threads_follow_the_environment(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    from segadmin_plugins.backbones.requirements import threads

    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert threads() >= 1
