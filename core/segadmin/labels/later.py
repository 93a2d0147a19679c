"""Labels later cut-offs of a label set by its own definition, as their outcomes become known.

Thresholds and categories stay those of the first cut-offs, so that a segment means what it meant before, and a model
can be compared with the one before it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from segadmin.errors import PluginContractError
from segadmin.hashing import bucket_of
from segadmin.labels.label_sets import find_label_set, latest_event
from segadmin.labels.labeling import labeler_of, labelling_events
from segadmin.labels.parts import SplitBy
from segadmin.labels.split import first_test_cutoff
from segadmin.settings import Settings
from segadmin.storage.database import reading, transaction
from segadmin.storage.import_lock import users_stay
from segadmin.storage.lake import Commit, Lake
from segadmin.storage.records import LabelSet
from segadmin.storage.schema import TIME
from segadmin.storage.store import open_store


@dataclass(frozen=True)
class Cutoffs:
    """The cut-offs of a label set, and how far apart they are."""

    moments: tuple[datetime, ...]  #: in order
    observed: timedelta  #: from the beginning of a window to its cut-off
    outcome: timedelta  #: from a cut-off until its label is known

    @property
    def step(self) -> timedelta:
        """The smallest distance of two cut-offs; of a single one, until its label is known."""
        pairs = zip(self.moments, self.moments[1:], strict=False)
        return min((later - earlier for earlier, later in pairs), default=self.outcome)

    def later(self, latest: datetime) -> list[datetime]:
        """Return the further cut-offs whose labels are known by the event ``latest``."""
        if not self.moments or not self.outcome:
            return []
        known = (latest - self.outcome - self.moments[-1]) // self.step
        return [self.moments[-1] + n * self.step for n in range(1, known + 1)]

    def trainable(self, definition: dict[str, Any]) -> list[datetime]:
        """Return the cut-offs that a split by time trains on, see :func:`segadmin.labels.split.split_rows`."""
        if len(self.moments) < 2:
            return []
        first_test = first_test_cutoff(self.moments, definition)
        return [moment for moment in self.moments if moment < first_test and moment + self.outcome <= first_test]


def read_cutoffs(lake: Lake, label_set: str) -> Cutoffs | None:
    """Return the cut-offs of a label set; ``None`` if some rows have no times, as imported ones may."""
    times = lake.scan("labels", label_set=label_set).select("observed_from", "as_of", "outcome_until").collect()
    if times.is_empty() or any(times.null_count().row(0)):
        return None
    lengths = times.select(
        (pl.col("as_of") - pl.col("observed_from")).mode().max().alias("observed"),
        (pl.col("outcome_until") - pl.col("as_of")).mode().max().alias("outcome"),
    )
    return Cutoffs(tuple(times["as_of"].unique().sort()), *lengths.row(0))


def labels_later_weeks(settings: Settings, label_set: LabelSet) -> bool:
    """Whether later cut-offs of a label set can be derived: it was not imported, and looks at what follows."""
    if labeler_of(settings, label_set) is None:
        return False
    cutoffs = read_cutoffs(Lake.of(settings), label_set.name)
    return cutoffs is not None and bool(cutoffs.outcome)


def new_cutoffs(
    settings: Settings, label_set: LabelSet, trained: Collection[datetime], split: str = SplitBy.TIME
) -> list[datetime] | None:
    """Return the cut-offs that a model could be trained on by now and that are not among those it was ``trained`` on.

    Those that could be labelled now are counted as if they were labelled. ``None``: the labels have no times.
    """
    lake = Lake.of(settings)
    cutoffs = read_cutoffs(lake, label_set.name)
    if cutoffs is None:
        return None
    definition = label_set.definition
    if labeler_of(settings, label_set) is not None and (later := cutoffs.later(latest_event(lake))):
        cutoffs = Cutoffs((*cutoffs.moments, *later), cutoffs.observed, cutoffs.outcome)
        definition = _extended(definition, cutoffs.moments)
    usable = cutoffs.trainable(definition) if split == SplitBy.TIME else list(cutoffs.moments)
    return [moment for moment in usable if moment not in trained]


def label_later_weeks(settings: Settings, name: str | None) -> int:
    """Add rows at later cut-offs to a label set; return how many.

    The newest cut-off becomes the test, and all others may be trained on as far as their labels were known by then.
    A label set that was imported, or whose labeler does not look at what follows, stays as it is. If this is killed
    between its two commits, the next call completes it.

    Raises:
        DataError: there are no events, or no such labels.
    """
    with users_stay(settings):
        with reading(settings) as session:
            label_set = find_label_set(session, name)
        lake = Lake.of(settings)
        cutoffs, labeler = read_cutoffs(lake, label_set.name), labeler_of(settings, label_set)
        if cutoffs is None or labeler is None:
            return 0
        events, added = labelling_events(lake), 0
        moments = list(cutoffs.moments)
        for moment in cutoffs.later(latest_event(lake)):
            outcomes = labeler.outcomes(events, label_set.definition, moment)
            if outcomes is None:
                break
            rows = _rows(settings, label_set, outcomes, moment, cutoffs)
            commit = Commit(f"labels-{label_set.name}-{label_set.created_at.isoformat()}", int(moment.timestamp()))
            added += rows.height if lake.append("labels", rows, commit) else 0
            moments.append(moment)
        _describe(settings, lake, label_set, moments)
        return added


def _rows(
    settings: Settings, label_set: LabelSet, outcomes: pl.DataFrame, moment: datetime, cutoffs: Cutoffs
) -> pl.DataFrame:
    """Return the rows of one cut-off, as the lake has them."""
    unknown = sorted(set(outcomes["segment"].unique()) - set(label_set.segments))
    if unknown:
        raise PluginContractError(
            f"The labeler {label_set.labeler!r} put users in {unknown[0]!r}, which is no segment of {label_set.name!r}."
        )
    return outcomes.select(
        "user_key",
        "segment",
        label_set=pl.lit(label_set.name),
        bucket=bucket_of(pl.col("user_key"), open_store(settings).buckets),
        observed_from=pl.lit(moment - cutoffs.observed, dtype=TIME),
        as_of=pl.lit(moment, dtype=TIME),
        outcome_until=pl.lit(moment + cutoffs.outcome, dtype=TIME),
    )


def _extended(definition: dict[str, Any], moments: Collection[datetime]) -> dict[str, Any]:
    """Return a definition whose test is the newest of ``moments``."""
    *others, newest = sorted(moments)
    return {
        **definition,
        "train_cuts": [moment.isoformat() for moment in others],
        "test_cuts": [newest.isoformat()],
    }


def _describe(settings: Settings, lake: Lake, label_set: LabelSet, moments: Collection[datetime]) -> None:
    """Name cut-offs in the definition that it does not name yet."""
    definition = label_set.definition
    named = {*definition.get("train_cuts", ()), *definition.get("test_cuts", ())}
    if not {moment.isoformat() for moment in moments} - named:
        return
    rows = lake.scan("labels", label_set=label_set.name).select(pl.len()).collect().item()
    with transaction(settings) as session:
        stored = session.get_one(LabelSet, label_set.name)
        stored.definition, stored.rows = _extended(stored.definition, moments), rows
        session.add(stored)
