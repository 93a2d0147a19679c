"""Reads the users of several buckets at every window of a plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from segadmin.text.reader import read_items, read_users
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


#: Users who are read together: of few users of a bucket, preparing to read takes most time. A bucket is never divided.
TOGETHER = 5_000

Group = tuple[Sequence[int], pl.DataFrame]  #: buckets that are read together, and whom to read of them


def together(sizes: Mapping[int, int], buckets: Iterable[int]) -> Iterator[Sequence[int]]:
    """Yield ``buckets`` in groups of up to :data:`TOGETHER` users; ``sizes``: the users of each."""
    group: list[int] = []
    users = 0
    for bucket in buckets:
        if group and users + sizes.get(bucket, 0) > TOGETHER:
            yield group
            group, users = [], 0
        group.append(bucket)
        users += sizes.get(bucket, 0)
    if group:
        yield group


class Selection(Protocol):
    """The users that are read at the scoring window."""

    def groups(self, buckets: Sequence[int]) -> Iterator[Group]:
        """Yield ``buckets`` in groups that are read together, with :meth:`of_buckets`."""

    def of_buckets(self, buckets: Sequence[int]) -> pl.DataFrame:
        """Return ``bucket``, ``user_key`` and ``cause`` of those to read."""


@dataclass(frozen=True)
class GivenUsers:
    """Users who were chosen before."""

    users: pl.DataFrame  #: ``bucket``, ``user_key``, ``cause``

    def groups(self, buckets: Sequence[int]) -> Iterator[Group]:
        """Yield buckets with few of the users together."""
        sizes = dict(self.users.group_by("bucket").len().iter_rows())
        return ((group, self.of_buckets(group)) for group in together(sizes, buckets))

    def of_buckets(self, buckets: Sequence[int]) -> pl.DataFrame:
        """Return those in ``buckets``."""
        return self.users.filter(pl.col("bucket").is_in(list(buckets)))


@dataclass(frozen=True)
class EveryUser:
    """All users of the store who are meant; nothing is known of why they are read."""

    lake: Lake
    select: Callable[[pl.DataFrame], pl.DataFrame]  #: returns those of some users who are meant

    def groups(self, buckets: Sequence[int]) -> Iterator[Group]:
        """Yield each bucket alone."""
        return (([bucket], self.of_buckets([bucket])) for bucket in buckets)

    def of_buckets(self, buckets: Sequence[int]) -> pl.DataFrame:
        """Return those in ``buckets``, without a cause."""
        users = self.lake.scan("users", buckets=buckets).select("bucket", "user_key")
        chosen = self.select(users.unique("user_key", keep="any").collect())
        return chosen.with_columns(cause=pl.lit(None, pl.String))


@dataclass(frozen=True)
class SeveralSelections:
    """The users of several selections, of which none has a user of another."""

    selections: Sequence[Selection]

    def groups(self, buckets: Sequence[int]) -> Iterator[Group]:
        """Yield the groups of the first selection."""
        first, *others = self.selections
        for group, users in first.groups(buckets):
            yield group, pl.concat([users, *(other.of_buckets(group) for other in others)])

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
    reader = _Reader.of(settings, plan, call)
    rows = _TrainingRows.of(settings, wanted, copied, unlabelled)
    buckets = list(buckets)
    for done, bucket in enumerate(buckets):
        if scored is None:
            progress(done / len(buckets), f"bucket {bucket}")
        reader.train(bucket, rows)
        reader.add_outcomes(bucket, rows)
        if scored is None and plan.scoring is not None:
            everyone = reader.lake.scan("users", buckets=[bucket]).select("user_key").sort("user_key").collect()
            reader.texts.scoring.append(reader.read(bucket, plan.scoring, everyone, timed=True))
    if scored is not None and plan.scoring is not None:
        for group, users in scored.groups(buckets):
            progress(buckets.index(group[0]) / len(buckets), f"buckets {group[0]} to {group[-1]}")
            if users.height or not reader.texts.scoring:  # without anybody to read, there is a frame without rows
                reader.score(group, plan.scoring, users)
    return reader.finished()


@dataclass(frozen=True)
class _TrainingRows:
    """The rows that are read at training windows; all have ``bucket``."""

    wanted: pl.DataFrame | None
    copied: pl.DataFrame | None
    unlabelled: pl.DataFrame | None

    @classmethod
    def of(cls, settings: Settings, *frames: pl.DataFrame | None) -> _TrainingRows:
        of_user = bucket_of(pl.col("user_key"), open_store(settings).buckets)
        return cls(*(None if frame is None else frame.with_columns(bucket=of_user) for frame in frames))


@dataclass
class _Reader:
    """Reads users, and collects their texts."""

    plan: TextPlan
    lake: Lake
    textualizer: Textualizer
    items: pl.DataFrame
    call: Callable[[], AbstractContextManager[None]]
    texts: Texts = field(default_factory=Texts)
    distinct: list[pl.Series] = field(default_factory=list)

    @classmethod
    def of(cls, settings: Settings, plan: TextPlan, call: Callable[[], AbstractContextManager[None]]) -> _Reader:
        recipe, lake, plugins = plan.recipe, Lake.of(settings, plan.lake), load_plugins(settings)
        textualizer: Textualizer = plugins.make("textualizer", recipe.textualizer, recipe.textualizer_options)
        items = read_items(lake, recipe, item_words(plugins, lake, recipe))
        return cls(plan, lake, textualizer, items, call)

    def train(self, bucket: int, rows: _TrainingRows) -> None:
        """Read users of a bucket at the training windows, with their augmented copies."""
        if rows.wanted is None:
            return
        variants = [Variant(number, self.plan.drop_events) for number in range(1, self.plan.copies + 1)]
        for window in self.plan.training:
            in_window = pl.col("as_of") == window.as_of, pl.col("observed_from") == window.observed_from
            users = rows.wanted.filter(pl.col("bucket") == bucket, *in_window).select("user_key").sort("user_key")
            self.texts.training.append(self.read(bucket, window, users))
            if variants and rows.copied is not None:
                users_to_copy = users.join(
                    rows.copied.filter(pl.col("as_of") == window.as_of), on="user_key", how="semi"
                )
                self.texts.augmented += [self.read(bucket, window, users_to_copy, variant) for variant in variants]

    def add_outcomes(self, bucket: int, rows: _TrainingRows) -> None:
        """Read the outcomes of unlabelled users of a bucket."""
        if self.plan.outcomes is not None and rows.unlabelled is not None:
            of_bucket = rows.unlabelled.filter(pl.col("bucket") == bucket).drop("bucket")
            self.texts.outcomes += _outcomes(self.lake, bucket, self.plan.outcomes, of_bucket)

    def score(self, buckets: Sequence[int], window: Window, selected: pl.DataFrame) -> None:
        """Read chosen users of some buckets (``bucket``, ``user_key``, ``cause``) at the scoring window."""
        selected = selected.sort("bucket", "user_key")
        users = self.read(buckets, window, selected.select("bucket", "user_key"), timed=True)
        self.texts.scoring.append(users.hstack(selected.select("cause")))

    def read(
        self,
        bucket: int | Sequence[int],
        window: Window,
        users: pl.DataFrame,
        variant: Variant = CANONICAL,
        *,
        timed: bool = False,
    ) -> pl.DataFrame:
        """Return the texts of users at a window, and count what was read."""
        result = read_users(
            self.lake,
            bucket,
            window,
            self.plan.recipe,
            textualizer=self.textualizer,
            users=users,
            items=self.items,
            variant=variant,
            timed=timed,
            call=self.call(),
        )
        if variant is not CANONICAL:
            self.texts.report.update({"augmented": result.users.height})
            return result.users
        self.texts.report.update(result.report)
        phrases = result.users["phrases"].explode(empty_as_null=False, keep_nulls=False)
        self.distinct.append(phrases.unique().hash())  # the phrases of all buckets at once would take most memory
        return result.users

    def finished(self) -> Texts:
        """Return the texts, with the number of distinct phrases."""
        self.texts.report["distinct_phrases"] = pl.concat(self.distinct).n_unique() if self.distinct else 0
        return self.texts


def _outcomes(lake: Lake, bucket: int, plan: OutcomePlan, rows: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the outcomes of the unlabelled ``rows`` of a bucket, a frame for each window."""
    return [
        read_outcomes(lake, bucket, window, plan.recipe, rows.filter(pl.col("as_of") == window.observed_from))
        for window in plan.windows
    ]
