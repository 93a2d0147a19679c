"""A version that keeps what was learned over an exact base says the same as one that keeps all weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from segadmin.contracts.backbone import Examples, FitContext
from segadmin.errors import BackboneUnavailable, ConfigurationError
from segadmin.settings import Settings
from segadmin.testing.backbones import planted
from segadmin_plugins.backbones.hf import HuggingFace
from segadmin_plugins.backbones.tiny import Tiny
from segadmin_plugins.backbones.transformer import weights_lookup as places
from segadmin_plugins.backbones.transformer.base_precision import dtype_for_base
from segadmin_plugins.backbones.transformer.stored import BASE, LEARNED
from tests.models import make_model

TRAIN, VALIDATION, TEST = planted(96), planted(24, seed=1), planted(40, seed=2)
SETTINGS = Settings()


def _backbone(folder: Path, **options: Any) -> HuggingFace:
    defaults = {"max_tokens": 24, "epochs": 2, "batch_size": 16, "learning_rate": 2e-3, "tuner": "lora"}
    defaults["head_steps"] = 20
    return HuggingFace(model=str(folder), **defaults | options)


def _run(folder: Path, **more: Any) -> FitContext:
    folder.mkdir(parents=True, exist_ok=True)
    return FitContext(Settings(home=folder), folder, **more)


@pytest.mark.parametrize(
    ("kind", "tuner"),
    [
        *[(kind, tuner) for kind in ("qwen2", "bert") for tuner in ("lora", "adalora", "ia3", "houlsby", "prefix")],
        ("llama", "lora"),
        ("llama", "head"),
        ("bart", "lora"),
        ("t5", "ia3"),
    ],
)
def test_an_adapter_and_a_whole_model_predict_the_same(kind: str, tuner: str, tmp_path: Path) -> None:
    base = make_model(kind, tmp_path / kind)
    backbone = _backbone(base, tuner=tuner, store="adapter", epochs=1)
    fitted = backbone.fit(TRAIN, VALIDATION, _run(tmp_path / "work"))
    probabilities = fitted.predict(TEST)
    fitted.save(tmp_path / "adapter")
    fitted.export(tmp_path / "whole")
    assert fitted.report["stored"] == "adapter"
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    for name in ("adapter", "whole"):
        np.testing.assert_allclose(backbone.load(tmp_path / name, SETTINGS).predict(TEST), probabilities, atol=1e-5)
    again = backbone.load(tmp_path / "adapter", SETTINGS)
    again.save(tmp_path / "again")  # as a fit of several processes is: read, and saved once more
    np.testing.assert_allclose(backbone.load(tmp_path / "again", SETTINGS).predict(TEST), probabilities, atol=1e-5)
    shutil.rmtree(base)
    np.testing.assert_allclose(backbone.load(tmp_path / "whole", SETTINGS).predict(TEST), probabilities, atol=1e-5)
    AutoModelForSequenceClassification.from_pretrained(tmp_path / "whole")
    facts = json.loads((tmp_path / "adapter" / BASE).read_text())
    assert facts["base"]["model"] == str(base)
    assert (facts["tuner"], facts["dtype"], facts["segments"]) == (tuner, "float32", ["low", "middle", "high"])
    tables = ("word_embeddings.weight", "embed_tokens.weight", "shared.weight")
    learned = load_file(tmp_path / "adapter" / LEARNED)
    assert not any(name.endswith(tables) for name in learned), "the base's own weights are not kept once more"


def test_frozen_weights_are_in_no_checkpoint(tmp_path: Path) -> None:
    base = make_model("qwen2", tmp_path / "qwen2")
    for tuner in ("lora", "full"):
        report = _backbone(base, tuner=tuner).fit(TRAIN, VALIDATION, _run(tmp_path / tuner)).report
        for path in (tmp_path / tuner / "trainer").glob("checkpoint-*/optimizer.pt"):
            moments = [state["exp_avg"] for state in torch.load(path)["state"].values()]
            assert sum(moment.numel() for moment in moments) == report["trained_weights"]
        kept = list((tmp_path / tuner / "trainer").glob("checkpoint-*/model.safetensors"))
        embedded = {path.parent.name: any("embed_tokens" in name for name in load_file(path)) for path in kept}
        assert embedded
        assert set(embedded.values()) == {tuner == "full"}


class Killed(Exception):
    pass


@pytest.mark.parametrize("tuner", ["adalora", "houlsby", "full"])
def test_a_fit_resumes_from_a_checkpoint_of_the_trained_weights(tuner: str, tmp_path: Path) -> None:
    backbone = _backbone(make_model("bart", tmp_path / "bart"), tuner=tuner, epochs=4, store="auto")

    def killer(fraction: float, _note: str) -> None:
        if fraction > 0.6:
            raise Killed

    with pytest.raises(Killed):
        backbone.fit(TRAIN, VALIDATION, _run(tmp_path / "cut", progress=killer))
    resumed = backbone.fit(TRAIN, VALIDATION, _run(tmp_path / "cut"))
    assert resumed.report["resumed_at_step"] >= 9
    whole = backbone.fit(TRAIN, VALIDATION, _run(tmp_path / "whole"))
    np.testing.assert_allclose(resumed.predict(TEST), whole.predict(TEST), atol=1e-4)


def test_a_missing_or_changed_base_is_named(tmp_path: Path) -> None:
    base = make_model("bert", tmp_path / "bert")
    backbone = _backbone(base, store="adapter", epochs=1)
    fitted = backbone.fit(TRAIN, VALIDATION, _run(tmp_path / "work"))
    fitted.save(tmp_path / "saved")
    digest = fitted.report["base"]["sha256"][:16]
    moved = base.rename(tmp_path / "elsewhere")
    with pytest.raises(BackboneUnavailable, match=rf"SHA-256 {digest}…\) that this version .* is gone from .*bert\."):
        backbone.load(tmp_path / "saved", SETTINGS)
    moved.rename(base)
    with (base / "model.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\x00\x00\x80\x3f")
    other = places.weights_digest(base)[:16]
    with pytest.raises(BackboneUnavailable, match=rf"{base} has SHA-256 {other}…, not {digest}….*enqueue retrain"):
        backbone.load(tmp_path / "saved", SETTINGS)


def test_a_base_that_moved_is_found_where_models_are_kept(tmp_path: Path) -> None:
    make_model("bert", tmp_path / "weights" / "shop" / "bert")
    backbone = replace(_backbone(tmp_path, store="adapter", epochs=1), model="shop/bert")
    settings = Settings(home=tmp_path, weights=tmp_path / "weights")
    fitted = backbone.fit(TRAIN, VALIDATION, replace(_run(tmp_path / "work"), settings=settings))
    fitted.save(tmp_path / "saved")
    (tmp_path / "weights").rename(tmp_path / "other")
    moved = Settings(home=tmp_path, weights=tmp_path / "other")
    np.testing.assert_allclose(backbone.load(tmp_path / "saved", moved).predict(TEST), fitted.predict(TEST), atol=1e-5)


def test_a_warm_start_from_an_adapter(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    backbone = _backbone(make_model("qwen2", tmp_path / "qwen2"), store="adapter", epochs=1)
    parent = settings.store_path / "models" / "parent"
    first = backbone.fit(TRAIN, VALIDATION, _run(tmp_path / "first"))
    first.save(parent)
    second = backbone.fit(TRAIN, VALIDATION, replace(_run(tmp_path / "second", start=parent), settings=settings))
    second.save(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / BASE).read_text())["base"]["version"] == "models/parent"
    np.testing.assert_allclose(
        backbone.load(tmp_path / "saved", settings).predict(TEST), second.predict(TEST), atol=1e-5
    )
    four = Examples(TRAIN.frame, (*TRAIN.segments, "top"), TRAIN.feature_names)
    other = Examples(VALIDATION.frame, four.segments, VALIDATION.feature_names)
    third = backbone.fit(four, other, _run(tmp_path / "third", start=parent))
    assert third.predict(TEST).shape == (40, 4)


def test_auxiliary_labels_are_not_kept_in_an_adapter(tmp_path: Path) -> None:
    backbone = _backbone(make_model("bert", tmp_path / "bert"), store="adapter", epochs=1)
    also = {"other": Examples(TRAIN.frame, ("a", "b", "c"), TRAIN.feature_names)}
    fitted = backbone.fit(TRAIN, VALIDATION, _run(tmp_path / "work", also=also))
    fitted.save(tmp_path / "saved")
    loaded = backbone.load(tmp_path / "saved", SETTINGS)
    assert list(loaded.model.text.config.id2label.values()) == list(TRAIN.segments)
    np.testing.assert_allclose(loaded.predict(TEST), fitted.predict(TEST), atol=1e-5)


def test_what_auto_chooses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = make_model("bert", tmp_path / "bert")
    tuner = {name: _backbone(base, tuner=name).made_tuner(Settings(home=tmp_path)) for name in ("lora", "full")}
    backbone = _backbone(base)
    assert not backbone.stores_adapter(base, tuner["lora"]), "small: it stays whole"
    monkeypatch.setattr(places, "LARGE", 1000)
    assert backbone.stores_adapter(base, tuner["lora"])
    assert not backbone.stores_adapter(base, tuner["full"]), "all of it changes"
    assert not replace(backbone, store="merged").stores_adapter(base, tuner["lora"])
    for wrong in (_backbone(base, tuner="full", store="adapter"), Tiny(tuner="lora", store="adapter")):
        with pytest.raises(ConfigurationError, match="store=adapter keeps what was learned over a base, but"):
            wrong.check(Settings(home=tmp_path))


def test_frozen_weights_in_bfloat16(tmp_path: Path) -> None:
    assert dtype_for_base("auto", 10**6, frozen=True) == "float32"
    assert dtype_for_base("auto", 10**12, frozen=False) == "float32"
    base = make_model("qwen2", tmp_path / "qwen2")
    backbone = _backbone(base, store="adapter", dtype="bfloat16", features=False)
    fitted = backbone.fit(TRAIN, VALIDATION, _run(tmp_path / "work"))
    kinds = {weights.dtype for weights in fitted.model.text.base_model.parameters()}
    assert kinds == {torch.bfloat16}
    assert fitted.model.text.score.weight.dtype == torch.float32, "what learns is precise"
    fitted.save(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / BASE).read_text())["dtype"] == "bfloat16"
    np.testing.assert_allclose(
        backbone.load(tmp_path / "saved", SETTINGS).predict(TEST), fitted.predict(TEST), atol=3e-2
    )
    fitted.export(tmp_path / "whole")
    assert {tensor.dtype for tensor in load_file(tmp_path / "whole" / "model.safetensors").values()} == {torch.bfloat16}
    np.testing.assert_allclose(
        backbone.load(tmp_path / "whole", SETTINGS).predict(TEST), fitted.predict(TEST), atol=3e-2
    )
