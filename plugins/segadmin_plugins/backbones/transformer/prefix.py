"""Keys and values before a text, in every layer: see :class:`segadmin_plugins.tuners.prefix.Prefix`.

It is implemented here because PEFT's version must wrap the model permanently, skips the classification layers of some
architectures, and computes masks and positions that BERT in transformers 5 does not accept.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

_FILE = "prefix.safetensors"


class Prefixes(nn.Module):
    """The keys and the values of virtual tokens, ``(layers, 2, heads, tokens, width of a head)``."""

    def __init__(self, layers: int, heads: int, tokens: int, width: int) -> None:
        super().__init__()
        self.states = nn.Parameter(torch.empty(layers, 2, heads, tokens, width))
        nn.init.normal_(self.states, std=0.02)

    def cache(self, rows: int) -> Any:
        """Return them as a key-value cache, for each of ``rows`` texts."""
        from transformers import DynamicCache

        states: Tensor = self.states
        device = states.device.type
        if torch.is_autocast_enabled(device):
            states = states.to(torch.get_autocast_dtype(device))
        each = states[:, :, None].expand(-1, -1, rows, -1, -1, -1)
        return DynamicCache([(layer[0], layer[1]) for layer in each])


def takes_prefix(model: Any) -> bool:
    """Whether ``model`` accepts keys and values of earlier tokens."""
    return not model.config.is_encoder_decoder and _takes(model, "past_key_values") and _takes(model, "position_ids")


def insert(model: Any, tokens: int) -> None:
    """Insert ``tokens`` virtual tokens before every text that ``model`` reads."""
    config = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    model.prefixes = Prefixes(config.num_hidden_layers, heads, tokens, width)
    causal = any(getattr(module, "is_causal", False) for module in model.base_model.modules())

    def before(base: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
        ids = arguments[0] if arguments else keywords["input_ids"]
        mask = keywords["attention_mask"]
        # The texts keep the positions that the model was pretrained with.
        keywords["position_ids"] = _positions(base, mask)
        whole_mask = torch.cat([mask.new_ones(len(ids), tokens), mask], dim=1)
        keywords["attention_mask"] = (
            whole_mask if causal else _bidirectional_mask(whole_mask, mask.shape[1], _dtype(base))
        )
        keywords["past_key_values"] = model.prefixes.cache(len(ids))
        return arguments, keywords

    model.base_model.register_forward_pre_hook(before, with_kwargs=True)


def reaches_all_layers(model: Any) -> bool:
    """Whether the output of ``model`` depends on the prefix of every layer: some models accept one and ignore it."""
    ids = torch.ones((1, 4), dtype=torch.long, device=model.prefixes.states.device)
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    (gradient,) = torch.autograd.grad(logits[0, 0], model.prefixes.states, allow_unused=True)
    return gradient is not None and bool((gradient[:, 1] != 0).flatten(1).any(dim=1).all())


def save_prefixes(model: Any, folder: Path) -> dict[str, Tensor] | None:
    """Write the prefix, if there is one; return the weights that are the pretrained model's own."""
    if not hasattr(model, "prefixes"):
        return None
    save_file({"states": model.prefixes.states.detach().cpu().contiguous()}, folder / _FILE)
    return {name: weights for name, weights in model.state_dict().items() if not name.startswith("prefixes.")}


def load_prefixes(model: Any, folder: Path) -> None:
    """Insert the prefix that :func:`save_prefixes` wrote, if any."""
    if (folder / _FILE).exists():
        state = load_file(folder / _FILE)
        insert(model, state["states"].shape[-2])
        model.prefixes.load_state_dict(state)


def _takes(model: Any, argument: str) -> bool:
    return argument in inspect.signature(model.base_model.forward).parameters


def _dtype(base: nn.Module) -> torch.dtype:
    return next(base.parameters()).dtype


def _bidirectional_mask(mask: Tensor, queries: int, dtype: torch.dtype) -> Tensor:
    """Return what is added to the attention of an encoder, ``(rows, 1, queries, keys)``: every token attends to all.

    Encoders would build a mask of the length of the text, without the prefix.
    """
    hidden = (1 - mask[:, None, None, :].to(dtype)) * torch.finfo(dtype).min
    return hidden.expand(-1, 1, queries, -1)


def _positions(base: nn.Module, mask: Tensor) -> Tensor:
    """Return the position of each token of a text, as if there were no prefix, ``(rows, tokens)``."""
    embeddings: Any = getattr(base, "embeddings", None)
    if hasattr(embeddings, "create_position_ids_from_input_ids"):  # RoBERTa and similar models start at the padding id
        positions: Tensor = mask.cumsum(dim=1) * mask + embeddings.padding_idx
        return positions
    return torch.arange(mask.shape[1], device=mask.device).expand(len(mask), -1)
