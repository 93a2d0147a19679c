"""A hash of a user's text, with which a refresh detects changed texts."""

from __future__ import annotations

from hashlib import blake2b

import polars as pl


def phrase_hash(phrases: pl.Series) -> pl.Series:
    """Return a 64-bit hash of each list of phrases (Int64), the same on every machine and in every version."""
    joined = phrases.list.join("\x1f").to_list()
    hashes = [int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True) for text in joined]
    return pl.Series("phrase_hash", hashes, dtype=pl.Int64)
