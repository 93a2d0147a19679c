"""Reads the labelled users of one label set, with their windows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlmodel import Session, select

from segadmin.errors import DataError, LabelSetNotFound, did_you_mean
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.records import LabelSet
from segadmin.storage.store import NO_EVENTS
from segadmin.text.recipe import Window

if TYPE_CHECKING:
    import polars as pl

    from segadmin.storage.lake import Lake

#: A window excludes its ``as_of``, so one that contains the newest event must end just after it.
_MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True)
class KnownLabels:
    """A label set and its rows."""

    label_set: LabelSet
    rows: pl.DataFrame  #: ``user_key``, ``segment``, ``observed_from``, ``as_of``, ``outcome_until``; none null
    latest: datetime  #: time of the newest event

    @property
    def windows(self) -> tuple[Window, ...]:
        """The distinct windows of the rows, in order of time."""
        pairs = self.rows.select("observed_from", "as_of").unique().sort("as_of", "observed_from")
        return tuple(Window(observed_from=start, as_of=end) for start, end in pairs.iter_rows())

    @property
    def window_days(self) -> float:
        """The most common length of the windows: scoring must use windows as long as those of training."""
        lengths: timedelta = self.rows.select((self.rows["as_of"] - self.rows["observed_from"]).mode().max()).item()
        return lengths / timedelta(days=1)


def read_labels(settings: Settings, name: str | None, window_days: float) -> KnownLabels:
    """Return the label set ``name``, by default the only one.

    Raises:
        DataError: there are no events, no such labels, or a model cannot be trained on them.
    """
    from segadmin.storage.lake import Lake

    lake = Lake.of(settings)
    latest = latest_event(lake)
    with transaction(settings) as session:
        label_set = find_label_set(session, name)
    rows = fill_times(lake.scan("labels", label_set=label_set.name), latest, window_days).collect()
    return KnownLabels(label_set, _check_rows(label_set, rows), latest)


def fill_times(labels: pl.LazyFrame, latest: datetime, window_days: float) -> pl.LazyFrame:
    """Return ``labels`` with missing times filled in: as of the newest event, and known at that moment."""
    import polars as pl

    return (
        labels.with_columns(pl.col("as_of").fill_null(pl.lit(after(latest)).cast(pl.Datetime("us", "UTC"))))
        .with_columns(
            pl.col("observed_from").fill_null(pl.col("as_of") - timedelta(days=window_days)),
            pl.col("outcome_until").fill_null(pl.col("as_of")),
        )
        .select("user_key", "segment", "observed_from", "as_of", "outcome_until")
    )


def latest_event(lake: Lake) -> datetime:
    """Return the time of the newest event.

    Raises:
        DataError: there are no events.
    """
    latest = lake.latest_event
    if latest is None:
        raise DataError(NO_EVENTS)
    return latest


def after(latest: datetime) -> datetime:
    """Return the first moment after ``latest``."""
    return latest + _MOMENT


def find_label_set(session: Session, name: str | None) -> LabelSet:
    """Return the label set ``name``, by default the only one.

    Raises:
        LabelSetNotFound: there is no such label set.
        DataError: there are none, or ``name`` is missing and there are several.
    """
    by_name = {label_set.name: label_set for label_set in session.exec(select(LabelSet)).all()}
    if name is None and len(by_name) == 1:
        return next(iter(by_name.values()))
    if name in by_name:
        return by_name[name]
    if not by_name:
        raise DataError(
            "There are no labels to learn from. Import some: segadmin data import labels FILE, "
            "or derive them: segadmin data label NAME --labeler future-spend"
        )
    if name is None:
        raise DataError(f"Which labels? Add --labels; there are: {', '.join(sorted(by_name))}.")
    raise LabelSetNotFound(f"There are no labels {name!r}.{did_you_mean(name, by_name)}")


def _check_rows(label_set: LabelSet, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows without exact duplicates.

    Raises:
        DataError: a model cannot be trained on them.
    """
    import polars as pl

    name, counts = label_set.name, dict(rows["segment"].value_counts().iter_rows())
    fix = f"Import or derive the labels {name!r} again: segadmin data label {name} --labeler future-spend"
    if not counts:
        raise DataError(f"The labels {name!r} have no rows. {fix}")
    unknown = sorted(set(counts) - set(label_set.segments))
    if unknown:
        raise DataError(f"The labels {name!r} have rows in {unknown[0]!r}, which is none of their segments. {fix}")
    if len(counts) == 1:
        raise DataError(f"All labels of {name!r} are {next(iter(counts))!r}; there must be two segments.")
    missing = [segment for segment in label_set.segments if segment not in counts]
    if missing:
        raise DataError(f"No user is labelled {missing[0]!r}, a segment of {name!r}. {fix}")
    rows = rows.unique(maintain_order=True)
    duplicates = rows.filter(pl.struct("user_key", "as_of").is_duplicated())
    if not duplicates.is_empty():
        raise DataError(
            f"Users of {name!r} with several labels for one moment ({duplicates['as_of'][0]:%Y-%m-%d}): "
            f"{duplicates['user_key'].n_unique()}. Keep one a user and moment, and import the labels again."
        )
    return rows
