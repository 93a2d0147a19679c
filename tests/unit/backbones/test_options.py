"""Options keep the names that manifests of earlier versions have them under."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from segadmin.contracts.plugins import load_plugins
from segadmin.settings import Settings

#: ``backbone_options`` as the manifest of a version trained before the options had a class of their own.
EARLIER = {
    "max_tokens": 48,
    "epochs": 5,
    "learning_rate": 1e-4,
    "batch_size": 8,
    "warmup": 0.2,
    "weight_decay": 0.02,
    "patience": 2,
    "features": False,
    "tuner": "lora",
    "tuner_options": "rank=4,alpha=8",
    "frozen_layers": 1,
    "class_weights": False,
    "balanced": True,
    "focal": 1.5,
    "label_smoothing": 0.1,
    "accumulate": 2,
    "layer_decay": 0.9,
    "also_weight": 0.5,
    "phrase_dropout": 0.1,
    "processes": 2,
    "store": "adapter",
    "dtype": "float32",
}
OWN = {
    "hf": {"model": "bert-base-chinese"},
    "minilm": {"model": "sentence-transformers/all-MiniLM-L6-v2"},
    "tiny": {"words": 100, "layers": 1, "width": 64},
}


@pytest.mark.parametrize("name", sorted(OWN))
def test_options_of_an_earlier_manifest_are_read(name: str, settings: Settings) -> None:
    backbone = load_plugins(settings).make("backbone", name, EARLIER | OWN[name])
    options = asdict(backbone)
    assert options.pop("tuner_options") == {"rank": "4", "alpha": "8"}  # a string then, a table now
    assert (EARLIER | OWN[name] | options) == options | {"tuner_options": EARLIER["tuner_options"]}


def test_a_backbone_has_defaults_of_its_own(settings: Settings) -> None:
    plugins = load_plugins(settings)
    hf, tiny = plugins.make("backbone", "hf", {"model": "x"}), plugins.make("backbone", "tiny", {})
    assert (hf.max_tokens, hf.epochs, hf.learning_rate) == (128, 3, 3e-5)
    assert (tiny.max_tokens, tiny.epochs, tiny.learning_rate) == (96, 6, 5e-4)
    assert hf.search["epochs"] == "1..5"
