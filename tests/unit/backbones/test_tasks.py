"""Several label sets learnt at once: what is together, what is kept, and that it helps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from segadmin.contracts.backbone import FitContext
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError
from segadmin.settings import Settings
from segadmin.testing.backbones import planted
from segadmin_plugins.backbones.transformer.multitask import UNKNOWN, last_layers, narrow, together
from segadmin_plugins.backbones.transformer.warm_start import start_from
from tests.models import make_model

SETTINGS = Settings()
SMALL = {"max_tokens": 24, "epochs": 6, "batch_size": 16, "learning_rate": 2e-3}


def test_a_user_and_moment_is_one_row_with_several_targets() -> None:
    train, other = planted(4, seed=0), planted(6, seed=0)
    copy = train.frame.head(1).with_columns(phrases=pl.Series([["said otherwise"]]))  # as augmentation makes them
    tasks = together(dataclasses.replace(train, frame=pl.concat([train.frame, copy])), {"other": other})
    truth = other.targets
    assert len(tasks.examples) == 7
    assert tasks.targets[:5].tolist() == [[train.targets[n], truth[n]] for n in (0, 1, 2, 3, 0)]
    assert tasks.targets[5:].tolist() == [[UNKNOWN, truth[4]], [UNKNOWN, truth[5]]]
    assert tasks.sizes == (3, 3)
    assert tasks.examples.segments[3:] == tuple(f"other: {segment}" for segment in other.segments)


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "gpt2", "llama"])
def test_narrowing_to_the_main_task_keeps_the_logits(kind: str, tmp_path: Path) -> None:
    import torch

    make_model(kind, tmp_path / kind)
    text, tokenizer = start_from(tmp_path / kind, tuple("abcde"), settings=SETTINGS)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    text.config.pad_token_id = tokenizer.pad_token_id
    batch = tokenizer(["bought milk", "bought wine"], return_tensors="pt", padding=True)
    given = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.inference_mode():
        before = text.eval()(**given).logits
        narrow(text, None, ("a", "b"))
        after = text(**given).logits
    assert torch.allclose(before[:, :2], after, atol=1e-6)
    assert text.config.num_labels == 2
    text.save_pretrained(tmp_path / "kept")
    again, _ = _load(tmp_path / "kept", tokenizer)
    with torch.inference_mode():
        assert torch.allclose(again.eval()(**given).logits, after, atol=1e-6)


def _load(folder: Path, tokenizer: object) -> tuple[object, object]:
    tokenizer.save_pretrained(folder)  # type: ignore[attr-defined]
    return start_from(folder, ("a", "b"), settings=SETTINGS)


def test_the_last_layer_is_kept_for_the_same_segments_only(tmp_path: Path) -> None:
    make_model("bert", tmp_path / "bert")
    text, tokenizer = start_from(tmp_path / "bert", ("a", "b"), settings=SETTINGS)
    text.save_pretrained(tmp_path / "kept")
    tokenizer.save_pretrained(tmp_path / "kept")
    weight = last_layers(text)[0][2].weight
    assert last_layers(start_from(tmp_path / "kept", ("a", "b"), settings=SETTINGS)[0])[0][2].weight.equal(weight)
    assert not last_layers(start_from(tmp_path / "kept", ("b", "a"), settings=SETTINGS)[0])[0][2].weight.equal(weight)
    assert last_layers(start_from(tmp_path / "kept", ("a", "b", "c"), settings=SETTINGS)[0])[0][2].out_features == 3


def test_a_warm_start_from_an_adapter_of_another_tuner_is_refused(settings: Settings, tmp_path: Path) -> None:
    backbone = load_plugins(settings).make("backbone", "tiny", SMALL | {"tuner": "houlsby", "epochs": 1})
    backbone.fit(planted(40), planted(10), FitContext(settings, tmp_path)).save(tmp_path / "saved")
    again = load_plugins(settings).make("backbone", "tiny", SMALL)
    with pytest.raises(ConfigurationError, match=r"adapters\.safetensors"):
        again.fit(planted(40), planted(10), FitContext(settings, tmp_path, start=tmp_path / "saved"))


def test_an_auxiliary_task_helps_where_labels_are_few(settings: Settings, tmp_path: Path) -> None:
    few, many, validation, test = planted(9, seed=1), planted(300, seed=2), planted(30, seed=3), planted(200, seed=4)
    options = SMALL | {"features": False, "epochs": 4}
    backbone = load_plugins(settings).make("backbone", "tiny", options)
    right = []
    for name, also in (("alone", {}), ("beside", {"other": many})):
        (tmp_path / name).mkdir()
        model = backbone.fit(few, validation, FitContext(settings, tmp_path / name, also=also))
        probabilities = model.predict(test)
        assert probabilities.shape == (200, 3)
        right.append(float((probabilities.argmax(axis=1) == test.targets).mean()))
        model.save(tmp_path / name / "saved")
        assert np.allclose(backbone.load(tmp_path / name / "saved", settings).predict(test), probabilities, atol=1e-5)
    assert right[1] > right[0]
    assert right[1] > 0.9


def test_a_regression_on_models_of_other_labels(settings: Settings, tmp_path: Path) -> None:
    few, many, validation, test = planted(12, seed=1), planted(300, seed=2), planted(30, seed=3), planted(200, seed=4)
    options = {"readers": "tabular,tfidf", "features": False}
    backbone = load_plugins(settings).make("backbone", "auxiliary-stacking", options)
    backbone.check(settings)
    model = backbone.fit(few, validation, FitContext(settings, tmp_path, also={"other": many}))
    probabilities = model.predict(test)
    assert (probabilities.argmax(axis=1) == test.targets).mean() > 0.9
    assert model.report["foreseen"] == ["other"]
    model.save(tmp_path / "saved")
    loaded = backbone.load(tmp_path / "saved", settings)
    assert np.allclose(loaded.predict(test), probabilities, atol=1e-5)
    assert loaded.predict(dataclasses.replace(test, frame=test.frame.head(0))).shape == (0, 3)


def test_auxiliary_stacking_without_other_labels_or_readers(settings: Settings, tmp_path: Path) -> None:
    plugins = load_plugins(settings)
    with pytest.raises(ConfigurationError, match="--auxiliary-labels LABELS"):
        plugins.make("backbone", "auxiliary-stacking", {}).fit(planted(9), planted(9), FitContext(settings, tmp_path))
    with pytest.raises(ConfigurationError, match="names no backbones"):
        plugins.make("backbone", "auxiliary-stacking", {"readers": ""}).check(settings)
