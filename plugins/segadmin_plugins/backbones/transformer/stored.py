"""Storage of the text model of a version: complete, or as an adapter of an exact base.

A complete model is a Hugging Face folder. Of a large model with an adapter (such as LoRA) only the learned weights are
stored, with the name and the SHA-256 of the base; on loading, the base is found, checked and combined with them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.tuner import Tuner, TuningRun
from segadmin.errors import BackboneUnavailable, StorageError
from segadmin.settings import Settings
from segadmin_plugins.backbones.transformer.bottleneck import load_bottlenecks, save_bottlenecks
from segadmin_plugins.backbones.transformer.learned_weights import (
    learn_in_float32,
    learned_state,
    load_learned,
    loaded_weights,
)
from segadmin_plugins.backbones.transformer.multitask import narrow
from segadmin_plugins.backbones.transformer.prefix import load_prefixes, save_prefixes
from segadmin_plugins.backbones.transformer.weights_lookup import Base, base_folders, weights_digest
from segadmin_plugins.engines.precision import dtype_of

BASE, LEARNED = "base.json", "learned.safetensors"
_SHOWN = 16  #: digits of a digest in messages


@dataclass(frozen=True)
class Adapter:
    """What a tuner learned, and all that is needed to combine it with its base."""

    base: Base
    tuner: str
    tuner_options: Mapping[str, Any]
    run: TuningRun
    segments: tuple[str, ...]  #: of the classification layer in training: those of all label sets
    dtype: str  #: of the frozen weights
    state: Mapping[str, Tensor]


def adapt(text: Any, tuner: Tuner, run: TuningRun) -> Any:
    """Return ``text`` with the weights of the tuner; trainable weights are float32."""
    adapted = tuner.adapt(text, run)
    learn_in_float32(adapted)
    return adapted


def save_text(text: Any, folder: Path, adapter: Adapter | None) -> None:
    """Write the complete model, or with an ``adapter`` its configuration and the learned weights."""
    if adapter is None:
        own = save_bottlenecks(text, folder) or save_prefixes(text, folder)
        text.save_pretrained(folder, state_dict=own)
        return
    text.config.save_pretrained(folder)
    save_file({name: weights.cpu().contiguous() for name, weights in adapter.state.items()}, folder / LEARNED)
    facts = asdict(replace(adapter, state={}))
    del facts["state"]
    (folder / BASE).write_text(json.dumps(facts, ensure_ascii=False, indent=2))


def load_text(
    folder: Path, settings: Settings, own_base: Callable[[], Path | None], start: Callable[..., tuple[Any, Any]]
) -> tuple[Any, Adapter | None]:
    """Return the model that :func:`save_text` wrote, and its adapter if it has one.

    Args:
        folder: what :func:`save_text` wrote to.
        settings: where models may be.
        own_base: returns the folder of the backbone's own weights; called if they are nowhere else.
        start: ``warm_start.start_from``, which adds the classification layer to the base, which may be an adapter.

    Raises:
        BackboneUnavailable: the base is gone, or has other weights than the version was trained on.
        StorageError: the learned weights do not fit the base.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not (folder / BASE).exists():
        text = AutoModelForSequenceClassification.from_pretrained(
            folder,
            dtype=dtype_of(str(config.dtype)),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
        load_bottlenecks(text, folder)
        load_prefixes(text, folder)
        return text, None
    adapter = _read_adapter(folder)
    return _assemble(adapter, config, settings, own_base, start), adapter


def is_adapter(folder: Path) -> bool:
    """Whether the version in ``folder`` needs its base."""
    return (folder / BASE).exists()


def _read_adapter(folder: Path) -> Adapter:
    facts = json.loads((folder / BASE).read_text())
    base, run, segments = Base(**facts.pop("base")), TuningRun(**facts.pop("run")), tuple(facts.pop("segments"))
    return Adapter(base=base, run=run, segments=segments, state=load_file(folder / LEARNED), **facts)


def _assemble(
    adapter: Adapter,
    config: Any,
    settings: Settings,
    own_base: Callable[[], Path | None],
    start: Callable[..., tuple[Any, Any]],
) -> Any:
    folder = find_base(adapter.base, settings, own_base)
    dtype = "bfloat16" if dtype_of(adapter.dtype) == torch.bfloat16 else "float32"
    text, _ = start(folder, adapter.segments, settings=settings, dtype=dtype)
    loaded = loaded_weights(text)
    text.config.pad_token_id = config.pad_token_id
    tuner: Tuner = load_plugins(settings).make("tuner", adapter.tuner, dict(adapter.tuner_options))
    adapted = adapt(text, tuner, adapter.run)
    try:
        load_learned(adapted, dict(adapter.state), loaded)
    except RuntimeError as error:
        raise StorageError(
            f"What the tuner {adapter.tuner!r} learned does not fit the base {adapter.base.model!r}: {error}. Was the "
            "tuner or a library updated? Train again: segadmin enqueue retrain"
        ) from error
    text = tuner.merged(adapted)
    segments = tuple(config.id2label[n] for n in range(config.num_labels))
    narrow(text, None, segments)
    text.config.id2label, text.config.label2id = config.id2label, config.label2id
    return text


def find_base(base: Base, settings: Settings, own_base: Callable[[], Path | None]) -> Path:
    """Return the folder whose weights are exactly those of ``base``, a model version's or a pretrained model's.

    Raises:
        BackboneUnavailable: there is none.
    """
    others: dict[Path, str] = {}
    for folder in base_folders(base, settings):
        others[folder] = weights_digest(folder)
        if others[folder] == base.sha256:
            return folder
    if not base.version:
        try:
            own = own_base()
        except BackboneUnavailable:
            own = None
        if own is not None and own not in others:
            others[own] = weights_digest(own)
            if others[own] == base.sha256:
                return own
    expected = f"{base.sha256[:_SHOWN]}…"
    if not others:
        raise BackboneUnavailable(
            f"The base {base.model!r} (SHA-256 {expected}) that this version was trained on is gone from "
            f"{base.folder}. {base.advice}"
        )
    differ = "; ".join(f"{folder} has SHA-256 {digest[:_SHOWN]}…" for folder, digest in others.items())
    raise BackboneUnavailable(
        f"The base {base.model!r} has other weights than this version was trained on: {differ}, not {expected}. "
        f"{base.advice}"
    )


def learned_over(
    text: Any, base: Base, tuner: tuple[str, Mapping[str, str]], run: TuningRun, loaded: frozenset[int]
) -> Adapter:
    """Return what the tuner, given by name and options, has learned in ``text``, copied to the CPU."""
    state = {name: weights.to("cpu", copy=True) for name, weights in learned_state(text, loaded).items()}
    dtypes = {str(weights.dtype).removeprefix("torch.") for weights in text.parameters() if id(weights) in loaded}
    frozen = "bfloat16" if "bfloat16" in dtypes else "float32"
    segments = tuple(text.config.id2label[n] for n in range(text.config.num_labels))
    return Adapter(base, *tuner, run, segments, frozen, state)
