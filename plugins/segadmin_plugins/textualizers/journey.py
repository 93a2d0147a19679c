"""``journey``: how far a user went, from viewing to buying, by category or item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import polars as pl

from segadmin.contracts.event_kinds import KINDS
from segadmin.contracts.textualizer import TextContext, Textualizer
from segadmin.settings import Language
from segadmin_plugins.textualizers.words import ago, ago_change, earliest, group_name, verbs


@dataclass(frozen=True)
class Journey(Textualizer):
    """One path per category, the furthest first: ``phones: viewed → added to cart → bought, yesterday``.

    The end of a path shows what the user did not do: ``books: viewed, today``.
    """

    name: ClassVar[str] = "journey"
    templates: ClassVar[Mapping[str, Mapping[Language, str]]] = {
        "path": {"en": "{what}: {path}, {ago}", "zh": "{what}：{path}，{ago}"}
    }
    limit: int = 24  #: paths of a user
    by: Literal["category", "item"] = "category"

    def phrases(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        """Return the paths of each user: the furthest first, then the most recent."""
        zh = context.language == "zh"
        paths = events.group_by("user_key", what=group_name(self.by, context.language)).agg(
            last=pl.col("at").max(), **{kind: (pl.col("kind") == kind).any() for kind in KINDS}
        )
        furthest = pl.max_horizontal(pl.col(kind).cast(pl.Int64) * (step + 1) for step, kind in enumerate(KINDS))
        order = pl.struct(-furthest, -pl.col("last").cast(pl.Int64), "what")
        ranked = paths.with_columns(position=order.rank("ordinal").over("user_key").cast(pl.Int64) - 1)
        words = verbs(context)
        steps = [pl.when(pl.col(kind)).then(pl.lit(words[kind])) for kind in KINDS]
        path = pl.concat_str(steps, separator="→" if zh else " → ", ignore_nulls=True)
        when = ago(pl.col("last"), context.as_of, context.language)
        phrase = self.say(context, "path", what=pl.col("what"), path=path, ago=when)
        return ranked.filter(pl.col("position") < self.limit).select("user_key", "position", phrase=phrase)

    def next_change(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        """Return when the words for how long ago a path ended change."""
        last = events.group_by("user_key", what=group_name(self.by, context.language)).agg(pl.col("at").max())
        return earliest(last.select("user_key", next_change=ago_change(pl.col("at"), context.as_of)))
