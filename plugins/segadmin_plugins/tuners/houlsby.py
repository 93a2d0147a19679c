"""``houlsby``: small bottleneck layers after the frozen ones (Houlsby et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from segadmin.contracts.tuner import Tuner, TuningRun
from segadmin.errors import ConfigurationError


@dataclass(frozen=True)
class Houlsby(Tuner):
    """A bottleneck after the attention and after the feed-forward block of every layer; the rest is frozen.

    The bottlenecks are not linear and cannot be merged; they are saved in a file beside the pretrained weights.
    """

    name: ClassVar[str] = "houlsby"
    freezes_base: ClassVar[bool] = True
    width: Annotated[int, Field(ge=1, le=4096)] = 64  #: of the bottleneck

    def adapt(self, model: Any, run: TuningRun) -> Any:
        """Insert the bottlenecks and freeze the model except norms and the classification layer."""
        from segadmin_plugins.backbones.transformer.bottleneck import insert, norms

        model.base_model.requires_grad_(False)
        if not insert(model, self.width):
            raise ConfigurationError(
                f"The tuner 'houlsby' cannot insert its layers into a {model.config.model_type} model. Try lora."
            )
        for norm in norms(model.base_model):
            norm.requires_grad_(True)
        return model
