"""Reads the users of several buckets at every window of a plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import polars as pl

from segadmin.contracts.backbone import no_progress
from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.textualizer import Textualizer
from segadmin.hashing import bucket_of
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from segadmin.storage.store import open_store
from segadmin.text.item_words import item_words
from segadmin.text.outcomes import read_outcomes
from segadmin.text.plan import OutcomePlan, TextPlan
from segadmin.text.reader import read_users
from segadmin.text.recipe import Window
from segadmin.text.variant import CANONICAL, Variant


@dataclass
class Texts:
    """User texts: frames with the columns of :attr:`segadmin.text.reader.UserTexts.users`."""

    training: list[pl.DataFrame] = field(default_factory=list)  #: at the training windows
    augmented: list[pl.DataFrame] = field(default_factory=list)  #: copies of training rows
    scoring: list[pl.DataFrame] = field(default_factory=list)  #: at the scoring window; with ``cause`` if it was given
    outcomes: list[pl.DataFrame] = field(default_factory=list)  #: of unlabelled users, see :func:`read_outcomes`
    report: Counter[str] = field(default_factory=Counter)  #: counts of users, events, phrases, …


class Selection(Protocol):
    """The users that are read at the scoring window."""

    def groups(self, buckets: Sequence[int]) -> Iterator[Sequence[int]]:
        """Yield ``buckets`` in groups that are read together."""

    def of_buckets(self, buckets: Sequence[int]) -> pl.DataFrame:
        """Return ``bucket``, ``user_key`` and ``cause`` of those to read."""


@dataclass(frozen=True)
class GivenUsers:
    """Users who were chosen before."""

    users: pl.DataFrame  #: ``bucket``, ``user_key``, ``cause``

    def groups(self, buckets: Sequence[int]) -> Iterator[Sequence[int]]:
        """Yield each bucket alone."""
        return ([bucket] for bucket in buckets)

    def of_buckets(self, buckets: Sequence[int]) -> pl.DataFrame:
        """Return those in ``buckets``."""
        return self.users.filter(pl.col("bucket").is_in(list(buckets)))


@dataclass(frozen=True)
class EveryUser:
    """All users of the store who are meant; nothing is known of why they are read."""

    lake: Lake
    select: Callable[[pl.DataFrame], pl.DataFrame]  #: returns those of some users who are meant

    def groups(self, buckets: Sequence[int]) -> Iterator[Sequence[int]]:
        """Yield each bucket alone."""
        return ([bucket] for bucket in buckets)

    def of_buckets(self, buckets: Sequence[int]) -> pl.DataFrame:
        """Return those in ``buckets``, without a cause."""
        users = self.lake.scan("users", buckets=buckets).select("bucket", "user_key")
        chosen = self.select(users.unique("user_key", keep="any").collect())
        return chosen.with_columns(cause=pl.lit(None, pl.String))


@dataclass(frozen=True)
class SeveralSelections:
    """The users of several selections, of which none has a user of another."""

    selections: Sequence[Selection]

    def groups(self, buckets: Sequence[int]) -> Iterator[Sequence[int]]:
        """Yield the groups of the first selection."""
        return self.selections[0].groups(buckets)

    def of_buckets(self, buckets: Sequence[int]) -> pl.DataFrame:
        """Return the users of all selections."""
        return pl.concat([selection.of_buckets(buckets) for selection in self.selections])


def read_buckets(
    settings: Settings,
    plan: TextPlan,
    buckets: Iterable[int],
    *,
    wanted: pl.DataFrame | None = None,
    copied: pl.DataFrame | None = None,
    unlabelled: pl.DataFrame | None = None,
    scored: Selection | None = None,
    call: Callable[[], AbstractContextManager[None]] = nullcontext,
    progress: Callable[[float, str], None] = no_progress,
) -> Texts:
    """Read users bucket by bucket: ``wanted`` at the training windows, ``scored`` at the scoring window.

    Args:
        settings: where the store is.
        plan: the windows and the recipe.
        buckets: the buckets to read.
        wanted: rows to read, ``user_key``, ``observed_from``, ``as_of``; default: none.
        copied: ``user_key``, ``as_of`` of the rows that get augmented copies, if the plan has copies.
        unlabelled: ``user_key``, ``as_of`` of the rows whose outcomes are read, if the plan has outcomes.
        scored: the users to read at the scoring window; default: all.
        call: returns a context in which the textualizer is called.
        progress: called with the fraction done and a short note.

    Raises:
        PluginError: the textualizer failed, or did not return phrases.
    """
    buckets = list(buckets)
    recipe, lake, texts = plan.recipe, Lake.of(settings, plan.lake), Texts()
    plugins = load_plugins(settings)
    textualizer: Textualizer = plugins.make("textualizer", recipe.textualizer, recipe.textualizer_options)
    words = item_words(plugins, lake, recipe)
    distinct: list[pl.Series] = []
    variants = [Variant(number, plan.drop_events) for number in range(1, plan.copies + 1)]

    def read(
        bucket: int | Sequence[int],
        window: Window,
        users: pl.DataFrame,
        variant: Variant = CANONICAL,
        *,
        timed: bool = False,
    ) -> pl.DataFrame:
        read_result = read_users(
            lake,
            bucket,
            window,
            recipe,
            textualizer=textualizer,
            users=users,
            words=words,
            variant=variant,
            timed=timed,
            call=call(),
        )
        texts.report.update(read_result.report if variant is CANONICAL else {"augmented": read_result.users.height})
        if variant is CANONICAL:
            phrases = read_result.users["phrases"].explode(empty_as_null=False, keep_nulls=False)
            distinct.append(phrases.unique().hash())  # the phrases of all buckets at once would take most memory
        return read_result.users

    of_user = bucket_of(pl.col("user_key"), open_store(settings).buckets)
    rows = None if wanted is None else wanted.with_columns(bucket=of_user)
    for done, bucket in enumerate(buckets):
        if scored is None:
            progress(done / len(buckets), f"bucket {bucket}")
        for window in plan.training:
            if rows is None:
                break
            in_window = pl.col("as_of") == window.as_of, pl.col("observed_from") == window.observed_from
            users = rows.filter(pl.col("bucket") == bucket, *in_window).select("user_key").sort("user_key")
            texts.training.append(read(bucket, window, users))
            if variants and copied is not None:
                users_to_copy = users.join(copied.filter(pl.col("as_of") == window.as_of), on="user_key", how="semi")
                texts.augmented += [read(bucket, window, users_to_copy, variant) for variant in variants]
        if plan.outcomes is not None and unlabelled is not None:
            texts.outcomes += _outcomes(lake, bucket, plan.outcomes, unlabelled.filter(of_user == bucket))
        if plan.scoring is not None and scored is None:
            everyone = lake.scan("users", buckets=[bucket]).select("user_key").sort("user_key").collect()
            texts.scoring.append(read(bucket, plan.scoring, everyone, timed=True))
    if plan.scoring is not None and scored is not None:
        for group in scored.groups(buckets):
            progress(buckets.index(group[0]) / len(buckets), f"buckets {group[0]} to {group[-1]}")
            selected = scored.of_buckets(group).sort("bucket", "user_key")
            users_read = read(group, plan.scoring, selected.select("bucket", "user_key"), timed=True)
            texts.scoring.append(users_read.hstack(selected.select("cause")))
    texts.report["distinct_phrases"] = pl.concat(distinct).n_unique() if distinct else 0
    return texts


def _outcomes(lake: Lake, bucket: int, plan: OutcomePlan, rows: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the outcomes of the unlabelled ``rows`` of a bucket, a frame for each window."""
    return [
        read_outcomes(lake, bucket, window, plan.recipe, rows.filter(pl.col("as_of") == window.observed_from))
        for window in plan.windows
    ]
