"""Models that stay loaded, up to a number of bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from segadmin.inference.warm_models import WarmModels


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str, size: int = 10) -> Path:
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "inner" / "weights").write_bytes(b"x" * size)
        return tmp_path / name

    return make


class Loads:
    """Counts what is loaded."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.warm: WarmModels[str] = WarmModels()

    def get(self, folder: Path, most: int = 100, made_with: object = None) -> str:
        def load() -> str:
            self.names.append(folder.name)
            return f"{folder.name} {len(self.names)}"

        return self.warm.get(folder, most, made_with, load)


def test_a_model_is_loaded_once(folder: Callable[[str], Path]) -> None:
    loads, model = Loads(), folder("model")
    assert [loads.get(model), loads.get(model)] == ["model 1", "model 1"]


def test_the_model_that_was_not_used_for_longest_is_forgotten(folder: Callable[[str], Path]) -> None:
    loads, (one, two, three) = Loads(), map(folder, ("one", "two", "three"))
    for model in (one, two, one, three, one, two):
        loads.get(model, most=20)
    assert loads.names == ["one", "two", "three", "two"]
    assert len(loads.warm) == 2


def test_a_model_that_is_too_large_does_not_stay(folder: Callable[[str], Path]) -> None:
    loads, model = Loads(), folder("model")
    for most in (9, 9, 0):
        loads.get(model, most=most)
    assert len(loads.names) == 3
    assert not len(loads.warm)


def test_a_model_is_loaded_again_when_its_files_or_its_settings_change(folder: Callable[[str], Path]) -> None:
    loads, model = Loads(), folder("model")
    loads.get(model)
    (model / "inner" / "weights").write_bytes(b"other")
    loads.get(model)
    loads.get(model, made_with="other settings")
    (model / "more").touch()
    loads.get(model, made_with="other settings")
    loads.get(model, made_with="other settings")
    assert len(loads.names) == 4
    loads.warm.clear()
    loads.get(model, made_with="other settings")
    assert len(loads.names) == 5


def test_a_model_that_cannot_be_loaded_is_not_kept(folder: Callable[[str], Path]) -> None:
    warm: WarmModels[str] = WarmModels()

    def fail() -> str:
        raise ValueError("damaged")

    model = folder("model")
    with pytest.raises(ValueError, match="damaged"):
        warm.get(model, 100, None, fail)
    assert warm.get(model, 100, None, lambda: "whole") == "whole"
