"""The base of every backbone on a Hugging Face model: its options, its fit, its folder."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from segadmin.errors import ConfigurationError
from segadmin.learn.backbone import Backbone, Examples, Fit
from segadmin_plugins.backbones.installed import threads

if TYPE_CHECKING:
    from segadmin_plugins.backbones.transformer.classifier import TransformerClassifier
    from segadmin_plugins.backbones.transformer.head import UserModel


@dataclass(frozen=True, kw_only=True)
class Transformer(Backbone):
    """A model that reads the user text, with the features added to its logits."""

    max_tokens: int = 128  #: of a user's text; whole phrases beyond are cut off
    epochs: int = 3
    learning_rate: float = 3e-5  #: of pretrained weights; new ones learn faster
    batch_size: int = 32
    warmup: float = 0.1  #: share of the steps in which the learning rate rises
    weight_decay: float = 0.01
    patience: int = 3  #: validations (two an epoch) without a better log-loss before it stops
    features: bool = True  #: add the features to the text
    tuner: Literal["full", "lora", "head"] = "full"  #: which weights learn
    frozen_layers: int = 0  #: lowest layers that keep their pretrained weights
    class_weights: bool = True  #: weigh rare segments up
    phrase_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  #: share of phrases left out at random in training

    @abstractmethod
    def pretrained(self, train: Examples, run: Fit) -> tuple[Any, Any]:
        """Return the sequence classifier to start from and its tokenizer."""

    def fit(self, train: Examples, validation: Examples, run: Fit) -> TransformerClassifier:
        """Fine-tune on ``train``, keeping the weights with the lowest log-loss on ``validation``."""
        n_threads = threads()
        import torch
        from transformers import set_seed

        from segadmin_plugins.backbones.numbers import features_of
        from segadmin_plugins.backbones.transformer.batches import Reading
        from segadmin_plugins.backbones.transformer.classifier import TransformerClassifier, rows_of
        from segadmin_plugins.backbones.transformer.quiet import quiet
        from segadmin_plugins.backbones.transformer.scaling import Scaling
        from segadmin_plugins.backbones.transformer.training import train_model

        torch.set_num_threads(n_threads)
        set_seed(run.seed)
        run.progress(0.0, "loading the model")
        with quiet():
            text, tokenizer = self.pretrained(train, run)
            reading = Reading(tokenizer, self._room(text.config))
            text.config.pad_token_id = reading.pad_id
            names = train.feature_names if self.features else ()
            scaling = Scaling.fit(names, features_of(train, names))
            run.progress(0.01, "reading the user texts")
            rows, truncation = rows_of(train, reading, scaling, labelled=True, dropout=self.phrase_dropout)
            held_out, _ = rows_of(validation, reading, scaling, labelled=True)
            model = self._adapted(text, train, len(names))
            report = train_model(model, rows, held_out, self, run)
        if self.tuner == "lora":
            model.text = model.text.merge_and_unload()
        return TransformerClassifier(model, reading, scaling, report | {"truncation": truncation})

    def load(self, folder: Path) -> TransformerClassifier:
        """Read the model, its tokenizer and its features' head from ``folder``."""
        n_threads = threads()
        from segadmin_plugins.backbones.transformer.classifier import load_classifier

        return load_classifier(folder, n_threads)

    def _adapted(self, text: Any, train: Examples, n_features: int) -> UserModel:
        """Return the model with the weights that :attr:`tuner` and :attr:`frozen_layers` leave free to learn."""
        import torch

        from segadmin_plugins.backbones.numbers import class_weights
        from segadmin_plugins.backbones.transformer.head import FeatureHead, UserModel, freeze_below
        from segadmin_plugins.backbones.transformer.lora import with_lora

        layers = freeze_below(text, self.frozen_layers)
        if self.frozen_layers > layers:
            raise ConfigurationError(f"frozen_layers={self.frozen_layers}, but the model has {layers} layers.")
        if self.tuner == "head":
            text.base_model.requires_grad_(False)
        if self.tuner == "lora":
            text = with_lora(text)
        features = FeatureHead(n_features, len(train.segments)) if n_features else None
        weights = class_weights(train.targets, len(train.segments)) if self.class_weights else None
        return UserModel(text, features, None if weights is None else torch.from_numpy(weights))

    def _room(self, config: Any) -> int:
        """Return how many tokens are read: no more than the model has positions for."""
        positions = getattr(config, "max_position_embeddings", None) or self.max_tokens
        if "roberta" in config.model_type or config.model_type in {"camembert", "xlm", "longformer", "mpnet"}:
            positions -= (config.pad_token_id or 0) + 1  # these number their positions from the padding's id on
        return min(self.max_tokens, int(positions))
