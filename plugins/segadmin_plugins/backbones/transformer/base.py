"""The base of every backbone on a Hugging Face model: its options, its fit, its folder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from segadmin.errors import ConfigurationError, PluginContractError
from segadmin.learn.backbone import Backbone, Examples, Fit, Pretraining
from segadmin.learn.tuner import Tuner, TuningRun
from segadmin.plugins import load_plugins
from segadmin.settings import Settings
from segadmin_plugins.backbones.installed import threads
from segadmin_plugins.backbones.options import pairs

if TYPE_CHECKING:
    from segadmin_plugins.backbones.transformer.classifier import TransformerClassifier
    from segadmin_plugins.backbones.transformer.head import UserModel
    from segadmin_plugins.backbones.transformer.pretraining import Pretrained


@dataclass(frozen=True, kw_only=True)
class Transformer(Backbone):
    """A model that reads the user text, with the features added to its logits."""

    goes_on: ClassVar[bool] = True
    learns_beside: ClassVar[bool] = True
    search: ClassVar[Mapping[str, str]] = {
        "learning_rate": "1e-5..1e-3:log",
        "epochs": "1..5",
        "batch_size": "16,32,64",
        "class_weights": "true,false",
        "label_smoothing": "0.0..0.2",
        "layer_decay": "0.7..1.0",
    }

    max_tokens: int = 128  #: of a user's text; whole phrases beyond are cut off
    epochs: int = 3
    learning_rate: float = 3e-5  #: of pretrained weights; new ones learn faster
    batch_size: int = 32
    warmup: float = 0.1  #: share of the steps in which the learning rate rises
    weight_decay: float = 0.01
    patience: int = 3  #: validations (two an epoch) without a better log-loss before it stops
    features: bool = True  #: add the features to the text
    tuner: str = "full"  #: which weights learn, and how
    tuner_options: str = ""  #: its options, such as ``rank=4,alpha=8``
    frozen_layers: int = 0  #: lowest layers that keep their pretrained weights
    class_weights: bool = True  #: weigh rare segments up
    balanced: bool = False  #: draw rows so that every segment is equally likely, instead of weighing
    focal: Annotated[float, Field(ge=0, le=10)] = 0.0  #: gamma of the focal loss; 0: plain cross-entropy
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0  #: share of the truth spread over all segments
    accumulate: Annotated[int, Field(ge=1)] = 1  #: batches whose gradients are added up before a step
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0  #: each layer learns so much slower than the one above
    also_weight: Annotated[float, Field(ge=0)] = 1.0  #: of what is learnt beside (``--also``), all of it together
    phrase_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  #: share of phrases left out at random in training
    processes: Annotated[int, Field(ge=0)] = 1  #: that share every batch of a fit; 0: one per GPU

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
        from segadmin_plugins.backbones.transformer.launch import count_processes, fit_in_processes
        from segadmin_plugins.backbones.transformer.places import identity
        from segadmin_plugins.backbones.transformer.quiet import quiet
        from segadmin_plugins.backbones.transformer.scaling import Scaling
        from segadmin_plugins.backbones.transformer.tasks import narrow, together
        from segadmin_plugins.backbones.transformer.training import train_model

        if self.processes != 1 and (processes := count_processes(self)) > 1:
            return fit_in_processes(self, processes, train, validation, run)
        torch.set_num_threads(n_threads)
        set_seed(run.seed)
        run.progress(0.0, "loading the model")
        with quiet():
            tasks = together(train, run.also)
            text, tokenizer = self.begin(tasks.examples, run)
            origin = run.start or self.folder(run.settings)
            base = {"base": identity(getattr(self, "model", self.name), origin)} if origin else {}
            reading = Reading(tokenizer, self.room(text.config))
            text.config.pad_token_id = reading.pad_id
            names = train.feature_names if self.features else ()
            scaling = Scaling.fit(names, features_of(train, names))
            run.progress(0.01, "reading the user texts")
            targets = tasks.targets if run.also else train.targets
            rows, truncation = rows_of(tasks.examples, reading, scaling, targets, dropout=self.phrase_dropout)
            held_out, _ = rows_of(validation, reading, scaling, validation.targets)
            tuner = self.made_tuner(run.settings)
            steps = -(-len(rows) // (self.batch_size * self.accumulate)) * self.epochs
            model = self._adapted(text, train, len(names), tuner, TuningRun(steps, run.seed))
            if run.also:
                model.tasks, model.also_weight = tasks.sizes, self.also_weight
            report = train_model(model, rows, held_out, self, run, tuner=tuner)
        model.text = tuner.merged(model.text)
        narrow(model.text, model.features, train.segments)
        model.tasks = ()
        return TransformerClassifier(model, reading, scaling, report | base | {"truncation": truncation})

    def folder(self, settings: Settings) -> Path | None:
        """Return the folder of the pretrained weights; ``None`` for a model that starts from nothing."""
        return None

    def pretrain(self, texts: Examples, held_out: Examples, run: Fit, how: Pretraining) -> Pretrained:
        """Read the texts, guessing what is hidden (encoders) or what comes next (decoders)."""
        n_threads = threads()
        import torch
        from transformers import set_seed

        from segadmin_plugins.backbones.transformer.pretraining import pretrain
        from segadmin_plugins.backbones.transformer.quiet import quiet

        torch.set_num_threads(n_threads)
        set_seed(run.seed)
        with quiet():
            return pretrain(self, texts, held_out, run, how)

    def begin(self, train: Examples, run: Fit) -> tuple[Any, Any]:
        """Return what to start from: the weights of an earlier version (``run.start``), else :meth:`pretrained`."""
        if run.start is None:
            return self.pretrained(train, run)
        from segadmin_plugins.backbones.transformer.starting import start_from

        return start_from(run.start, train.segments)

    def load(self, folder: Path) -> TransformerClassifier:
        """Read the model, its tokenizer and its features' head from ``folder``."""
        n_threads = threads()
        from segadmin_plugins.backbones.transformer.classifier import load_classifier

        return load_classifier(folder, n_threads)

    def made_tuner(self, settings: Settings) -> Tuner:
        """Return the tuner.

        Raises:
            PluginNotFound: there is no such tuner.
            ConfigurationError: it has no such option, or cannot use the value.
        """
        made: Tuner = load_plugins(settings).make("tuner", self.tuner, pairs("tuner_options", self.tuner_options))
        return made

    def _adapted(self, text: Any, train: Examples, n_features: int, tuner: Tuner, tuning: TuningRun) -> UserModel:
        """Return the model with the weights that the tuner and :attr:`frozen_layers` leave free to learn."""
        import torch

        from segadmin_plugins.backbones.numbers import class_weights
        from segadmin_plugins.backbones.transformer.head import FeatureHead, Loss, UserModel, freeze_below

        segments = text.config.num_labels  # of all tasks
        layers = freeze_below(text, self.frozen_layers)
        if self.frozen_layers > layers:
            raise ConfigurationError(f"frozen_layers={self.frozen_layers}, but the model has {layers} layers.")
        text = tuner.adapt(text, tuning)
        if not any(one.requires_grad for one in text.parameters()):
            raise PluginContractError(f"The tuner {self.tuner!r} leaves no weight to learn.")
        features = FeatureHead(n_features, segments) if n_features else None
        weighed = self.class_weights and not self.balanced
        weights = class_weights(train.targets, len(train.segments)) if weighed else None
        loss = Loss(None if weights is None else torch.from_numpy(weights), self.label_smoothing, self.focal)
        return UserModel(text, features, loss)

    def room(self, config: Any) -> int:
        """Return how many tokens are read: no more than the model has positions for."""
        positions = getattr(config, "max_position_embeddings", None) or self.max_tokens
        if "roberta" in config.model_type or config.model_type in {"camembert", "xlm", "longformer", "mpnet"}:
            positions -= (config.pad_token_id or 0) + 1  # these number their positions from the padding's id on
        return min(self.max_tokens, int(positions))
