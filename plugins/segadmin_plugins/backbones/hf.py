"""``hf``: any Hugging Face encoder or decoder, by hub name or folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from segadmin.contracts.backbone import Examples, FitContext
from segadmin.errors import BackboneUnavailable
from segadmin.settings import Settings
from segadmin_plugins.backbones.requirements import TRANSFORMERS, require
from segadmin_plugins.backbones.transformer.base import Transformer
from segadmin_plugins.backbones.transformer.weight_files import check_files
from segadmin_plugins.backbones.transformer.weights_lookup import fetch, require_weights


@dataclass(frozen=True, kw_only=True)
class HuggingFace(Transformer):
    """A pretrained model such as ``bert-base-chinese``, fine-tuned."""

    name: ClassVar[str] = "hf"

    model: str = ""  #: its name on the hub, or a folder

    def check(self, settings: Settings) -> None:
        """Check the libraries, and that the weights are on the hub, or here, complete and of a supported kind.

        Neither is loaded.
        """
        tuner = self.made_tuner(settings)
        require(self.name, (*TRANSFORMERS, *tuner.requires))
        if not self.model:
            raise BackboneUnavailable("No model is named. Name one, such as --backbone bert-base-chinese.")
        folder = require_weights(self.model, settings)
        if folder is not None:
            check_files(self.model, folder)
            self.stores_adapter(folder, tuner)

    def folder(self, settings: Settings) -> Path:
        """Return the folder of the pretrained weights, downloading them if they are not on this machine."""
        return fetch(self.model, settings)

    def pretrained(self, train: Examples, run: FitContext) -> tuple[Any, Any]:
        """Return the pretrained model with a new classification layer, and its tokenizer."""
        from segadmin_plugins.backbones.transformer.warm_start import start_from

        folder = self.folder(run.settings)
        dtype = self.dtype_of_base(folder, run.settings)
        return start_from(folder, train.segments, settings=run.settings, dtype=dtype)
