"""Texts packed one behind another in one row of tokens, and attention within each of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from segadmin.errors import EngineUnavailable
from segadmin.ragged import Ragged, offsets_of

#: The name of :func:`packed_attention` in transformers' registry of attention functions.
ATTENTION = "segadmin_packed"
#: Tokens of texts that are short for the attention of a CPU in bfloat16.
_SHORT = 128
#: Offsets of the queries and of the keys, and the lengths of the longest of each.
_Bounds = tuple[Tensor, Tensor, int, int]
#: The texts of each length: their first token, their number, their length.
Runs = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Packing:
    """Texts in one row of tokens, sorted by length."""

    ids: Tensor  #: int64, ``(1, tokens)``
    positions: Tensor  #: int64, ``(1, tokens)``: the position of each token in its text, from 0
    offsets: Tensor  #: int32, ``(texts + 1,)``: where the texts begin and end
    longest: int  #: tokens of the longest text
    runs: Runs

    @classmethod
    def of(cls, texts: Ragged, device: torch.device | str = "cpu") -> Packing:
        """Return ``texts``, which are sorted by length, packed on ``device``."""
        ids = torch.from_numpy(texts.values.astype(np.int64))
        return cls.of_runs(ids.to(device, non_blocking=True), runs_of(texts))

    @classmethod
    def of_runs(cls, ids: Tensor, runs: Runs) -> Packing:
        """Return the texts of ``ids``, ``(tokens,)``, which are where ``runs`` says."""
        counts, lengths = (np.array([run[part] for run in runs], np.int64) for part in (1, 2))
        each = np.repeat(lengths, counts)
        offsets = offsets_of(each)
        positions = np.arange(offsets[-1]) - np.repeat(offsets[:-1], each)
        return cls(
            ids[None],
            torch.from_numpy(positions)[None].to(ids.device, non_blocking=True),
            torch.from_numpy(offsets.astype(np.int32)).to(ids.device, non_blocking=True),
            int(lengths.max()),
            runs,
        )

    @property
    def firsts(self) -> Tensor:
        """The position of the first token of each text."""
        return self.offsets[:-1].long()

    @property
    def lasts(self) -> Tensor:
        """The position of the last token of each text."""
        return self.offsets[1:].long() - 1


def runs_of(texts: Ragged) -> Runs:
    """Return the runs of texts of equal length; ``texts`` are sorted by length."""
    lengths = texts.lengths
    firsts = np.concatenate([[0], np.flatnonzero(np.diff(lengths)) + 1])
    counts = np.diff(np.append(firsts, len(lengths)))
    return tuple(zip(texts.offsets[firsts].tolist(), counts.tolist(), lengths[firsts].tolist(), strict=True))


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
    texts = len(packing.offsets) - 1
    one_each = len(query) == texts != len(key)
    if query.is_cuda and not dropout:
        offsets = packing.offsets
        starts = torch.arange(texts + 1, dtype=torch.int32, device=query.device) if one_each else offsets
        longest = 1 if one_each else packing.longest
        bounds = (starts, offsets, longest, packing.longest)
        return _varlen(query, key, value, bounds, scaling=scaling, causal=causal)
    if key.shape[1] != query.shape[1]:  # several query heads share those of key and value
        key, value = (tensor.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for tensor in (key, value))
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


def _varlen(
    query: Tensor, key: Tensor, value: Tensor, bounds: _Bounds, *, scaling: float | None, causal: bool
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
    if key.shape[1] != query.shape[1]:
        key, value = (tensor.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for tensor in (key, value))
    # Rotary positions are float32 where the weights are: queries and keys have it then, values do not.
    rows = (tensor.to(value.dtype).contiguous() for tensor in (query, key, value))
    seen: Tensor = attention(*rows, *bounds, **options)
    return seen


AttentionInterface.register(ATTENTION, packed_attention)
AttentionMaskInterface.register(ATTENTION, lambda *_, **__: None)
