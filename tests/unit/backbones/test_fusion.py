"""``fusion=joint``: text and numbers in one network, which begins as the sum of their logits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from segadmin.contracts.backbone import Examples, FitContext
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError
from segadmin.settings import Settings
from segadmin.testing.backbones import check_backbone, planted
from segadmin_plugins.backbones.features.piecewise_linear import quantile_edges
from segadmin_plugins.backbones.hf import HuggingFace
from segadmin_plugins.backbones.tiny import Tiny
from segadmin_plugins.backbones.transformer.batches import PadCollator, pack
from segadmin_plugins.backbones.transformer.classifier import TransformerClassifier, rows_of
from segadmin_plugins.backbones.transformer.head import first_rows
from segadmin_plugins.backbones.transformer.joint_head import BINS, WIDTH, FeatureEmbeddings, JointHead
from segadmin_plugins.backbones.transformer.multitask import last_layers
from segadmin_plugins.backbones.transformer.projection import widen
from segadmin_plugins.backbones.transformer.warm_start import start_from
from segadmin_plugins.engines.packed_text import packed_like
from tests.models import make_model

TRAIN, VALIDATION, TEST = planted(96), planted(32, seed=1), planted(40, seed=2)
TINY = Tiny(
    max_tokens=16, epochs=2, batch_size=16, width=64, layers=2, learning_rate=2e-3, head_steps=40, fusion="joint"
)
SETTINGS = Settings()


def _run(folder: Path, **more: Any) -> FitContext:
    folder.mkdir(parents=True, exist_ok=True)
    return FitContext(Settings(home=folder), folder, **more)


def _head(features: torch.Tensor, segments: int = 3) -> JointHead:
    return JointHead(torch.from_numpy(quantile_edges(features.numpy(), BINS)), segments).eval()


def test_training_begins_with_the_sum_of_the_logits() -> None:
    features, outputs = torch.randn(50, 4), torch.randn(50, 3 + WIDTH)
    head = _head(features)
    with torch.inference_mode():
        assert torch.equal(head.fuse(outputs, features), outputs[:, :3] + head(features))


def test_gradients_reach_text_and_numbers_through_the_joint_part() -> None:
    features, outputs = torch.randn(50, 4), torch.randn(50, 3 + WIDTH, requires_grad=True)
    head = _head(features)
    optimizer = torch.optim.SGD(head.joint.parameters(), lr=1.0)
    for _ in range(2):  # only the last layer, which starts at zero, learns from the first step
        optimizer.zero_grad()
        outputs.grad = None
        torch.nn.functional.cross_entropy(head.fuse(outputs, features), torch.arange(50) % 3).backward()
        optimizer.step()
    assert outputs.grad is not None
    assert outputs.grad[:, 3:].abs().sum() > 0
    for weights in (head.numbers.weight, head.text.weight, head.embeddings[0].weight):
        assert weights.grad.abs().sum() > 0


def _interaction(rows: int, seed: int) -> Examples:
    """Return users whose segment neither the word nor the number shows, but whether the two go together."""
    random = np.random.default_rng(seed)
    word, number = random.integers(0, 2, rows), random.normal(0, 1, rows)
    frame = planted(rows, seed=seed).frame.with_columns(
        phrases=pl.Series([[("bought milk", "bought wine")[n]] for n in word]),
        features=pl.Series([[float(value)] for value in number], dtype=pl.List(pl.Float32)),
        target=pl.Series(word ^ (number > 0)),
    )
    return Examples(frame, ("apart", "together"), ("margin",))


@pytest.mark.parametrize(("fusion", "least", "most"), [("joint", 0.9, 1.0), ("sum", 0.3, 0.7)])
def test_only_a_joint_network_learns_what_text_and_number_show_together(
    fusion: Any, least: float, most: float, tmp_path: Path
) -> None:
    backbone = replace(TINY, fusion=fusion, epochs=10, patience=20, batch_size=32)
    fitted = backbone.fit(_interaction(640, 0), _interaction(160, 1), _run(tmp_path))
    test = _interaction(400, 2)
    assert least <= (fitted.predict(test).argmax(axis=1) == test.targets).mean() <= most
    assert fitted.report["fusion"] == fusion


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "qwen2", "bart"])
def test_a_saved_version_predicts_the_same_and_its_text_model_loads_alone(kind: str, tmp_path: Path) -> None:
    backbone = HuggingFace(
        model=str(make_model(kind, tmp_path / kind)), fusion="joint", max_tokens=24, epochs=1, head_steps=20
    )
    fitted = backbone.fit(TRAIN, VALIDATION, _run(tmp_path / "work"))
    _make_joint_part_matter(fitted)
    probabilities = fitted.predict(TEST)
    fitted.save(tmp_path / "saved")
    loaded = backbone.load(tmp_path / "saved", SETTINGS)
    np.testing.assert_allclose(loaded.predict(TEST), probabilities, atol=1e-5)
    np.testing.assert_allclose(fitted.predict(TEST), probabilities, atol=1e-6)
    loaded.export(tmp_path / "exported")
    np.testing.assert_allclose(backbone.load(tmp_path / "exported", SETTINGS).predict(TEST), probabilities, atol=1e-5)
    text = AutoModelForSequenceClassification.from_pretrained(tmp_path / "exported")
    assert text.config.id2label == {0: "low", 1: "middle", 2: "high"}
    own = last_layers(text)[0][2].weight
    assert torch.allclose(own, last_layers(fitted.model.text)[0][2].weight[:3], atol=1e-6)


def _make_joint_part_matter(fitted: TransformerClassifier) -> JointHead:
    """Give the joint part weights as after a long training, and return the head."""
    head = fitted.model.features
    assert isinstance(head, JointHead)
    torch.nn.init.normal_(head.joint[-1].weight, std=1.0)  # type: ignore[arg-type]
    return head


@pytest.mark.parametrize("tuner", ["lora", "houlsby", "prefix", "head"])
def test_an_adapter_keeps_the_projection(tuner: str, tmp_path: Path) -> None:
    base = make_model("bert", tmp_path / "bert")
    backbone = HuggingFace(
        model=str(base), fusion="joint", tuner=tuner, store="adapter", max_tokens=24, epochs=1, head_steps=20
    )
    fitted = backbone.fit(TRAIN, VALIDATION, _run(tmp_path / "work"))
    _make_joint_part_matter(fitted)
    fitted.save(tmp_path / "adapter")
    fitted.export(tmp_path / "whole")
    for name in ("adapter", "whole"):
        loaded = backbone.load(tmp_path / name, SETTINGS)
        np.testing.assert_allclose(loaded.predict(TEST), fitted.predict(TEST), atol=1e-5)


@pytest.mark.parametrize("engine", ["torch", "openvino", "onnxruntime"])
def test_engines_compute_the_projection_too(engine: str, tmp_path: Path) -> None:
    pytest.importorskip(engine)
    fitted = TINY.fit(TRAIN, VALIDATION, _run(tmp_path))
    _make_joint_part_matter(fitted)
    users = planted(1_200, seed=3)
    numbers = [[f"bought milk {n}"] for n in range(len(users))]  # engines are compared when so many texts are read
    users = replace(users, frame=users.frame.with_columns(phrases=pl.Series(numbers)))
    fitted.save(tmp_path / "saved")

    def probabilities(name: str) -> tuple[Any, Any]:
        model = TINY.load(tmp_path / "saved", Settings(engine=name))
        return model.predict(users), model.inference

    expected, _ = probabilities("transformers")
    found, inference = probabilities(engine)
    assert inference["engine"] == engine
    exact = inference["precision"] == "float32"
    np.testing.assert_allclose(found, expected, atol=1e-4 if exact else 0.05)


def test_packed_and_padded_texts_are_fused_alike(tmp_path: Path) -> None:
    TINY.fit(TRAIN, VALIDATION, _run(tmp_path)).save(tmp_path / "saved")
    fitted = TINY.load(tmp_path / "saved", SETTINGS)  # in float32: training may have been in bfloat16
    _make_joint_part_matter(fitted)
    model, missing = fitted.model, fitted.model.missing
    rows, _ = rows_of(TEST, fitted.encoder, fitted.scaling, TEST.targets, missing=missing)
    batch = sorted((rows[n] for n in range(len(rows))), key=lambda row: -len(row["input_ids"]))
    model.packed = packed_like(model.text, fitted.encoder.pad_id, rows.ids)
    assert model.packed is not None
    with torch.inference_mode():
        packed, padded = (model(**collate(batch)) for collate in (pack, PadCollator(fitted.encoder.pad_id)))
    assert torch.allclose(packed["logits"], padded["logits"], atol=1e-4)
    assert torch.allclose(packed["loss"], padded["loss"], atol=1e-4)


def test_engines_are_compared_by_the_projection_too(tmp_path: Path) -> None:
    head = _make_joint_part_matter(TINY.fit(TRAIN, VALIDATION, _run(tmp_path)))
    outputs = np.random.default_rng(0).normal(size=(20, 3 + WIDTH)).astype(np.float32)
    other = outputs.copy()
    other[:, 3:] *= -1
    first, second = (head.of_average_user(each) for each in (outputs, other))
    assert first.shape == (20, 3)
    assert np.abs(first - second).max() > 0.1


def test_features_that_are_missing_or_constant(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(96, 4)).astype(np.float32)
    values[:, 1], values[:, 2] = 7.0, np.nan
    values[:70, 3] = 0.0
    edges = quantile_edges(values, BINS)
    assert (np.diff(edges, axis=1) >= 0).all()
    assert [int((np.diff(row) > 0).sum()) for row in edges] == [BINS, 0, 0, 5]
    embeddings = FeatureEmbeddings(torch.from_numpy(edges))
    encoded = embeddings.encoded(torch.tensor([[edges[0, 0], 7.0, 0.0, 0.0], [edges[0, -1], 9.0, 1.0, 9.0]]))
    assert encoded[0, 0].sum() == 0
    assert encoded[1, 0].sum() == BINS
    assert encoded[:, 1:3].abs().sum() == 0
    frame = TRAIN.frame.with_columns(features=pl.Series(values.tolist(), dtype=pl.List(pl.Float32)))
    train = Examples(frame, TRAIN.segments, ("some", "constant", "missing", "mostly zero"))
    fitted = TINY.fit(train, train, _run(tmp_path))
    assert np.isfinite(fitted.predict(train)).all()
    nothing = replace(train, frame=train.frame.with_columns(features=pl.lit([None] * 4, dtype=pl.List(pl.Float32))))
    assert np.isfinite(fitted.predict(nothing)).all()


def test_a_missing_feature_is_not_an_average_one() -> None:
    head = _head(torch.randn(50, 2))
    torch.nn.init.normal_(head.embeddings[0].missing)
    with torch.inference_mode():
        assert not torch.allclose(head(torch.tensor([[0.0, float("nan")]])), head(torch.zeros(1, 2)))


def test_auxiliary_tasks_are_learned_beside_and_left_out_of_the_version(tmp_path: Path) -> None:
    run = _run(tmp_path, also={"other": planted(96, seed=0)})
    fitted = TINY.fit(TRAIN, VALIDATION, run)
    assert fitted.predict(TEST).shape == (len(TEST), 3)
    fitted.save(tmp_path / "saved")
    assert load_file(tmp_path / "saved" / "head.safetensors")["joint.3.bias"].shape == (3,)
    np.testing.assert_allclose(TINY.load(tmp_path / "saved", SETTINGS).predict(TEST), fitted.predict(TEST), atol=1e-5)


@pytest.mark.parametrize("fusion", ["sum", "joint"])
def test_a_fit_continues_from_a_joint_version(fusion: Any, tmp_path: Path) -> None:
    TINY.fit(TRAIN, VALIDATION, _run(tmp_path / "first")).save(tmp_path / "saved")
    again = replace(TINY, fusion=fusion).fit(TRAIN, VALIDATION, _run(tmp_path / "again", start=tmp_path / "saved"))
    assert (again.predict(TEST).argmax(axis=1) == TEST.targets).mean() > 0.8


class Killed(Exception):
    pass


def test_an_interrupted_joint_fit_resumes(tmp_path: Path) -> None:
    def killer(fraction: float, _note: str) -> None:
        if fraction > 0.6:
            raise Killed

    backbone = replace(TINY, epochs=4)
    with pytest.raises(Killed):
        backbone.fit(TRAIN, VALIDATION, _run(tmp_path / "cut", progress=killer))
    resumed = backbone.fit(TRAIN, VALIDATION, _run(tmp_path / "cut"))
    assert resumed.report["resumed_at_step"] > 0
    whole = backbone.fit(TRAIN, VALIDATION, _run(tmp_path / "whole"))
    np.testing.assert_allclose(resumed.predict(TEST), whole.predict(TEST), atol=1e-4)


def test_stored_sums_keep_their_names(tmp_path: Path) -> None:
    backbone = replace(TINY, fusion="sum", epochs=1)
    backbone.fit(TRAIN, VALIDATION, _run(tmp_path)).save(tmp_path / "saved")
    names = {f"{layer}.{part}" for layer in ("linear", "deep.0", "deep.3") for part in ("weight", "bias")}
    assert load_file(tmp_path / "saved" / "head.safetensors").keys() == names
    assert not isinstance(Tiny().load(tmp_path / "saved", SETTINGS).model.features, JointHead)


def test_a_joint_version_keeps_the_contract(settings: Settings, tmp_path: Path) -> None:
    report = check_backbone(replace(TINY, epochs=8, patience=16), settings, tmp_path)
    assert report["fusion"] == "joint"


def test_without_features_there_is_nothing_to_fuse(settings: Settings, tmp_path: Path) -> None:
    make = load_plugins(settings).make
    with pytest.raises(ConfigurationError, match=r"^fusion='joint' reads the features, which features=False leaves"):
        make("backbone", "tiny", {"fusion": "joint", "features": "false"})
    with pytest.raises(ConfigurationError, match=r"fusion='product'"):
        make("backbone", "tiny", {"fusion": "product"})
    alone = Examples(TRAIN.frame, TRAIN.segments, ())
    fitted = replace(TINY, epochs=1).fit(alone, replace(VALIDATION, feature_names=()), _run(tmp_path))
    assert fitted.model.features is None
    assert "fusion" not in fitted.report


def test_a_model_without_a_clear_last_layer_is_refused(tmp_path: Path) -> None:
    text, _ = start_from(make_model("bert", tmp_path / "bert"), ("a", "b"), settings=SETTINGS)
    text.second = first_rows(last_layers(text)[0][2], 2)
    with pytest.raises(ConfigurationError, match=r"BertForSequenceClassification has 2 layers .* fusion=sum$"):
        widen(text, WIDTH)
