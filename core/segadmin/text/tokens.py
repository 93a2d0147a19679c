"""Tokenizes phrases: each distinct phrase once, and texts are truncated at phrase boundaries."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from segadmin.ragged import Ragged, gathered, offsets_of

#: Number of tokens and phrases that a cache holds before it starts again: some 200 MB.
_MOST_TOKENS = 16_000_000
_MOST_PHRASES = 2_000_000


@dataclass(frozen=True)
class Encoded:
    """User texts as token ids."""

    ids: Ragged  #: int32, one row per user
    phrase_lengths: Ragged  #: int64, one row per user: the number of ids of each kept phrase
    truncation: dict[str, Any]  #: users, users_truncated, tokens (kept), tokens_dropped, distinct_phrases


class PhraseCache:
    """The token ids of phrases: each distinct phrase is tokenized once, also if it comes again in a later call.

    It lives in memory only, because token ids are text: on disk, erasing a user would have to find them there too.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[str]], list[list[int]]],
        most_tokens: int = _MOST_TOKENS,
        most_phrases: int = _MOST_PHRASES,
    ) -> None:
        self._encode, self._most_tokens, self._most_phrases = encode, most_tokens, most_phrases
        self._clear()

    def _clear(self) -> None:
        self._numbers: dict[str, int] = {}
        self.tokens, self.offsets = np.empty(0, np.int32), np.zeros(1, np.int64)

    def numbers(self, texts: list[str]) -> NDArray[np.int64]:
        """Return the number of each phrase: its ids are ``tokens[offsets[number]:offsets[number + 1]]``.

        Numbers are valid until the next call.
        """
        if len(self.tokens) > self._most_tokens or len(self._numbers) > self._most_phrases:
            self._clear()
        missing = [text for text in texts if text not in self._numbers]
        if missing:
            ids = self._encode(missing)
            self._numbers |= zip(missing, itertools.count(len(self._numbers)), strict=False)
            lengths = np.fromiter(map(len, ids), np.int64, len(ids))
            new = np.fromiter(itertools.chain.from_iterable(ids), np.int32, int(lengths.sum()))
            self.offsets = np.concatenate([self.offsets, self.offsets[-1] + np.cumsum(lengths)])
            self.tokens = np.concatenate([self.tokens, new])
        return np.fromiter(map(self._numbers.__getitem__, texts), np.int64, len(texts))


def encode_phrases(
    phrases: pl.Series,
    cache: PhraseCache,
    max_tokens: int,
    *,
    before: Sequence[int] = (),
    after: Sequence[int] = (),
    empty: Sequence[int] = (),
) -> Encoded:
    """Tokenize users' phrases, most informative first, until ``max_tokens`` are reached.

    Args:
        phrases: one list of phrases per user (List[String]).
        cache: tokenizes phrases, without special tokens.
        max_tokens: maximum number of tokens per user; a longer first phrase is truncated inside.
        before: ids in front of every text; not counted in ``max_tokens`` and the report.
        after: ids behind every text; not counted either.
        empty: the ids of a text that would have none.
    """
    phrases = phrases.list.drop_nulls()
    flat = phrases.explode(empty_as_null=False, keep_nulls=False).cast(pl.Categorical)
    codes = flat.to_physical()
    distinct = codes.unique(maintain_order=True)
    texts = flat.unique(maintain_order=True).cast(pl.String).to_list()
    number_of = np.zeros(int(distinct.max() or 0) + 1, np.int64)  # type: ignore[arg-type]
    number_of[distinct.to_numpy()] = cache.numbers(texts)
    numbers = number_of[codes.to_numpy()] if len(flat) else np.empty(0, np.int64)

    counts = phrases.list.len().fill_null(0).to_numpy().astype(np.int64)
    users = offsets_of(counts)
    starts = cache.offsets[numbers]
    lengths = cache.offsets[numbers + 1] - starts
    ends = offsets_of(lengths)
    user_ends = ends[1:] - np.repeat(ends[users[:-1]], counts)  # tokens of the user up to the end of each phrase
    kept = user_ends <= max_tokens
    firsts = users[:-1][counts > 0]
    kept[firsts] = True
    kept_lengths = np.minimum(lengths[kept], max_tokens)
    kept_counts = np.diff(offsets_of(kept.astype(np.int64))[users])
    totals = np.diff(ends[users])
    tokens = np.diff(offsets_of(kept_lengths)[offsets_of(kept_counts)])
    values, _ = gathered(cache.tokens, starts[kept], kept_lengths)
    report = {
        "users": len(counts),
        "users_truncated": int((totals > tokens).sum()),
        "tokens": int(tokens.sum()),
        "tokens_dropped": int(totals.sum() - tokens.sum()),
        "distinct_phrases": len(texts),
    }
    ids = _surrounded(Ragged.of(values, tokens), before, after, empty)
    return Encoded(ids, Ragged.of(kept_lengths, kept_counts), report)


def _surrounded(rows: Ragged, before: Sequence[int], after: Sequence[int], empty: Sequence[int]) -> Ragged:
    """Return ``rows`` with ids before and after each; a row that stays empty becomes ``empty``."""
    around = len(before) + len(after)
    if not around and (not empty or rows.lengths.all()):
        return rows
    blank = (rows.lengths == 0) & (around == 0)
    lengths = rows.lengths + around + blank * len(empty)
    offsets = offsets_of(lengths)
    values = np.empty(offsets[-1], np.int32)
    for place, token in enumerate(before):
        values[offsets[:-1] + place] = token
    for place, token in enumerate(reversed(after), 1):
        values[offsets[1:] - place] = token
    for place, token in enumerate(empty):
        values[offsets[:-1][blank] + place] = token
    inside = np.repeat(offsets[:-1] + len(before) - rows.offsets[:-1], rows.lengths)
    values[inside + np.arange(len(inside))] = rows.values
    return Ragged(values, offsets)
