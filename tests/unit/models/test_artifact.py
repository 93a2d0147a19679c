from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from segadmin.contracts.backbone import Classifier, Examples, FitContext, no_progress
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import PluginContractError, StorageError
from segadmin.files import folder_digest
from segadmin.inference.predictor import load_predictor
from segadmin.models.artifact import Saved, read_manifest, save_artifact
from segadmin.models.manifest import MANIFEST_VERSION, ModelManifest
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.records import ModelVersion
from segadmin.testing.backbones import check_backbone, planted
from segadmin.text.recipe import Recipe
from segadmin_plugins.backbones.linear import Linear, LinearClassifier
from tests.planted import Run


class Writes(Classifier):
    """A plugin author's classifier that saves what it is told."""

    def __init__(self, files: dict[str, str]) -> None:
        self.files, self.report = files, {}

    def predict(self, examples: Examples, progress: Callable[[float, str], None] = no_progress) -> NDArray[np.float32]:
        raise AssertionError("not needed here")

    def save(self, folder: Path) -> None:
        for name, content in self.files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(content)


MANIFEST = ModelManifest(
    backbone="mine", recipe=Recipe(textualizer="mixed", textualizer_version="1"), segments=("low", "high")
)


def _save(settings: Settings, files: dict[str, str], draft: str = "draft") -> Saved:
    return save_artifact(settings, settings.store_path / "work" / draft, Writes(files), MANIFEST)


def test_the_folder_is_named_by_what_is_in_it(settings: Settings) -> None:
    first = _save(settings, {"weights.json": "1", "more/vocabulary.txt": "a"})
    assert first == _save(settings, {"more/vocabulary.txt": "a", "weights.json": "1"}, draft="another")
    other = _save(settings, {"weights.json": "2", "more/vocabulary.txt": "a"}, draft="third")
    assert other.sha256 != first.sha256
    folder = settings.store_path / first.folder
    assert folder.parent == settings.store_path / "models"
    assert folder.name == first.sha256[:12] == folder_digest(folder)[:12]
    assert read_manifest(settings, first).segments == ("low", "high")
    assert json.loads((folder / "manifest.json").read_text())["manifest_version"] == MANIFEST_VERSION


PICKLE = pickle.dumps({"a": 1})
REFUSED = {
    "model.pkl": b"x",
    "MODEL.PKL": b"x",
    "pytorch_model.bin": b"x",
    "parts/code.py": b"x",
    "weights.dat": PICKLE,
    "weights": b"PK\x03\x04 as torch.save begins",
}
#: What is safe may look dangerous: the length of a safetensors header begins as a pickle does.
ACCEPTED = {"weights.json": b"{}", "vocab.txt": b"PK", "words/spiece.model": b"\n\x0e", "m.safetensors": PICKLE}


class Also(LinearClassifier):
    """A classifier that saves one more file than it needs."""

    also: tuple[str, bytes]

    def save(self, folder: Path) -> None:
        super().save(folder)
        path = folder / self.also[0]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(self.also[1])


@dataclass(frozen=True)
class AlsoSaves(Linear):
    also: tuple[str, bytes] = ("", b"")

    def fit(self, train: Examples, validation: Examples, run: FitContext) -> LinearClassifier:
        model = super().fit(train, validation, run)
        model.__class__, model.also = Also, self.also  # type: ignore[attr-defined]
        return model


@pytest.mark.parametrize("name", [*REFUSED, *ACCEPTED])
def test_training_and_the_contract_suite_refuse_the_same_files(settings: Settings, tmp_path: Path, name: str) -> None:
    content = (REFUSED | ACCEPTED)[name]
    refused = name in REFUSED
    backbone = AlsoSaves(also=(name, content))
    train = planted(24)
    (tmp_path / "checkpoints").mkdir()
    classifier = backbone.fit(train, train, FitContext(settings, tmp_path / "checkpoints"))
    draft = settings.store_path / "work" / "draft"
    with pytest.raises(PluginContractError, match=f"'mine' saved '{Path(name).name}'") if refused else nullcontext():
        save_artifact(settings, draft, classifier, MANIFEST)
    assert (settings.store_path / "models").exists() is not refused
    with pytest.raises(AssertionError, match=f"wrote .*'{Path(name).name}'") if refused else nullcontext():
        check_backbone(backbone, settings, tmp_path / "suite", rows=40)


def test_a_link_in_an_artifact_is_refused(settings: Settings, tmp_path: Path) -> None:
    draft = settings.store_path / "work" / "draft"
    draft.mkdir(parents=True)
    (draft / "vocab.txt").symlink_to(tmp_path)
    with pytest.raises(PluginContractError, match=r"saved 'vocab\.txt'"):
        save_artifact(settings, draft, Writes({}), MANIFEST)


def test_a_named_pipe_in_an_artifact_is_not_read(settings: Settings) -> None:
    folder = settings.store_path / "models" / "abc"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    os.mkfifo(folder / "weights.safetensors")
    with pytest.raises(StorageError, match=r"weights\.safetensors, which is neither a file nor a folder\. Restore"):
        read_manifest(settings, Saved("models/abc", "0" * 64))


def test_a_model_reads_users_as_before_after_its_folder_was_read_again(shop: Settings) -> None:
    with transaction(shop) as session:
        version = session.get_one(ModelVersion, 1)
    model = load_predictor(shop, load_plugins(shop), version)
    run = Run(shop, "score", {}).until("publish")
    scored = pl.concat([run.read(output["scores"]) for output in run.inputs["score"]])
    texts = pl.concat([run.read(output["scoring"]) for output in run.inputs["textualize"]])
    again = model.probabilities(model.examples(texts.sort("bucket", "user_key")))
    assert model.features == model.manifest.features
    assert np.allclose(np.array(scored["probabilities"].to_list()), again, atol=1e-6)


def test_a_changed_file_and_a_missing_folder_are_noticed(shop: Settings) -> None:
    with transaction(shop) as session:
        version = session.get_one(ModelVersion, 1)
    folder = shop.store_path / version.folder
    with (folder / "trees.txt").open("a") as file:
        file.write(" ")
    with pytest.raises(StorageError, match=r"is damaged.*enqueue retrain"):
        load_predictor(shop, load_plugins(shop), version)
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(StorageError, match="is gone"):
        read_manifest(shop, Saved(version.folder, version.sha256))


def test_the_manifest_says_all_that_scoring_and_a_reader_need(shop: Settings) -> None:
    with transaction(shop) as session:
        manifest = session.get_one(ModelVersion, 1).manifest
    assert manifest["segments"] == ["low", "mid", "high"]
    assert manifest["recipe"]["textualizer_version"] == "1"
    assert manifest["recipe"]["window_days"] == 28  # as long as the labels were observed, not the default
    assert set(manifest["recipe"]["categories"]) == {"milk", "bread", "coffee", "games"}
    assert manifest["data"]["parts"]["test"] > 300
    assert manifest["data"]["definition"]["thresholds"][0] < manifest["data"]["definition"]["thresholds"][1]
    assert 0.1 <= manifest["calibration"]["temperature"] <= 10
    assert manifest["versions"]["lightgbm"]
