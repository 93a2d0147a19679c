"""Fine-tuning a pretrained model on labelled users, from the weights to a classifier that can be saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import set_seed

from segadmin.contracts.backbone import Examples, FitContext
from segadmin.contracts.tuner import Tuner, TuningRun
from segadmin.errors import ConfigurationError, PluginContractError
from segadmin_plugins.backbones.features.matrix import features_of
from segadmin_plugins.backbones.features.scaling import Scaling
from segadmin_plugins.backbones.numbers import class_weights
from segadmin_plugins.backbones.transformer.batches import PhraseEncoder
from segadmin_plugins.backbones.transformer.classifier import TransformerClassifier, rows_of
from segadmin_plugins.backbones.transformer.fitness import check_together
from segadmin_plugins.backbones.transformer.head import FeatureHead, Loss, UserModel, freeze_below
from segadmin_plugins.backbones.transformer.learned_weights import loaded_weights
from segadmin_plugins.backbones.transformer.multitask import Tasks, narrow, together
from segadmin_plugins.backbones.transformer.stored import Adapter, adapt, learned_over
from segadmin_plugins.backbones.transformer.training import train_model
from segadmin_plugins.backbones.transformer.warm_head import inherit_head
from segadmin_plugins.backbones.transformer.weights_lookup import Base, base_of
from segadmin_plugins.engines.silence_transformers import quiet

if TYPE_CHECKING:
    from segadmin_plugins.backbones.transformer.model_source import ModelSource
    from segadmin_plugins.backbones.transformer.options import TrainingOptions


@dataclass(frozen=True)
class _PreparedModel:
    """A model ready for training."""

    model: UserModel
    encoder: PhraseEncoder
    tuner: Tuner
    tuning: TuningRun
    base: Base | None  #: its pretrained weights; ``None`` if it is trained from scratch
    stores_adapter: bool
    inherited: int = 0  #: features whose weights in the head are those of the version to start from


def fit_classifier(
    options: ModelSource, train: Examples, validation: Examples, run: FitContext
) -> TransformerClassifier:
    """Return a classifier of ``train``, with the weights that had the lowest log-loss on ``validation``."""
    set_seed(run.seed)
    run.progress(0.0, "loading the model")
    with quiet():
        tasks = together(train, run.also)
        names = train.feature_names if options.features else ()
        prepared = _prepare(options, tasks, train, names, run)
        model = prepared.model
        scaling = Scaling.fit(names, features_of(train, names))
        run.progress(0.01, "reading the user texts")
        targets = tasks.targets if run.also else train.targets
        rows, truncation = rows_of(tasks.examples, prepared.encoder, scaling, targets, dropout=options.phrase_dropout)
        held_out, _ = rows_of(validation, prepared.encoder, scaling, validation.targets)
        digest = prepared.base.sha256 if prepared.base else None
        report = train_model(model, rows, held_out, options, run, tuner=prepared.tuner, base=digest)
    adapter = _adapter(options, prepared)
    model.text = prepared.tuner.merged(model.text)
    narrow(model.text, model.features, train.segments)
    model.tasks, model.loaded = (), frozenset()
    report |= {"stored": "adapter" if adapter else "merged", "truncation": truncation}
    if run.start is not None:
        report["features_inherited"] = prepared.inherited
    if prepared.base is not None:
        report["base"] = {name: getattr(prepared.base, name) for name in ("model", "revision", "sha256")}
    return TransformerClassifier(model, prepared.encoder, scaling, report, settings=run.settings, adapter=adapter)


def _prepare(
    options: ModelSource, tasks: Tasks, train: Examples, features: tuple[str, ...], run: FitContext
) -> _PreparedModel:
    text, tokenizer = options.begin(tasks.examples, run)
    origin = run.start or options.folder(run.settings)
    name = getattr(options, "model", options.name)
    encoder = PhraseEncoder(tokenizer, options.room(text.config))
    check_together(text, encoder, name)
    text.config.pad_token_id = encoder.pad_id
    loaded, tuner = loaded_weights(text), options.made_tuner(run.settings)
    steps = -(-len(tasks.examples) // (options.batch_size * options.accumulate)) * options.epochs
    tuning = TuningRun(steps, run.seed)
    model = _with_head(options, _adapted(options, text, tuner, tuning), train, len(features))
    model.loaded, inherited = loaded, 0
    if run.start is not None and model.features is not None:
        inherited = inherit_head(model.features, features, tasks.examples.segments, run.start)
    if run.also:
        model.tasks, model.also_weight = tasks.sizes, options.also_weight
    base = base_of(name, origin, run.settings, version=run.start is not None) if origin else None
    return _PreparedModel(model, encoder, tuner, tuning, base, options.stores_adapter(origin, tuner), inherited)


def _adapted(options: TrainingOptions, text: Any, tuner: Tuner, tuning: TuningRun) -> Any:
    """Return the model with only the weights trainable that the tuner and ``frozen_layers`` leave."""
    layers = freeze_below(text, options.frozen_layers)
    if options.frozen_layers > layers:
        raise ConfigurationError(f"frozen_layers={options.frozen_layers}, but the model has {layers} layers.")
    text = adapt(text, tuner, tuning)
    if not any(weights.requires_grad for weights in text.parameters()):
        raise PluginContractError(f"The tuner {options.tuner!r} leaves no weight to learn.")
    return text


def _with_head(options: TrainingOptions, text: Any, train: Examples, n_features: int) -> UserModel:
    """Return the model with a head for the features and the loss."""
    features = FeatureHead(n_features, text.config.num_labels) if n_features else None  # of the segments of all tasks
    weighted = options.class_weights and not options.balanced
    weights = class_weights(train.targets, len(train.segments)) if weighted else None
    loss = Loss(None if weights is None else torch.from_numpy(weights), options.label_smoothing, options.focal)
    return UserModel(text, features, loss)


def _adapter(options: TrainingOptions, prepared: _PreparedModel) -> Adapter | None:
    """Return the adapter that a version stores instead of all weights, if any."""
    if prepared.base is None or not prepared.stores_adapter:
        return None
    tuner = options.tuner, options.tuner_options
    return learned_over(prepared.model.text, prepared.base, tuner, prepared.tuning, prepared.model.loaded)
