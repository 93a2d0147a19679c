"""The base of every backbone on a Hugging Face model: its options, its fit, its folder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from segadmin.contracts.backbone import Backbone, Examples, FitContext, Pretraining
from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.tuner import Tuner
from segadmin.errors import ConfigurationError
from segadmin.settings import Settings, get_settings
from segadmin_plugins.backbones.options import pairs
from segadmin_plugins.backbones.requirements import threads

if TYPE_CHECKING:
    from segadmin_plugins.backbones.transformer.classifier import TransformerClassifier
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
    head_steps: Annotated[int, Field(ge=0)] = 500  #: in which the features' head learns alone, before all the rest
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
    #: what a version keeps: all weights (``merged``), or what was learned and which base that was (``adapter``);
    #: ``auto``: an adapter where the tuner leaves the base as it is and the base takes 1 GiB or more
    store: Literal["auto", "adapter", "merged"] = "auto"
    #: of frozen weights, ``float32`` or ``bfloat16``; ``auto``: bfloat16 for 1 GiB and more where that is fast
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"

    @abstractmethod
    def pretrained(self, train: Examples, run: FitContext) -> tuple[Any, Any]:
        """Return the sequence classifier to start from and its tokenizer."""

    def fit(self, train: Examples, validation: Examples, run: FitContext) -> TransformerClassifier:
        """Fine-tune on ``train``, keeping the weights with the lowest log-loss on ``validation``."""
        n_threads = threads()
        import torch

        from segadmin_plugins.backbones.transformer.finetuning import fit_classifier
        from segadmin_plugins.backbones.transformer.launch import count_processes, fit_in_processes

        if self.processes != 1 and (processes := count_processes(self)) > 1:
            return fit_in_processes(self, processes, train, validation, run)
        torch.set_num_threads(n_threads)
        return fit_classifier(self, train, validation, run)

    def try_run(self, settings: Settings) -> list[str]:
        """Fit on a few texts, save and load; see :func:`segadmin_plugins.backbones.transformer.trial_run.try_model`."""
        n_threads = threads()
        import torch

        from segadmin_plugins.backbones.transformer.trial_run import try_model

        torch.set_num_threads(n_threads)
        return try_model(self, settings)

    def folder(self, settings: Settings) -> Path | None:
        """Return the folder of the pretrained weights; ``None`` for a model that starts from nothing."""
        return None

    def pretrain(self, texts: Examples, held_out: Examples, run: FitContext, how: Pretraining) -> Pretrained:
        """Read the texts, guessing what is hidden (encoders) or what comes next (decoders)."""
        n_threads = threads()
        import torch
        from transformers import set_seed

        from segadmin_plugins.backbones.transformer.pretraining import pretrain
        from segadmin_plugins.backbones.transformer.silence_transformers import quiet

        torch.set_num_threads(n_threads)
        set_seed(run.seed)
        with quiet():
            return pretrain(self, texts, held_out, run, how)

    def begin(self, train: Examples, run: FitContext) -> tuple[Any, Any]:
        """Return what to start from: the weights of an earlier version (``run.start``), else :meth:`pretrained`."""
        if run.start is None:
            return self.pretrained(train, run)
        from segadmin_plugins.backbones.transformer.warm_start import start_from

        return start_from(
            run.start, train.segments, settings=run.settings, dtype=self.dtype_of_base(run.start, run.settings)
        )

    def dtype_of_base(self, folder: Path, settings: Settings) -> str:
        """Return in which precision the weights in ``folder`` are loaded for a fit."""
        from segadmin_plugins.backbones.transformer.precision import dtype_for_base
        from segadmin_plugins.backbones.transformer.weights_lookup import weights_size

        frozen = self.made_tuner(settings).freezes_base
        return dtype_for_base(self.dtype, weights_size(folder), frozen=frozen)

    def stores_adapter(self, folder: Path | None, tuner: Tuner) -> bool:
        """Whether a version keeps what was learned over the weights in ``folder``, instead of all weights.

        Raises:
            ConfigurationError: it should, but there is nothing that would stay as it is.
        """
        from segadmin_plugins.backbones.transformer.weights_lookup import LARGE, weights_size

        if self.store == "adapter" and (folder is None or not tuner.freezes_base):
            why = f"the tuner {tuner.name!r} changes it" if folder else f"{self.name!r} starts from nothing"
            raise ConfigurationError(
                f"store=adapter keeps what was learned over a base, but {why}. Leave store out, or use "
                "--backbone-option tuner=lora"
            )
        if folder is None or self.store != "auto":
            return self.store == "adapter"
        return tuner.freezes_base and weights_size(folder) >= LARGE

    def load(self, folder: Path) -> TransformerClassifier:
        """Read the model, its tokenizer and its features' head from ``folder``."""
        n_threads = threads()
        from segadmin_plugins.backbones.transformer.classifier import load_classifier

        settings = get_settings()
        return load_classifier(folder, n_threads, settings, lambda: self.folder(settings))

    def made_tuner(self, settings: Settings) -> Tuner:
        """Return the tuner.

        Raises:
            PluginNotFound: there is no such tuner.
            ConfigurationError: it has no such option, or cannot use the value.
        """
        made: Tuner = load_plugins(settings).make("tuner", self.tuner, pairs("tuner_options", self.tuner_options))
        return made

    def room(self, config: Any) -> int:
        """Return how many tokens are read: no more than the model has positions for."""
        counts = ("max_position_embeddings", "max_encoder_position_embeddings")
        positions = next((one for name in counts if (one := getattr(config, name, None))), self.max_tokens)
        if "roberta" in config.model_type or config.model_type in {"camembert", "xlm", "longformer", "mpnet"}:
            positions -= (config.pad_token_id or 0) + 1  # these number their positions from the padding's id on
        return min(self.max_tokens, int(positions))
