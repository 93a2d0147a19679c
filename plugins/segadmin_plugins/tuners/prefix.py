"""``prefix``: learned keys and values before the text in every layer (Li and Liang 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from segadmin.contracts.tuner import Tuner, TuningRun
from segadmin.errors import ConfigurationError


@dataclass(frozen=True)
class Prefix(Tuner):
    """A few virtual tokens that all others attend to; they are learned in every layer, and the model is frozen.

    The prefix belongs to no weight and cannot be merged; it is saved in a file beside the pretrained weights. The
    paper's reparametrization network is left out, as in P-Tuning v2 (Liu et al. 2022): classifiers do not need it.
    """

    name: ClassVar[str] = "prefix"
    freezes_base: ClassVar[bool] = True
    tokens: Annotated[int, Field(ge=1, le=512)] = 16  #: virtual tokens

    def adapt(self, model: Any, run: TuningRun) -> Any:
        """Insert the prefix and freeze the model except the classification layer."""
        from segadmin_plugins.backbones.transformer.prefix import insert, reaches_all_layers, takes_prefix

        model.base_model.requires_grad_(False)
        if takes_prefix(model):
            insert(model, self.tokens)
            if reaches_all_layers(model):
                return model
        raise ConfigurationError(
            f"The tuner 'prefix' cannot put keys and values into a {model.config.model_type} model. Try lora or "
            "houlsby: --backbone-option tuner=lora"
        )
