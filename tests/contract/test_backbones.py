"""Every registered backbone keeps the contract, and `hf` keeps it with encoders and decoders, English and Chinese."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest

from segadmin.contracts.backbone import Backbone, FitContext
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError, PluginContractError, PluginNotFound
from segadmin.settings import Settings
from segadmin.testing.backbones import check_backbone, check_without_features, planted
from segadmin_plugins.backbones.pooled import weigh
from tests.models import make_model

#: Options with which a backbone fits the few planted users in seconds.
QUICK: dict[str, dict[str, object]] = {
    "cascade": {
        "text": "tiny",
        "text_options": "max_tokens=24,epochs=4,batch_size=16,width=64,head_steps=60,learning_rate=2e-3",
    },
    "linear": {},
    "tabular": {"min_users": 3},
    "stacked": {"text": "tfidf"},
    "tfidf": {},
    "tiny": {"max_tokens": 24, "epochs": 6, "batch_size": 16, "learning_rate": 2e-3, "width": 64, "head_steps": 60},
    "minilm": {"max_tokens": 16, "epochs": 1, "batch_size": 16, "head_steps": 60},
}
#: The features tell the segment and are learnt within these steps; the contract asks for no more.
SMALL = {"max_tokens": 24, "epochs": 1, "batch_size": 16, "learning_rate": 2e-3, "head_steps": 60}
ROWS = 96


def test_every_registered_backbone_is_tested(settings: Settings) -> None:
    # auxiliary-stacking needs other labels: tests/unit/backbones/test_tasks.py; self-supervised needs unlabelled users:
    # test_self_supervised.py; e5 is hf with other weights: test_e5.py
    elsewhere = {"auxiliary-stacking", "e5", "hf", "self-supervised"}
    assert {*QUICK, *elsewhere} == set(load_plugins(settings).names("backbone"))


@pytest.mark.parametrize("name", sorted(QUICK))
def test_contract(name: str, settings: Settings, tmp_path: Path) -> None:
    backbone = load_plugins(settings).make("backbone", name, QUICK[name])
    report = check_backbone(backbone, settings, tmp_path / "work", rows=192 if name != "minilm" else 48)
    assert report
    if name == "minilm":
        assert report["base"]["model"] == "sentence-transformers/all-MiniLM-L6-v2"


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["minilm", "tiny"])
@pytest.mark.parametrize("tuner", ["full", "lora"])
def test_contract_on_a_gpu(name: str, tuner: str, settings: Settings, tmp_path: Path) -> None:
    import torch

    options = QUICK[name] | {"tuner": tuner}
    check_backbone(load_plugins(settings).make("backbone", name, options), settings, tmp_path / "work")
    assert torch.cuda.max_memory_allocated() > 0


@pytest.mark.parametrize("name", ["minilm", "stacked", "tfidf", "tiny"])
def test_contract_in_chinese(name: str, settings: Settings, tmp_path: Path) -> None:
    backbone = load_plugins(settings).make("backbone", name, QUICK[name])
    check_backbone(backbone, settings, tmp_path / "work", rows=192 if name != "minilm" else 48, language="zh")


def test_stacked_is_fitted_on_out_of_fold_predictions(settings: Settings, tmp_path: Path) -> None:
    options = {
        "text": "tiny",
        "text_options": "max_tokens=24,epochs=2,batch_size=16,width=64,head_steps=60",
        "folds": 2,
    }
    backbone = load_plugins(settings).make("backbone", "stacked", options)
    report = check_backbone(backbone, settings, tmp_path / "work", rows=ROWS)
    assert report["folds"] == 2
    assert report["weights"] == {"tabular": 1.0}


def test_stacked_weighs_an_informative_part_above_a_random_one(settings: Settings) -> None:
    validation = planted(400, seed=3)
    right = np.full((400, len(validation.segments)), 0.1, np.float32)
    right[np.arange(400), validation.targets] = 0.8
    guessed = np.random.default_rng(1).dirichlet([1.0] * len(validation.segments), 400).astype(np.float32)
    weights = weigh({"text": right, "tabular": guessed}, validation)
    assert weights["text"] > 1.0 > 0.1 > weights["tabular"]
    assert weigh({"text": right, "tabular": guessed}, planted(0, seed=3)) == {"text": 0.5, "tabular": 0.5}


def test_stacked_refuses_no_parts_and_itself(settings: Settings) -> None:
    for options, message in (({"beside": ""}, "names no backbones"), ({"beside": "stacked"}, "part of itself")):
        with pytest.raises(ConfigurationError, match=message):
            load_plugins(settings).make("backbone", "stacked", {"text": "tfidf"} | options).check(settings)


KINDS = ["albert", "bert", "bert-chinese", "distilbert", "ernie", "gpt2", "llama", "roberta"]
#: Whose encoder and decoder share one embedding, or whose embedding is also the layer that says words.
KINDS += ["bart", "mt5", "qwen2", "t5"]
#: Those whose tokenizers know Chinese characters, not English words.
CHINESE = {"bert-chinese", "ernie"}


@pytest.mark.parametrize("kind", KINDS)
def test_hf_contract(kind: str, settings: Settings, tmp_path: Path) -> None:
    make_model(kind, tmp_path / kind)
    backbone = load_plugins(settings).make("backbone", "hf", SMALL | {"model": str(tmp_path / kind)})
    language = "zh" if kind in CHINESE else "en"
    report = check_backbone(backbone, settings, tmp_path / "work", rows=ROWS, language=language)
    weights = hashlib.sha256((tmp_path / kind / "model.safetensors").read_bytes()).hexdigest()
    assert report["base"] == {"model": str(tmp_path / kind), "revision": None, "sha256": weights}
    assert report["trained_weights"] == report["weights"], "without a tuner all are trained"


@pytest.mark.parametrize("kind", KINDS)
def test_a_hugging_face_pipeline_gives_the_same_probabilities(kind: str, settings: Settings, tmp_path: Path) -> None:
    from transformers import pipeline

    make_model(kind, tmp_path / kind)
    options = SMALL | {"model": str(tmp_path / kind), "features": False}
    train, validation, test = (
        planted(rows, seed=rows, language="zh" if kind in CHINESE else "en") for rows in (96, 24, 20)
    )
    folder, saved = tmp_path / "work", tmp_path / "saved"
    folder.mkdir()
    model = load_plugins(settings).make("backbone", "hf", options).fit(train, validation, FitContext(settings, folder))
    model.save(saved)
    read = pipeline("text-classification", model=str(saved), tokenizer=str(saved), top_k=None)
    outputs = read(["".join(f" {phrase}" for phrase in phrases) for phrases in test.frame["phrases"].to_list()])
    probabilities = [
        [{entry["label"]: entry["score"] for entry in user}[segment] for segment in test.segments] for user in outputs
    ]
    np.testing.assert_allclose(probabilities, model.predict(test), atol=1e-5)
    (long,) = read(["bought milk " * 100], truncation=True)
    assert sum(entry["score"] for entry in long) == pytest.approx(1, abs=1e-4), (
        "no more is read than the model has room for"
    )


#: What each built-in tuner but ``full``, the default, trains of a small model, as a share of its weights: at least and
#: at most.
TUNED = {"head": (0, 0.2), "lora": (0.01, 0.9), "adalora": (0.01, 0.9), "ia3": (0, 0.3)}
TUNED |= {"houlsby": (0.01, 0.9), "prefix": (0.01, 0.9)}


@pytest.mark.parametrize("kind", ["bert", "gpt2", "distilbert", "llama", "bart", "t5"])
@pytest.mark.parametrize("tuner", sorted(TUNED))
def test_tuners(tuner: str, kind: str, settings: Settings, tmp_path: Path) -> None:
    assert {"full", *TUNED} == set(load_plugins(settings).names("tuner"))
    make_model(kind, tmp_path / kind)
    backbone = load_plugins(settings).make("backbone", "hf", SMALL | {"model": str(tmp_path / kind), "tuner": tuner})
    if tuner == "prefix" and kind in {"distilbert", "bart", "t5"}:
        with pytest.raises(ConfigurationError, match=rf"'prefix' cannot put keys and values into a {kind} .* lora"):
            check_backbone(backbone, settings, tmp_path / "work", rows=ROWS)
        return
    report = check_backbone(backbone, settings, tmp_path / "work", rows=ROWS)
    least, most = TUNED[tuner]
    assert least <= report["trained_weights"] / report["weights"] <= most


def test_a_tuner_with_options_and_one_that_trains_nothing(settings: Settings, tmp_path: Path) -> None:
    tiny = QUICK["tiny"] | {"tuner": "lora", "epochs": 2}
    reports = [
        check_backbone(
            load_plugins(settings).make("backbone", "tiny", tiny | {"tuner_options": f"rank={rank}"}),
            settings,
            tmp_path / str(rank),
            rows=ROWS,
        )
        for rank in (1, 4)
    ]
    assert reports[0]["trained_weights"] < reports[1]["trained_weights"]
    plugin = tmp_path / "idle.py"
    plugin.write_text(
        "import segadmin\n"
        "class Idle(segadmin.Tuner):\n"
        "    name = 'idle'\n"
        "    def adapt(self, model, run):\n"
        "        return model.requires_grad_(False)\n"
        "@segadmin.hookimpl\n"
        "def register_tuners():\n"
        "    return [Idle]\n"
    )
    with_plugin = settings.model_copy(update={"plugin_files": (plugin,)})
    idle = load_plugins(with_plugin).make("backbone", "tiny", QUICK["tiny"] | {"tuner": "idle"})
    with pytest.raises(PluginContractError, match="'idle' leaves no weight to learn"):
        check_backbone(idle, with_plugin, tmp_path / "idle")
    unknown = load_plugins(settings).make("backbone", "tiny", {"tuner": "lorra"})
    with pytest.raises(PluginNotFound, match="Did you mean 'lora'"):
        unknown.check(settings)


@pytest.mark.parametrize("name", ["tabular", "tfidf", "tiny"])
def test_without_features(name: str, settings: Settings, tmp_path: Path) -> None:
    backbone: Backbone = load_plugins(settings).make("backbone", name, QUICK[name])
    check_without_features(backbone, settings, tmp_path / "work")


def test_text_alone_is_enough(settings: Settings, tmp_path: Path) -> None:
    tiny = load_plugins(settings).make("backbone", "tiny", QUICK["tiny"])
    check_backbone(dataclasses.replace(tiny, features=False), settings, tmp_path / "work")
