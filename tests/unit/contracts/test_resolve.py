from __future__ import annotations

from pathlib import Path

import pytest

from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.resolve import resolve_backbone
from segadmin.errors import PluginNotFound
from segadmin.settings import Settings


def test_a_registered_name_is_itself(settings: Settings) -> None:
    assert resolve_backbone(load_plugins(settings), "tabular", {"rounds": "9"}) == ("tabular", {"rounds": "9"})


@pytest.mark.parametrize("name", ["bert-base-chinese", "hfl/chinese-macbert-base", "some/minilm"])
def test_any_other_name_is_a_model_of_hugging_face(settings: Settings, name: str) -> None:
    assert resolve_backbone(load_plugins(settings), name, {"epochs": "1"}) == ("hf", {"model": name, "epochs": "1"})


def test_a_misspelling_is_not_taken_for_a_model(settings: Settings) -> None:
    with pytest.raises(PluginNotFound, match=r"no backbone 'minilmm'. Did you mean 'minilm'"):
        resolve_backbone(load_plugins(settings), "minilmm", {})


def test_a_folder_of_that_name_is_meant(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "minilmm").mkdir()
    monkeypatch.chdir(tmp_path)
    # The worker runs in another folder, so the whole path is kept.
    assert resolve_backbone(load_plugins(settings), "minilmm", {}) == ("hf", {"model": str(tmp_path / "minilmm")})
