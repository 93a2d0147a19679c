"""The base of all backbones on Hugging Face models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from segadmin.contracts.backbone import Backbone, Examples, FitContext, Pretraining
from segadmin.settings import Settings
from segadmin_plugins.backbones.requirements import threads
from segadmin_plugins.backbones.transformer.model_source import ModelSource

if TYPE_CHECKING:
    import polars as pl

    from segadmin.contracts.backbone import TokenCounts
    from segadmin_plugins.backbones.transformer.classifier import TransformerClassifier
    from segadmin_plugins.backbones.transformer.pretraining import Pretrained


@dataclass(frozen=True, kw_only=True)
class Transformer(ModelSource, Backbone):
    """A model that reads the user text, with the features added to its logits."""

    supports_warm_start: ClassVar[bool] = True
    supports_auxiliary_tasks: ClassVar[bool] = True
    search: ClassVar[Mapping[str, str]] = {
        "learning_rate": "1e-5..1e-3:log",
        "epochs": "1..5",
        "batch_size": "16,32,64",
        "class_weights": "true,false",
        "label_smoothing": "0.0..0.2",
        "layer_decay": "0.7..1.0",
    }

    def fit(self, train: Examples, validation: Examples, run: FitContext) -> TransformerClassifier:
        """Fine-tune on ``train``, keeping the weights with the lowest log-loss on ``validation``."""
        n_threads = threads()
        import torch

        from segadmin_plugins.backbones.transformer.finetuning import fit_classifier
        from segadmin_plugins.backbones.transformer.launch import count_processes, fit_in_processes

        options = self.for_rows(len(train))
        options = options.for_update() if run.update else options
        if self.processes != 1 and (processes := count_processes(self)) > 1:
            return fit_in_processes(
                options, processes, train, validation, run, load=partial(self.load, settings=run.settings)
            )
        torch.set_num_threads(n_threads)
        return fit_classifier(options, train, validation, run)

    def try_run(self, settings: Settings) -> list[str]:
        """Fit on a few texts, save and load; see :func:`segadmin_plugins.backbones.transformer.trial_run.try_model`."""
        n_threads = threads()
        import torch

        from segadmin_plugins.backbones.transformer.trial_run import try_model

        torch.set_num_threads(n_threads)
        return try_model(self, settings)

    def pretrain(self, texts: Examples, held_out: Examples, run: FitContext, how: Pretraining) -> Pretrained:
        """Pretrain on the texts: predict masked tokens (encoders) or the next token (decoders)."""
        n_threads = threads()
        import torch
        from transformers import set_seed

        from segadmin_plugins.backbones.transformer.pretraining import pretrain
        from segadmin_plugins.engines.silence_transformers import quiet

        torch.set_num_threads(n_threads)
        set_seed(run.seed)
        with quiet():
            return pretrain(self, texts, held_out, run, how)

    def load(self, folder: Path, settings: Settings) -> TransformerClassifier:
        """Read the model, its tokenizer and its features' head from ``folder``."""
        n_threads = threads()
        from segadmin_plugins.backbones.transformer.classifier import load_classifier

        return load_classifier(folder, n_threads, settings, lambda: self.folder(settings))

    def count_tokens(self, folder: Path, settings: Settings, phrases: pl.Series) -> TokenCounts:
        """Return how the saved tokenizer reads texts."""
        threads()
        from segadmin_plugins.backbones.transformer.classifier import load_encoder

        return load_encoder(folder).count(phrases)
