"""The texts of some users, where a sample is enough."""

from __future__ import annotations

import polars as pl

from segadmin.contracts.plugins import Plugins
from segadmin.contracts.textualizer import Textualizer
from segadmin.storage.lake import Lake
from segadmin.text.item_words import item_words
from segadmin.text.reader import read_items, read_users
from segadmin.text.recipe import Recipe, Window


def sample_users(
    lake: Lake, buckets: int, window: Window, recipe: Recipe, most: int, *, plugins: Plugins, textualizer: Textualizer
) -> pl.DataFrame:
    """Return the texts and features of at most ``most`` users, always the same: the first of the first buckets.

    Raises:
        PluginError: the textualizer or the modality failed.
    """
    items = read_items(lake, recipe, item_words(plugins, lake, recipe))
    texts, left = [], most
    for bucket in range(buckets):
        users = lake.scan("users", buckets=[bucket]).select("user_key").sort("user_key").head(left).collect()
        left -= users.height
        read = read_users(lake, bucket, window, recipe, textualizer=textualizer, users=users, items=items)
        texts.append(read.users)
        if not left:
            break
    return pl.concat(texts)
