"""Fine-tuning a pretrained model on labelled users, from the weights to a classifier that can be saved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from transformers import set_seed

from segadmin.contracts.backbone import Examples, FitContext
from segadmin.contracts.tuner import Tuner, TuningRun
from segadmin.errors import ConfigurationError, PluginContractError
from segadmin_plugins.backbones.features.matrix import features_of
from segadmin_plugins.backbones.features.piecewise_linear import quantile_edges
from segadmin_plugins.backbones.features.scaling import Scaling
from segadmin_plugins.backbones.numbers import class_weights
from segadmin_plugins.backbones.transformer.batches import PhraseEncoder
from segadmin_plugins.backbones.transformer.classifier import TransformerClassifier, rows_of
from segadmin_plugins.backbones.transformer.fitness import check_together
from segadmin_plugins.backbones.transformer.head import FeatureHead, FusionHead, Loss, UserModel, freeze_below
from segadmin_plugins.backbones.transformer.joint_head import BINS, JointHead
from segadmin_plugins.backbones.transformer.learned_weights import loaded_weights
from segadmin_plugins.backbones.transformer.multitask import Tasks, last_layers, narrow, together
from segadmin_plugins.backbones.transformer.projection import widen
from segadmin_plugins.backbones.transformer.prompt import begin_as_language_model, verbalizers
from segadmin_plugins.backbones.transformer.stored import Adapter, adapt, learned_over
from segadmin_plugins.backbones.transformer.training import train_model
from segadmin_plugins.backbones.transformer.warm_head import inherit_head, inherit_scaling
from segadmin_plugins.backbones.transformer.weight_files import check_decoder
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
    first_layer: str = ""  #: what the classification layer begins as, if there is a prompt


def fit_classifier(
    options: ModelSource, train: Examples, validation: Examples, run: FitContext
) -> TransformerClassifier:
    """Return a classifier of ``train``, with the weights that had the lowest log-loss on ``validation``."""
    set_seed(run.seed)
    run.progress(0.0, "loading the model")
    with quiet():
        tasks = together(train, run.also)
        names = train.feature_names if options.features else ()
        scaling = Scaling.fit(names, features_of(train, names))
        if run.update and run.start is not None:
            scaling = inherit_scaling(scaling, run.start)
        prepared = _prepare(options, tasks, train, scaling, run)
        model, missing = prepared.model, prepared.model.missing
        run.progress(0.01, "reading the user texts")
        targets = tasks.targets if run.also else train.targets
        rows, truncation = rows_of(
            tasks.examples, prepared.encoder, scaling, targets, missing=missing, dropout=options.phrase_dropout
        )
        held_out, _ = rows_of(validation, prepared.encoder, scaling, validation.targets, missing=missing)
        digest = prepared.base.sha256 if prepared.base else None
        if run.update and prepared.inherited:
            options = replace(options, head_steps=0)  # it knows its part of the sum, which is another than all of it
        report = train_model(model, rows, held_out, options, run, tuner=prepared.tuner, base=digest)
    adapter = _adapter(options, prepared)
    model.text = prepared.tuner.merged(model.text)
    narrow(model.text, model.features, train.segments)
    model.tasks, model.loaded = (), frozenset()
    report |= {"stored": "adapter" if adapter else "merged", "truncation": truncation}
    report |= {"fusion": options.fusion} if model.features is not None else {}
    if run.start is not None:
        report["features_inherited"] = prepared.inherited
    if prepared.encoder.prompt is not None:
        around = len(prepared.encoder.prefix) + len(prepared.encoder.suffix)
        report["prompt"] = {"tokens": around, "classification_layer": prepared.first_layer}
    if prepared.base is not None:
        report["base"] = {name: getattr(prepared.base, name) for name in ("model", "revision", "sha256")}
    return TransformerClassifier(model, prepared.encoder, scaling, report, settings=run.settings, adapter=adapter)


def _prepare(options: ModelSource, tasks: Tasks, train: Examples, scaling: Scaling, run: FitContext) -> _PreparedModel:
    text, tokenizer = options.begin(tasks.examples, run)
    origin = run.start or options.folder(run.settings)
    name = getattr(options, "model", options.name)
    prompt = options.prompt_for(train.segments)
    if prompt is not None:
        check_decoder(str(name), text.config.to_dict())
    encoder = PhraseEncoder(tokenizer, options.room(text.config), prompt)
    check_together(text, encoder, name)
    first_layer = ""
    if prompt is not None:
        ids = verbalizers(encoder.tokenize(list(prompt.answers)))
        first_layer = begin_as_language_model(text, ids, origin)
    text.config.pad_token_id = encoder.pad_id
    loaded, tuner = loaded_weights(text), options.made_tuner(run.settings)
    if options.fusion == "joint" and scaling.names:
        loaded -= {id(weights) for _, _, layer in last_layers(text) for weights in layer.parameters()}
        widen(text, JointHead.width)
    steps = -(-len(tasks.examples) // (options.batch_size * options.accumulate)) * options.epochs
    tuning = TuningRun(steps, run.seed)
    text = _adapted(options, text, tuner, tuning)
    head = _head(options, train, scaling, len(tasks.examples.segments))
    model = UserModel(text, head, _loss(options, train))
    model.loaded, inherited = loaded, 0
    if run.start is not None and isinstance(head, FeatureHead):
        inherited = inherit_head(head, scaling.names, tasks.examples.segments, run.start)
    if run.also:
        model.tasks, model.also_weight = tasks.sizes, options.also_weight
    base = base_of(name, origin, run.settings, version=run.start is not None) if origin else None
    adapter = options.stores_adapter(origin, tuner)
    return _PreparedModel(model, encoder, tuner, tuning, base, adapter, inherited, first_layer)


def _adapted(options: TrainingOptions, text: Any, tuner: Tuner, tuning: TuningRun) -> Any:
    """Return the model with only the weights trainable that the tuner and ``frozen_layers`` leave."""
    layers = freeze_below(text, options.frozen_layers)
    if options.frozen_layers > layers:
        raise ConfigurationError(f"frozen_layers={options.frozen_layers}, but the model has {layers} layers.")
    text = adapt(text, tuner, tuning)
    if not any(weights.requires_grad for weights in text.parameters()):
        raise PluginContractError(f"The tuner {options.tuner!r} leaves no weight to learn.")
    return text


def _head(options: TrainingOptions, train: Examples, scaling: Scaling, segments: int) -> FusionHead | None:
    """Return the head of the features, which are none if ``scaling`` has none; it has the ``segments`` of all tasks."""
    if not scaling.names:
        return None
    if options.fusion == "sum":
        return FeatureHead(len(scaling.names), segments)
    known = scaling(features_of(train, scaling.names), JointHead.missing)
    return JointHead(torch.from_numpy(quantile_edges(known, BINS)), segments)


def _loss(options: TrainingOptions, train: Examples) -> Loss:
    weighted = options.class_weights and not options.balanced
    weights = class_weights(train.targets, len(train.segments)) if weighted else None
    return Loss(None if weights is None else torch.from_numpy(weights), options.label_smoothing, options.focal)


def _adapter(options: TrainingOptions, prepared: _PreparedModel) -> Adapter | None:
    """Return the adapter that a version stores instead of all weights, if any."""
    if prepared.base is None or not prepared.stores_adapter:
        return None
    tuner = options.tuner, options.tuner_options
    return learned_over(prepared.model.text, prepared.base, tuner, prepared.tuning, prepared.model.loaded)
