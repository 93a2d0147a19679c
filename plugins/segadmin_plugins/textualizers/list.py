"""``list``: what a user did with which item, newest first, each once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from segadmin.contracts.textualizer import TextContext, Textualizer
from segadmin.settings import Language
from segadmin_plugins.textualizers.words import never, newest_of_each, verb


@dataclass(frozen=True)
class ItemList(Textualizer):
    """``浏览商品ID_456``, ``购买商品ID_789``: a phrase for each kind and item, newest first, each once.

    Its phrases are short and repeat across users, so tokenizing is fast; amounts and counts are left out.
    """

    name: ClassVar[str] = "list"
    templates: ClassVar[Mapping[str, Mapping[Language, str]]] = {
        "item": {"en": "{verb} item {item}", "zh": "{verb}商品ID_{item}"}
    }
    limit: int = 64  #: newest kinds and items of a user

    def phrases(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        """Return a phrase for each of a user's newest distinct kinds and items."""
        phrase = self.say(context, "item", verb=verb(context), item=pl.col("item"))
        return newest_of_each(events, self.limit).select("user_key", "position", phrase=phrase)

    def next_change(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        """Return nothing: no phrase depends on the time."""
        return never()
