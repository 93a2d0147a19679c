"""Every registered modality keeps the contract, and the suite notices those that do not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from segadmin.contracts.modality import Modality
from segadmin.contracts.plugins import load_plugins
from segadmin.settings import Settings
from segadmin.testing import check_modality
from tests.servers import ROOT

NAMES = load_plugins(Settings()).names("modality")


@pytest.mark.parametrize("name", NAMES)
def test_the_contract_of_every_modality(settings: Settings, name: str) -> None:
    assert check_modality(load_plugins(settings).make("modality", name))


class Good(Modality):
    """The sign of the first number."""

    name = "good"

    def fit(self, items: Any) -> dict[str, Any]:
        return {"words": ["minus", "plus"]}

    def words(self, codebook: dict[str, Any], vectors: Any) -> list[list[str]]:
        return [[codebook["words"][int(vector[0] > 0)]] for vector in vectors]


class Forgets(Good):
    name = "forgets"

    def words(self, codebook: dict[str, Any], vectors: Any) -> list[list[str]]:
        return [["one"]]


class Spaces(Good):
    name = "spaces"

    def words(self, codebook: dict[str, Any], vectors: Any) -> list[list[str]]:
        return [["two words"] for _ in vectors]


class Compares(Good):
    name = "compares"

    def words(self, codebook: dict[str, Any], vectors: Any) -> list[list[str]]:
        return [["high" if vector[0] > vectors[:, 0].mean() else "low"] for vector in vectors]


class Draws(Good):
    name = "draws"
    drawn = 0

    def fit(self, items: Any) -> dict[str, Any]:
        self.drawn += 1
        return {"words": [f"minus{self.drawn}", f"plus{self.drawn}"]}


class Arrays(Good):
    name = "arrays"

    def fit(self, items: Any) -> dict[str, Any]:
        return {"words": items.vectors}


def test_the_example_of_the_guide_works(settings: Settings, tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "how-to" / "write-a-plugin.md").read_text()
    [source] = [code for code in re.findall(r"```python\n(.*?)```", guide, re.DOTALL) if "register_modalities" in code]
    path = tmp_path / "mine.py"
    path.write_text(source)
    plugins = load_plugins(settings.model_copy(update={"plugin_files": (path,)}))
    assert check_modality(plugins.make("modality", "loudness")) in (["loud"], ["quiet"])


def test_a_small_modality_keeps_it() -> None:
    assert check_modality(Good()) in (["minus"], ["plus"])


@pytest.mark.parametrize(
    ("modality", "message"),
    [
        (Forgets(), "returned 1 lists from words"),
        (Spaces(), "returned the word 'two words'"),
        (Compares(), "depend on the vectors beside it"),
        (Draws(), "a second fit .* gives other words"),
        (Arrays(), "the codebook is no JSON"),
    ],
)
def test_a_violation_is_named(modality: Modality, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_modality(modality)
