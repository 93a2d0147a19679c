"""From phrases to token ids: every distinct phrase is tokenized once, and only whole phrases are dropped."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray


@dataclass(frozen=True)
class Encoded:
    """User texts as token ids, without special tokens."""

    ids: list[NDArray[np.int32]]  #: one array a user
    lengths: list[NDArray[np.int64]]  #: how many of a user's ids each of the phrases kept has
    truncation: dict[str, Any]  #: users, users_truncated, tokens (kept), tokens_dropped, distinct_phrases


def encode_phrases(phrases: pl.Series, encode: Callable[[Sequence[str]], list[list[int]]], max_tokens: int) -> Encoded:
    """Tokenize users' phrases, most informative first, until ``max_tokens`` are reached.

    Args:
        phrases: a list of phrases a user (List[String]).
        encode: a tokenizer of many texts, adding no special tokens.
        max_tokens: what one user may have; the first phrase is cut inside if it alone is longer.
    """
    phrases = phrases.list.drop_nulls()
    flat = phrases.explode(empty_as_null=False, keep_nulls=False).cast(pl.Categorical)
    vocabulary = flat.to_physical().unique(maintain_order=True)
    texts = flat.unique(maintain_order=True).cast(pl.String).to_list()
    tokens = encode(texts) if texts else []
    place = np.zeros(int(vocabulary.max() or 0) + 1, np.int64)  # type: ignore[arg-type]
    place[vocabulary.to_numpy()] = np.arange(len(texts))
    lengths = np.array([len(ids) for ids in tokens], np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    stream = np.fromiter((token for ids in tokens for token in ids), np.int32, int(starts[-1]))
    which = place[flat.to_physical().to_numpy()] if len(flat) else np.empty(0, np.int64)
    edges = np.concatenate([[0], np.cumsum(phrases.list.len().fill_null(0).to_numpy().astype(np.int64))])
    users, kept_lengths, dropped, truncated = [], [], 0, 0
    for first, last in itertools.pairwise(edges):
        wanted = which[first:last]
        ends = np.cumsum(lengths[wanted])
        kept = int(np.searchsorted(ends, max_tokens, side="right"))
        wanted = wanted[: max(kept, 1)]
        pieces = [stream[starts[one] : starts[one + 1]] for one in wanted]
        ids = np.concatenate(pieces)[:max_tokens] if pieces else np.empty(0, np.int32)
        kept_lengths.append(np.minimum(lengths[wanted], max_tokens))
        total = int(ends[-1]) if len(ends) else 0
        dropped += total - len(ids)
        truncated += total > len(ids)
        users.append(ids)
    report = {
        "users": len(users),
        "users_truncated": truncated,
        "tokens": sum(map(len, users)),
        "tokens_dropped": dropped,
        "distinct_phrases": len(texts),
    }
    return Encoded(users, kept_lengths, report)
