"""``hf``: any Hugging Face encoder or decoder, by hub name or folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from segadmin.contracts.backbone import Examples, FitContext
from segadmin.errors import BackboneUnavailable
from segadmin.settings import Language, Settings
from segadmin_plugins.backbones.requirements import TRANSFORMERS, require
from segadmin_plugins.backbones.transformer.base import Transformer
from segadmin_plugins.backbones.transformer.weight_files import check_decoder, check_files, read_config
from segadmin_plugins.backbones.transformer.weights_lookup import fetch, require_weights

if TYPE_CHECKING:
    from segadmin_plugins.backbones.transformer.prompt import Prompt


@dataclass(frozen=True, kw_only=True)
class HuggingFace(Transformer):
    """A pretrained model such as ``bert-base-chinese``, fine-tuned."""

    name: ClassVar[str] = "hf"
    language_defaults: ClassVar[Mapping[str, Mapping[str, str]]] = {"zh": {"prompt_language": "zh"}}

    model: str = ""  #: its name on the hub, or a folder
    #: of a decoder: an instruction with the segments' names before the text and a cue after it (``classification``);
    #: the classification layer begins as the language model's logits of these names
    prompt: Literal["none", "classification"] = "none"
    prompt_language: Language = "en"  #: of the instruction; by default that of the text

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
            if self.prompt != "none":
                check_decoder(self.model, read_config(self.model, folder))
            self.stores_adapter(folder, tuner)

    def folder(self, settings: Settings) -> Path:
        """Return the folder of the pretrained weights, downloading them if they are not on this machine."""
        return fetch(self.model, settings)

    def prompt_for(self, segments: Sequence[str]) -> Prompt | None:
        """Return the prompt that names ``segments``, if one was asked for."""
        from segadmin_plugins.backbones.transformer.prompt import Prompt

        return None if self.prompt == "none" else Prompt.of(segments, self.prompt_language)

    def pretrained(self, train: Examples, run: FitContext) -> tuple[Any, Any]:
        """Return the pretrained model with a new classification layer, and its tokenizer."""
        from segadmin_plugins.backbones.transformer.warm_start import start_from

        folder = self.folder(run.settings)
        dtype = self.dtype_of_base(folder, run.settings)
        return start_from(folder, train.segments, settings=run.settings, dtype=dtype)
