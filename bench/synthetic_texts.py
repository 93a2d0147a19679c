"""User texts for measuring speed: phrases drawn from a vocabulary in which, as in shops, few are most of all."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

_PRODUCTS = (
    "whole milk", "rye bread", "ground coffee", "red wine", "cheddar", "penne pasta", "olive oil", "apples", "shampoo",
    "dog food", "paper towels", "yoghurt", "frozen pizza", "baby wipes", "orange juice", "chicken breast",
)  # fmt: skip
_WHEN = ("yesterday", "last week", "last month", "long ago")
_VERBS = ("bought", "viewed", "carted", "rated")


def vocabulary() -> list[str]:
    """Return some thousand phrases, like those of the textualizer ``mixed``."""
    numbers = [f"{name}{bucket}" for name in ("spend", "visits", "days", "basket") for bucket in range(40)]
    categories = [f"{product} x{times}" for product in _PRODUCTS for times in range(1, 20)]
    actions = [
        f"{verb} {product} {size} {when}"
        for verb in _VERBS
        for product in _PRODUCTS
        for size in range(1, 25)
        for when in _WHEN
    ]
    return [*numbers, *categories, *actions]


def users(rows: int, phrases: int, seed: int = 17) -> pl.DataFrame:
    """Return users with about this many ``phrases``; popular ones are drawn much more often than others."""
    random, words = np.random.default_rng(seed), np.array(vocabulary())
    order = random.permutation(len(words))
    counts = np.clip(random.normal(phrases, phrases * 0.35, rows).astype(int), 1, phrases * 2)
    drawn = order[(len(words) * random.random(int(counts.sum())) ** 3).astype(int)]
    texts = np.split(words[drawn], np.cumsum(counts)[:-1])
    columns: dict[str, Any] = {
        "user_key": range(rows),
        "phrases": [text.tolist() for text in texts],
        "features": [[]] * rows,
    }
    return pl.DataFrame(columns, schema_overrides={"features": pl.List(pl.Float32), "phrases": pl.List(pl.String)})
