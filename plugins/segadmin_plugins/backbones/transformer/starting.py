"""The model that a fit starts from: pretrained weights, and a classification layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segadmin.errors import ConfigurationError
from segadmin_plugins.backbones.transformer.tasks import last_layers


def start_from(folder: Path, segments: tuple[str, ...]) -> tuple[Any, Any]:
    """Return the model in ``folder`` as a classifier of ``segments``, and its tokenizer.

    The classification layer is new, unless the folder holds a classifier of the very same segments.

    Raises:
        ConfigurationError: a part of what was learnt is kept apart from the weights.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    if apart := [name for name in ("adapters.safetensors", "prefix.safetensors") if (folder / name).exists()]:
        raise ConfigurationError(
            f"The version to go on from keeps what its tuner learnt in {apart[0]}, and nothing can go on from that. "
            "Start from one of the tuner full or lora."
        )
    names = dict(enumerate(segments))
    same = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).id2label == names
    model = AutoModelForSequenceClassification.from_pretrained(
        folder,
        num_labels=len(segments),
        id2label=names,
        label2id={segment: n for n, segment in names.items()},
        ignore_mismatched_sizes=True,
        dtype="float32",
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
    )
    if not same:
        for _, _, layer in last_layers(model):
            layer.weight.data.normal_(std=getattr(model.config, "initializer_range", 0.02))
            if layer.bias is not None:
                layer.bias.data.zero_()
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
