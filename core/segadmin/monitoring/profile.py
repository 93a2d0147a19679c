"""Profiles: what is kept of a snapshot's users so that later ones can be compared with it, some kilobytes.

Some users of the reference snapshot, the calibration users, choose the bins, the ranges and the vocabulary; the others
are counted. So a later user meets bins that were chosen without it, just as the counted users of the reference did.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from segadmin.contracts.backbone import Examples
from segadmin.labels.split import draw
from segadmin.monitoring.histogram import Histogram, quantile_bins

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.floating[Any]]

#: At most this many users choose the bins, and at most a quarter of all.
CALIBRATION_USERS = 1000
#: Phrases of the vocabulary, the most common ones; each was used by two calibration users at least.
_VOCABULARY, _LEAST_USERS = 4096, 2
_SEED = 29
#: Names of what is counted besides the features.
SEGMENT, CONFIDENCE = "segment", "confidence"
PHRASES, NEW_PHRASES, AT_LIMIT = "phrases", "share of new phrases", "as many phrases as allowed"
OUT_OF_RANGE = "features out of range"
TOKENS, UNKNOWN_TOKENS, DROPPED_TOKENS = "tokens", "share of unknown tokens", "share of tokens that are not read"
_SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_TOKEN_SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_NUMBERS_OUT_OF_RANGE = (0.0, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class ScoredUsers:
    """Users with their texts and what the model predicted, one row each."""

    examples: Examples  #: ``frame`` also has ``segment`` (null: none) and ``probability`` of the most probable segment
    max_phrases: int  #: of the recipe
    tokens: pl.DataFrame | None = None  #: ``tokens``, ``unknown`` and ``dropped``; ``None``: the model has no tokenizer

    def where(self, mask: NDArray[np.bool_]) -> ScoredUsers:
        """Return the users for whom ``mask`` is true."""
        rows = pl.Series(mask)
        examples = replace(self.examples, frame=self.examples.frame.filter(rows))
        return replace(self, examples=examples, tokens=None if self.tokens is None else self.tokens.filter(rows))

    @property
    def drawn(self) -> NDArray[np.float64]:
        """A number in [0, 1) of each user, the same in every snapshot."""
        return draw(self.examples.frame["user_key"].to_numpy(), _SEED)


class Calibration(BaseModel):
    """What the calibration users decided."""

    model_config = ConfigDict(frozen=True)

    drawn_below: float  #: who drew less is a calibration user
    bins: dict[str, Histogram]  #: without counts
    ranges: tuple[tuple[float, float, bool], ...]  #: of each feature: minimum, maximum, whether some lack it
    vocabulary: tuple[int, ...]  #: hashes of common phrases

    @classmethod
    def of(cls, users: ScoredUsers) -> Calibration:
        """Choose calibration users, and by them the bins, the ranges and the vocabulary."""
        drawn = users.drawn
        count = min(len(drawn) // 4, CALIBRATION_USERS)
        below = float(np.sort(drawn)[count]) if len(drawn) else 0.0
        chosen = users.where(drawn < below)
        numbers = _numbers(chosen)
        bins = {name: quantile_bins(values) for name, values in numbers.items()}
        bins[SEGMENT] = Histogram(categories=users.examples.segments)
        bins[AT_LIMIT] = Histogram(categories=("no", "yes"))
        bins[NEW_PHRASES] = Histogram(edges=_SHARES)
        bins[OUT_OF_RANGE] = Histogram(edges=_NUMBERS_OUT_OF_RANGE)
        bins |= {name: Histogram(edges=_TOKEN_SHARES) for name in _token_shares(chosen)}
        ranges = tuple(_range(column) for column in chosen.examples.features.T)
        return cls(drawn_below=below, bins=bins, ranges=ranges, vocabulary=_vocabulary(chosen.examples.frame))

    def profile(self, users: ScoredUsers) -> dict[str, Histogram]:
        """Return the distributions of ``users``, without those who draw as the calibration users did."""
        counted = users.where(users.drawn >= self.drawn_below)
        phrases = counted.examples.frame["phrases"]
        numbers: dict[str, Numbers] = {
            **_numbers(counted),
            **_token_shares(counted),
            NEW_PHRASES: _share_of_new(phrases, set(self.vocabulary)),
            OUT_OF_RANGE: self._out_of_range(counted.examples.features),
        }
        limit = (phrases.list.len() >= users.max_phrases).replace_strict({True: "yes", False: "no"})
        categories = {SEGMENT: counted.examples.frame["segment"], AT_LIMIT: limit}
        return {
            name: bins.of_categories(categories[name].to_list())
            if name in categories
            else bins.of_numbers(numbers[name])
            for name, bins in self.bins.items()
            if name in categories or name in numbers
        }

    def _out_of_range(self, features: Numbers) -> Numbers:
        """Return the number of features of each user that are out of the range, or lacked by that user alone."""
        low, high, lacked = (np.asarray(each) for each in zip(*self.ranges, strict=True)) if self.ranges else ((),) * 3
        missing = ~np.isfinite(features)
        outside = (features < low) | (features > high) | (missing & ~np.asarray(lacked, bool))
        total: Numbers = outside.sum(axis=1).astype(np.float64)
        return total


def _numbers(users: ScoredUsers) -> dict[str, Numbers]:
    """Return the numbers whose bins are quantiles."""
    frame = users.examples.frame
    return {
        **dict(zip(users.examples.feature_names, users.examples.features.T, strict=True)),
        CONFIDENCE: frame["probability"].to_numpy(),
        PHRASES: frame["phrases"].list.len().to_numpy().astype(np.float64),
        **({} if users.tokens is None else {TOKENS: users.tokens["tokens"].to_numpy()}),
    }


def _token_shares(users: ScoredUsers) -> dict[str, Numbers]:
    """Return shares of each user's tokens, ``(n_users,)``; NaN without tokens; empty if the model has no tokenizer."""
    if users.tokens is None:
        return {}
    total = pl.when(pl.col("tokens") > 0).then("tokens").otherwise(float("nan"))
    shares = users.tokens.select(
        (pl.col(column) / total).alias(name)
        for name, column in ((UNKNOWN_TOKENS, "unknown"), (DROPPED_TOKENS, "dropped"))
    )
    return {share.name: share.to_numpy() for share in shares}


def _range(values: Numbers) -> tuple[float, float, bool]:
    known = values[np.isfinite(values)]
    if not len(known):
        return (np.finfo(np.float64).max, np.finfo(np.float64).min, True)  # a value is out of an empty range
    return float(known.min()), float(known.max()), len(known) < len(values)


def _vocabulary(users: pl.DataFrame) -> tuple[int, ...]:
    """Return the hashes of the phrases that the most users have."""
    common = (
        users.select("user_key", phrase="phrases")
        .explode("phrase", empty_as_null=False, keep_nulls=False)
        .unique()
        .group_by("phrase")
        .len("users")
        .filter(pl.col("users") >= _LEAST_USERS)
        .sort("users", "phrase", descending=[True, False])
        .head(_VOCABULARY)
    )
    return tuple(sorted(_hashes(common["phrase"].to_list())))


def _share_of_new(phrases: pl.Series, vocabulary: set[int]) -> Numbers:
    """Return the share of each user's phrases that are not in the vocabulary, ``(n_users,)``; NaN without phrases."""
    rows = pl.DataFrame({"row": pl.int_range(len(phrases), eager=True), "phrase": phrases})
    flat = rows.explode("phrase", empty_as_null=False, keep_nulls=False)
    distinct = flat["phrase"].unique()
    hashes = _hashes(distinct.to_list())
    new = distinct.filter(pl.Series([each not in vocabulary for each in hashes], dtype=pl.Boolean))
    shares = flat.group_by("row").agg(pl.col("phrase").is_in(new.implode()).mean())
    values: Numbers = rows.join(shares, on="row", how="left", maintain_order="left")["phrase_right"].to_numpy()
    return values


def _hashes(phrases: Iterable[str]) -> list[int]:
    """Return a 48-bit hash of each phrase, the same on every machine; JSON numbers hold it exactly."""
    return [int.from_bytes(blake2b(phrase.encode(), digest_size=6).digest(), "big") for phrase in phrases]


def increase(
    reference: Mapping[str, Histogram], current: Mapping[str, Histogram], name: str, bins: Sequence[int]
) -> float:
    """Return by how much the share of the users in some ``bins`` of a distribution grew; 0 if either lacks it."""
    if name not in reference or name not in current or not reference[name].users or not current[name].users:
        return 0.0
    shares = [sum(each[name].counts[n] for n in bins) / each[name].users for each in (reference, current)]
    return shares[1] - shares[0]
