"""The language model of a pretraining: the text model of a fit with a head that predicts tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from segadmin_plugins.backbones.transformer.masking import Objective
from segadmin_plugins.backbones.transformer.prompt import LANGUAGE_HEAD
from segadmin_plugins.backbones.transformer.weight_files import is_decoder


def objective_of(text: Any, tokenizer: Any) -> Objective:
    """Return what a model of this kind learns to predict."""
    if tokenizer.mask_token_id is None or is_decoder(text.config.to_dict()):
        return "next token"
    return "denoising" if text.config.is_encoder_decoder else "masked"


def language_model(text: Any, folder: Path | None) -> Any:
    """Return the model with a language-modelling head; its own if its weights have one."""
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

    auto: Any = AutoModelForCausalLM if is_decoder(text.config.to_dict()) else AutoModelForMaskedLM
    auto = AutoModelForSeq2SeqLM if text.config.is_encoder_decoder else auto
    if folder is None:
        model = auto.from_config(text.config)
    else:
        model = auto.from_pretrained(
            folder, dtype="float32", local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
    if folder is not None and (folder / LANGUAGE_HEAD).exists():  # of a version that was pretrained here
        state = load_file(folder / LANGUAGE_HEAD)
        model.get_output_embeddings().load_state_dict({name.rpartition(".")[2]: state[name] for name in state})
    if model.config.vocab_size != text.config.vocab_size:  # of a vocabulary that was cut to the texts
        model.resize_token_embeddings(text.config.vocab_size, mean_resizing=False)
    model.base_model.load_state_dict(text.base_model.state_dict(), strict=False)
    return model


def separate_head(text: Any, model: Any) -> Mapping[str, torch.Tensor] | None:
    """Return the head of a decoder's language model, on the CPU; ``None`` if the embedding is its head."""
    if not is_decoder(text.config.to_dict()) or text.config.tie_word_embeddings:
        return None
    state = model.get_output_embeddings().state_dict().items()
    return {f"lm_head.{name}": weights.detach().cpu().contiguous() for name, weights in state}
