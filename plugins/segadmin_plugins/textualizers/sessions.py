"""``sessions``: visits as sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

import polars as pl

from segadmin.contracts.event_kinds import KINDS
from segadmin.contracts.textualizer import TextContext, Textualizer
from segadmin.settings import Language
from segadmin_plugins.textualizers.words import (
    about,
    ago,
    ago_change,
    category,
    earliest,
    latest_first,
    level,
    newest,
    verbs,
)


@dataclass(frozen=True)
class Sessions(Textualizer):
    """One sentence per visit, newest first: ``yesterday, minutes7: viewed 5 (lamps, books), bought 1 (books)``.

    Events less than ``gap_minutes`` apart are one visit. Counts are exact up to 5, and in steps beyond.
    """

    name: ClassVar[str] = "sessions"
    version: ClassVar[str] = "2"
    templates: ClassVar[Mapping[str, Mapping[Language, str]]] = {
        "visit": {"en": "{ago}, minutes{minutes}: {actions}", "zh": "{ago}到访，停留{minutes}：{actions}"},
        "action": {"en": "{verb} {times} ({categories})", "zh": "{verb}{times}次（{categories}）"},
    }
    limit: int = 16  #: newest visits of a user
    gap_minutes: float = 30.0
    events: int = 400  #: newest events of a user to form visits from

    def phrases(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        """Return a sentence for each of a user's newest visits."""
        zh = context.language == "zh"
        named = events.with_columns(category=category(context.language))
        latest = newest(named, self.events, latest_first(context)).sort("user_key", "position")
        earlier = pl.col("at").shift(-1).over("user_key")
        begins = (pl.col("at") - earlier > timedelta(minutes=self.gap_minutes)).fill_null(value=False)
        visit = begins.cast(pl.Int64).cum_sum().over("user_key") - begins.cast(pl.Int64)
        visits = (
            latest.with_columns(visit=visit)
            .filter(pl.col("visit") < self.limit)
            .group_by("user_key", "visit")
            .agg(
                last=pl.col("at").max(),
                minutes=(pl.col("at").max() - pl.col("at").min()).dt.total_seconds() / 60,
                **{kind: (pl.col("kind") == kind).sum() for kind in KINDS},
                **{f"{kind}_of": _categories(kind, zh=zh) for kind in KINDS},
            )
        )
        phrase = self.say(
            context,
            "visit",
            ago=ago(pl.col("last"), context.as_of, context.language),
            minutes=level(pl.col("minutes")),
            actions=pl.concat_str(self._actions(context), separator="，" if zh else ", ", ignore_nulls=True),
        )
        return visits.select("user_key", position="visit", phrase=phrase)

    def next_change(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        """Return when the words for how long ago a visit was change."""
        latest = newest(events, self.events, latest_first(context))
        return earliest(latest.select("user_key", next_change=ago_change(pl.col("at"), context.as_of)))

    def _actions(self, context: TextContext) -> Iterator[pl.Expr]:
        """Yield the phrase of each kind of event in a visit; null if there is none."""
        for kind, word in verbs(context).items():
            phrase = self.say(
                context, "action", verb=pl.lit(word), times=about(pl.col(kind)), categories=pl.col(f"{kind}_of")
            )
            yield pl.when(pl.col(kind) > 0).then(phrase)


def _categories(kind: str, *, zh: bool) -> pl.Expr:
    """Return the two categories that the newest events of ``kind`` are about."""
    of = pl.col("category").filter(pl.col("kind") == kind).drop_nulls()
    return of.unique(maintain_order=True).head(2).implode().list.join("、" if zh else ", ")
