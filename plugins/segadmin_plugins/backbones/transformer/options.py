"""The options of fine-tuning, which are the same for every pretrained model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.tuner import Tuner
from segadmin.errors import ConfigurationError
from segadmin.settings import Settings
from segadmin_plugins.options import Table

# Types of options to which backbones give defaults of their own. They refuse only what cannot work: a stored version
# must be loaded with the options that it was trained with.
Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
LearningRate = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How a model is fine-tuned, pretrained and stored. Manifests hold these names: a renamed one needs an alias."""

    name: ClassVar[str]  #: of the backbone whose options these are

    max_tokens: Positive = 128  #: of a user's text; whole phrases beyond are cut off
    epochs: NotNegative = 3  #: 0: as many as ``least_steps`` needs
    least_steps: NotNegative = 0  #: of a fit; epochs are added if there are so few rows
    learning_rate: LearningRate = 3e-5  #: of pretrained weights; new ones have a higher rate
    batch_size: Positive = 32
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1  #: fraction of the steps in which the learning rate rises
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    #: validations (two an epoch) without a better log-loss before it stops; 0: it stops after the first
    patience: NotNegative = 3
    features: bool = True  #: add the features to the text
    #: fraction of the epochs, and factor on the learning rate, of a fit that only brings a version up to date
    update_epochs: Annotated[float, Field(gt=0, le=1)] = 0.34
    update_rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    #: how they meet: the logits of both are added up (``sum``), or one network reads both as well (``joint``)
    fusion: Literal["sum", "joint"] = "sum"
    head_steps: NotNegative = 500  #: in which only the features' head is trained, before the rest
    tuner: str = "full"  #: which weights are trained, and how
    tuner_options: Table = field(default_factory=dict)  #: its options, such as ``rank=4,alpha=8``
    frozen_layers: NotNegative = 0  #: lowest layers that keep their pretrained weights
    class_weights: bool = True  #: give rare segments a higher weight
    balanced: bool = False  #: draw rows so that every segment is equally likely, instead of weighting
    focal: Annotated[float, Field(ge=0, le=10)] = 0.0  #: gamma of the focal loss; 0: plain cross-entropy
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0  #: fraction of the target spread over all segments
    accumulate: Positive = 1  #: batches whose gradients are added up before a step
    layer_decay: Annotated[float, Field(gt=0, le=1)] = (
        1.0  #: factor on the learning rate from each layer to the one below
    )
    also_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0  #: total weight of all ``--auxiliary-labels``
    phrase_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  #: fraction of phrases left out at random in training
    processes: NotNegative = 1  #: that share every batch of a fit; 0: one per GPU
    #: what a version stores: all weights (``merged``), or the learned ones with a reference to the base (``adapter``);
    #: ``auto``: an adapter if the tuner freezes the base and the base has 1 GiB or more
    store: Literal["auto", "adapter", "merged"] = "auto"
    #: of frozen weights, ``float32`` or ``bfloat16``; ``auto``: bfloat16 for 1 GiB and more if that is fast
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    #: compute layers again in the backward pass instead of keeping their activations: a third more computation, much
    #: less memory; ``auto``: if a batch would not fit in the free memory otherwise
    gradient_checkpointing: bool | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        """Check that there is something to fuse.

        Raises:
            ConfigurationError: there is not.
        """
        if self.fusion == "joint" and not self.features:
            raise ConfigurationError(
                "fusion='joint' reads the features, which features=False leaves out. Leave out one of the two."
            )

    def for_rows(self, rows: int) -> Self:
        """Return the options of a fit on so many rows: with more epochs, and as much more patience, if they are few."""
        steps = -(-rows // (self.batch_size * self.accumulate)) or 1
        epochs = max(self.epochs, -(-self.least_steps // steps))
        return replace(self, epochs=epochs, patience=-(-self.patience * epochs // max(1, self.epochs)))

    def for_update(self) -> Self:
        """Return the options of a fit that brings a version up to date, which has learnt most of it before."""
        epochs = max(1, round(self.epochs * self.update_epochs))
        return replace(self, epochs=epochs, learning_rate=self.learning_rate * self.update_rate)

    def made_tuner(self, settings: Settings) -> Tuner:
        """Return the tuner.

        Raises:
            PluginNotFound: there is no such tuner.
            ConfigurationError: it has no such option, or cannot use the value.
        """
        made: Tuner = load_plugins(settings).make("tuner", self.tuner, self.tuner_options)
        return made

    def dtype_of_base(self, folder: Path, settings: Settings) -> str:
        """Return the precision in which the weights in ``folder`` are loaded for a fit."""
        from segadmin_plugins.backbones.transformer.base_precision import dtype_for_base
        from segadmin_plugins.backbones.transformer.weights_lookup import weights_size

        frozen = self.made_tuner(settings).freezes_base
        return dtype_for_base(self.dtype, weights_size(folder), frozen=frozen)

    def stores_adapter(self, folder: Path | None, tuner: Tuner) -> bool:
        """Whether a version stores only what was learned over the weights in ``folder``.

        Raises:
            ConfigurationError: ``store`` is ``adapter``, but there is no frozen base.
        """
        from segadmin_plugins.backbones.transformer.weights_lookup import LARGE, weights_size

        if self.store == "adapter" and (folder is None or not tuner.freezes_base):
            why = f"{self.name!r} starts from nothing, so there is no base. Leave store out."
            if folder is not None:
                why = f"the tuner {tuner.name!r} changes it. Leave store out, or use --backbone-option tuner=lora"
            raise ConfigurationError(f"store=adapter keeps what was learned over a base, but {why}")
        if folder is None or self.store != "auto":
            return self.store == "adapter"
        return tuner.freezes_base and weights_size(folder) >= LARGE

    def room(self, config: Any) -> int:
        """Return the number of tokens to read, limited by the positions of the model."""
        counts = ("max_position_embeddings", "max_encoder_position_embeddings")
        positions = next((count for name in counts if (count := getattr(config, name, None))), self.max_tokens)
        if "roberta" in config.model_type or config.model_type in {"camembert", "xlm", "longformer", "mpnet"}:
            positions -= (config.pad_token_id or 0) + 1  # these number their positions from the padding's id on
        return min(self.max_tokens, int(positions))
