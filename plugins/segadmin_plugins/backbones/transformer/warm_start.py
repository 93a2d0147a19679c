"""The model that a fit starts from: pretrained weights, and a classification layer."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from segadmin.errors import BackboneUnavailable, ConfigurationError
from segadmin.settings import Settings
from segadmin_plugins.backbones.transformer.head import layers_of
from segadmin_plugins.backbones.transformer.learned_weights import mark_loaded
from segadmin_plugins.backbones.transformer.multitask import last_layers


def start_from(
    folder: Path, segments: tuple[str, ...], *, settings: Settings, dtype: str = "float32"
) -> tuple[Any, Any]:
    """Return the model in ``folder`` as a classifier of ``segments``, and its tokenizer.

    The classification layer is new, unless the folder holds a classifier of the very same segments.

    Args:
        folder: of pretrained weights, or of a model version.
        segments: the classes.
        settings: where to look for the base of a version that is stored as an adapter.
        dtype: of the weights, such as ``float32``.

    Raises:
        BackboneUnavailable: the weights are not those that the configuration describes.
        ConfigurationError: some of the learned weights are in a separate file.
    """
    from transformers import AutoTokenizer

    auto, source, begins_anew = _source_of(folder, segments, settings)
    model, report = auto.from_pretrained(
        **source,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        dtype=dtype,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
    )
    new = {str(name) for name in report["missing_keys"]} | {str(mismatch[0]) for mismatch in report["mismatched_keys"]}
    _check_complete(folder, model, new, report["mismatched_keys"])
    if begins_anew:
        new |= _begin_classification_layer(model)
    mark_loaded(model, new)
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _source_of(folder: Path, segments: tuple[str, ...], settings: Settings) -> tuple[Any, dict[str, Any], bool]:
    """Return the class whose ``from_pretrained`` loads the classifier of ``segments``, and its arguments.

    Returns:
        The class, the arguments, and whether the classification layer in ``folder`` is of other segments.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    from segadmin_plugins.backbones.transformer.stored import LEARNED, is_adapter, load_text

    names = dict(enumerate(segments))
    labels: dict[str, Any] = {
        "num_labels": len(segments),
        "id2label": names,
        "label2id": {segment: n for n, segment in names.items()},
    }
    config: Any = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    begins_anew = config.id2label != names
    if not is_adapter(folder):
        files = [name for name in ("adapters.safetensors", "prefix.safetensors") if (folder / name).exists()]
        _refuse_separate_file(files[0] if files else "")
        return AutoModelForSequenceClassification, {"pretrained_model_name_or_path": folder, **labels}, begins_anew
    parent, _ = load_text(folder, settings, lambda: None, start_from)
    separate_files = hasattr(parent, "bottlenecks") or hasattr(parent, "prefixes")
    _refuse_separate_file(LEARNED if separate_files else "")
    for name, value in labels.items():
        setattr(parent.config, name, value)
    state = {"config": parent.config, "state_dict": parent.state_dict()}
    return type(parent), {"pretrained_model_name_or_path": None, **state}, begins_anew


def _begin_classification_layer(model: Any) -> set[str]:
    """Set the classification layer to random weights, and return their names."""
    names = set()
    for owner, name, layer in last_layers(model):
        layer.weight.data.normal_(std=getattr(model.config, "initializer_range", 0.02))
        if layer.bias is not None:
            layer.bias.data.zero_()
        names |= {f"{_name_of(owner, model)}{name}.{part}" for part in ("weight", "bias")}
    return names


def _refuse_separate_file(file: str) -> None:
    if file:
        raise ConfigurationError(
            f"The version to start from has the weights of its tuner in {file}, which training cannot continue from. "
            "Start from a version with the tuner full or lora."
        )


def _check_complete(folder: Path, model: Any, new: Collection[str], mismatched: Collection[Any]) -> None:
    """Check that all layers below the classification layer came from the files; otherwise they would be random.

    Raises:
        BackboneUnavailable: they did not.
    """
    outside = tuple(f"{_name_of(owner, model)}{name}." for owner, name, _ in last_layers(model))
    for name, stored, expected in mismatched:
        if not str(name).startswith(outside):
            raise BackboneUnavailable(
                f"The weights in {folder} are not those of its config.json: {name} is {_shape(stored)} in the files, "
                f"{_shape(expected)} by the configuration. Download the model again."
            )
    embedding = getattr(model.get_input_embeddings(), "weight", None)
    needed = {id(weights) for layer in layers_of(model) for weights in layer.parameters()} | {id(embedding)}
    names = {name: id(weights) for name, weights in model.named_parameters(remove_duplicate=False)}
    lacking = sorted(name for name in new if names.get(name) in needed)
    if lacking:
        raise BackboneUnavailable(
            f"The weights in {folder} are not those of its config.json: {len(lacking)} of {len(needed)} weights of the "
            f"embedding and the layers are not in the files, such as {lacking[0]}. Download the model again."
        )


def _shape(size: Any) -> str:
    return " x ".join(str(length) for length in size)


def _name_of(owner: Any, model: Any) -> str:
    """Return the name of ``owner`` within ``model``, followed by a dot; empty for the model itself."""
    name = next(name for name, module in model.named_modules() if module is owner)
    return f"{name}." if name else ""
