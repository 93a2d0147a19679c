"""Tokenizes phrases: each distinct phrase once, and texts are truncated at phrase boundaries."""

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

    ids: list[NDArray[np.int32]]  #: one array per user
    lengths: list[NDArray[np.int64]]  #: one array per user: the number of ids of each kept phrase
    truncation: dict[str, Any]  #: users, users_truncated, tokens (kept), tokens_dropped, distinct_phrases


def encode_phrases(phrases: pl.Series, encode: Callable[[Sequence[str]], list[list[int]]], max_tokens: int) -> Encoded:
    """Tokenize users' phrases, most informative first, until ``max_tokens`` are reached.

    Args:
        phrases: one list of phrases per user (List[String]).
        encode: tokenizes a batch of texts, without special tokens.
        max_tokens: maximum number of tokens per user; a longer first phrase is truncated inside.
    """
    phrases = phrases.list.drop_nulls()
    flat = phrases.explode(empty_as_null=False, keep_nulls=False).cast(pl.Categorical)
    vocabulary = flat.to_physical().unique(maintain_order=True)
    texts = flat.unique(maintain_order=True).cast(pl.String).to_list()
    tokens = encode(texts) if texts else []
    index_of = np.zeros(int(vocabulary.max() or 0) + 1, np.int64)  # type: ignore[arg-type]
    index_of[vocabulary.to_numpy()] = np.arange(len(texts))
    lengths = np.array([len(ids) for ids in tokens], np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    all_tokens = np.fromiter((token for ids in tokens for token in ids), np.int32, int(starts[-1]))
    phrase_indices = index_of[flat.to_physical().to_numpy()] if len(flat) else np.empty(0, np.int64)
    user_starts = np.concatenate([[0], np.cumsum(phrases.list.len().fill_null(0).to_numpy().astype(np.int64))])
    user_ids, kept_lengths, dropped, truncated = [], [], 0, 0
    for first, last in itertools.pairwise(user_starts):
        user_phrases = phrase_indices[first:last]
        ends = np.cumsum(lengths[user_phrases])
        kept = int(np.searchsorted(ends, max_tokens, side="right"))
        user_phrases = user_phrases[: max(kept, 1)]
        pieces = [all_tokens[starts[index] : starts[index + 1]] for index in user_phrases]
        ids = np.concatenate(pieces)[:max_tokens] if pieces else np.empty(0, np.int32)
        kept_lengths.append(np.minimum(lengths[user_phrases], max_tokens))
        total = int(ends[-1]) if len(ends) else 0
        dropped += total - len(ids)
        truncated += total > len(ids)
        user_ids.append(ids)
    report = {
        "users": len(user_ids),
        "users_truncated": truncated,
        "tokens": sum(map(len, user_ids)),
        "tokens_dropped": dropped,
        "distinct_phrases": len(texts),
    }
    return Encoded(user_ids, kept_lengths, report)
