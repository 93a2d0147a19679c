"""Attention within each of the texts that are packed in one row of tokens."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from segadmin.errors import EngineUnavailable
from segadmin_plugins.engines.packing import Packing

#: The name of :func:`packed_attention` in transformers' registry of attention functions.
ATTENTION = "segadmin_packed"
#: Tokens of texts that are short for the attention of a CPU in bfloat16.
_SHORT = 128
#: What torch's attention of texts of different length computes in.
_HALVES = (torch.bfloat16, torch.float16)
#: Without cuDNN's, which plans anew for each shape of a batch; flash attention takes no mask.
_MASKED = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packing: Packing,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend within each text: transformers calls it with ``(1, heads, tokens, width)``.

    Returns:
        ``(1, tokens, heads, width)``.

    Raises:
        EngineUnavailable: the model's attention is of a kind that is not supported here.
    """
    check_reach(packing, sliding_window, softcap)
    causal = bool(getattr(module, "is_causal", False) if is_causal is None else is_causal)
    queries, keys, values = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    return attend(queries, keys, values, packing, causal=causal, scaling=scaling, dropout=dropout)[None], None


def check_reach(packing: Packing, sliding_window: int | None, softcap: float | None = None) -> None:
    """Check that every token of a text is seen, with its whole score.

    Raises:
        EngineUnavailable: it is not.
    """
    if softcap is not None or (sliding_window is not None and sliding_window < packing.longest):
        raise EngineUnavailable("its attention has a softcap or a window shorter than the texts")


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    packing: Packing,
    *,
    causal: bool = False,
    scaling: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Return the attention within each text, ``(queries, heads, width)``.

    Args:
        query: ``(queries, heads, width)``: of every token, or of one token per text.
        key: ``(tokens, key heads, width)``.
        value: like ``key``.
        packing: where the texts are.
        causal: a token sees those before it only.
        scaling: of the scores; default: the width to the power of -1/2.
        dropout: of the attention's weights.
    """
    if key.shape[1] != query.shape[1]:  # several query heads share those of key and value
        key, value = (tensor.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for tensor in (key, value))
    if not query.is_cuda:
        return _by_length(query, key, value, packing, causal=causal, scaling=scaling, dropout=dropout)
    # Rotary positions are float32 where the weights are: queries and keys have it then, values do not.
    query, key = query.to(value.dtype), key.to(value.dtype)
    if not dropout and value.dtype in _HALVES:
        return _varlen(query, key, value, packing, causal=causal, scaling=scaling)
    return padded_attention(query, key, value, packing, causal=causal, scaling=scaling, dropout=dropout)


def _is_one_each(query: Tensor, key: Tensor, packing: Packing) -> bool:
    """Whether the queries are of one token per text."""
    return len(query) == len(packing.offsets) - 1 != len(key)


def _by_length(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, *, causal: bool, scaling: float | None, dropout: float
) -> Tensor:
    """Return the attention of the texts of each length in turn: many small calls cost little on a CPU."""
    one_each = _is_one_each(query, key, packing)
    outputs, done = [], 0
    for first, count, length in packing.runs:
        each = 1 if one_each else length
        queries = query[done : done + count * each].view(count, each, *query.shape[1:]).transpose(1, 2)
        keys, values = (
            tensor[first : first + count * length].view(count, length, *key.shape[1:]).transpose(1, 2)
            for tensor in (key, value)
        )
        if length <= _SHORT and query.dtype == torch.bfloat16 and not dropout and not causal:
            # The fused kernel of CPUs takes up to half as long again for short texts.
            scores = queries * (scaling or query.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
            seen = scores.softmax(-1) @ values
        else:
            seen = scaled_dot_product_attention(
                queries, keys, values, dropout_p=dropout, is_causal=causal and not one_each, scale=scaling
            )
        outputs.append(seen.transpose(1, 2).reshape(count * each, *query.shape[1:]))
        done += count * each
    return torch.cat(outputs)


def padded_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    packing: Packing,
    *,
    causal: bool,
    scaling: float | None,
    dropout: float,
) -> Tensor:
    """Return the attention of all texts at once, padded for it alone: a GPU wants few calls of few shapes."""
    texts, room = packing.has_token.shape

    def padded(tensor: Tensor) -> Tensor:
        rows = tensor.new_zeros(texts * room, *tensor.shape[1:]).index_copy(0, packing.places, tensor)
        return rows.view(texts, room, *tensor.shape[1:]).transpose(1, 2)

    one_each = _is_one_each(query, key, packing)
    mask = packing.has_token[:, None, None]
    if causal and not one_each:
        mask = mask & torch.ones(room, room, dtype=torch.bool, device=key.device).tril()
    queries = query[:, :, None] if one_each else padded(query)
    with sdpa_kernel(_MASKED):
        attended = scaled_dot_product_attention(
            queries, padded(key), padded(value), attn_mask=mask, dropout_p=dropout, scale=scaling
        )
    return attended[:, :, 0] if one_each else attended.transpose(1, 2).flatten(0, 1)[packing.places]


def _varlen(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, *, causal: bool, scaling: float | None
) -> Tensor:
    """Return the attention of texts of different length on a GPU, by torch's own kernel.

    Raises:
        EngineUnavailable: this version of torch has none.
    """
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        raise EngineUnavailable("this version of torch has no attention of texts of different length") from None
    attention: Callable[..., Any] = varlen_attn  # its arguments differ between versions
    names = inspect.signature(varlen_attn).parameters
    options: dict[str, Any] = {"scale": scaling} if "scale" in names else {}
    options |= {"window_size": (-1, 0 if causal else -1)} if "window_size" in names else {"is_causal": causal}
    starts, longest = packing.offsets, packing.longest
    if _is_one_each(query, key, packing):
        starts, longest = torch.arange(len(starts), dtype=torch.int32, device=query.device), 1
    rows = (tensor.contiguous() for tensor in (query, key, value))
    seen: Tensor = attention(*rows, starts, packing.offsets, longest, packing.longest, **options)
    return seen


AttentionInterface.register(ATTENTION, packed_attention)
AttentionMaskInterface.register(ATTENTION, lambda *_, **__: None)
