from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from segadmin.contracts.backbone import Classifier, Examples, no_progress
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import PluginContractError, StorageError
from segadmin.inference.predictor import load_predictor
from segadmin.models.artifact import Saved, artifact_digest, read_manifest, save_artifact
from segadmin.models.manifest import MANIFEST_VERSION, ModelManifest
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.records import ModelVersion
from segadmin.text.recipe import Recipe
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
    assert folder.name == first.sha256[:12] == artifact_digest(folder)[:12]
    assert read_manifest(settings, first).segments == ("low", "high")
    assert json.loads((folder / "manifest.json").read_text())["manifest_version"] == MANIFEST_VERSION


@pytest.mark.parametrize("name", ["model.pkl", "pytorch_model.bin", "parts/code.py"])
def test_files_that_run_code_when_read_are_refused(settings: Settings, name: str) -> None:
    with pytest.raises(PluginContractError, match=f"'mine' saved '{Path(name).name}'"):
        _save(settings, {name: "x"})
    assert not (settings.store_path / "models").exists()


def test_a_model_reads_users_as_before_after_its_folder_was_read_again(shop: Settings) -> None:
    with transaction(shop) as session:
        version = session.get_one(ModelVersion, 1)
    model = load_predictor(shop, load_plugins(shop), version)
    run = Run(shop, "score", {}).until("publish")
    scored = pl.concat([run.read(one["scores"]) for one in run.inputs["score"]])
    texts = pl.concat([run.read(one["scoring"]) for one in run.inputs["textualize"]])
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
