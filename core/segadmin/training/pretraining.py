"""Domain-adaptive pretraining: selects the texts that a language model is trained on before fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import polars as pl
from sqlmodel import select

from segadmin.contracts.backbone import Examples
from segadmin.errors import DataError
from segadmin.labels.split import draw
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import LabelSet
from segadmin.storage.schema import TIME
from segadmin.text.recipe import Window

#: Fraction of the users whose texts are held out for measurement.
_HELD_OUT = 0.05
#: Minimum number of phrases of a text; shorter ones are not informative.
_MIN_PHRASES = 2
_MIN_TEXTS = 20


def first_event(lake: Lake) -> datetime:
    """Return the time of the first event; there must be one."""
    first: datetime = lake.scan("events").select(pl.col("at").min()).collect().item()
    return first


def last_moment(settings: Settings, requested: datetime | None, start: datetime, end: datetime) -> datetime:
    """Return the end of the texts: by default the first test cut-off of any label set, so that test rows stay unseen.

    Args:
        settings: where the store is.
        requested: the requested end, if any.
        start: time of the first event.
        end: end of the events in the lake.

    Raises:
        DataError: no event is older than ``requested``.
    """
    if requested is not None:
        until = requested.astimezone(UTC) if requested.tzinfo else requested.replace(tzinfo=UTC)
        if until <= start:
            raise DataError(f"No event is older than --until {until:%Y-%m-%d}; the first is of {start:%F}.")
        return min(until, end)
    with transaction(settings) as session:
        sets = session.exec(select(LabelSet)).all()
    test_cuts = [
        datetime.fromisoformat(str(cut)) for label_set in sets for cut in label_set.definition.get("test_cuts") or ()
    ]
    return min([end, *test_cuts])


def windows_until(last: Window, count: int, start: datetime) -> tuple[Window, ...]:
    """Return up to ``count`` windows that overlap by half, oldest first; none ends before the first event."""
    half = (last.as_of - last.observed_from) / 2
    windows = [Window(observed_from=last.observed_from - n * half, as_of=last.as_of - n * half) for n in range(count)]
    return tuple(sorted((window for window in windows if window.as_of > start), key=lambda window: window.as_of))


def rows_of(lake: Lake, windows: Sequence[Window]) -> pl.DataFrame:
    """Return every user at every window: ``user_key``, ``observed_from``, ``as_of``."""
    users = lake.scan("users").select("user_key").sort("user_key").collect()
    moments = pl.DataFrame(
        {"observed_from": [window.observed_from for window in windows], "as_of": [window.as_of for window in windows]},
        schema={"observed_from": TIME, "as_of": TIME},
    )
    return users.join(moments, how="cross")


def texts_apart(texts: Sequence[pl.DataFrame], until: datetime, seed: int) -> tuple[Examples, Examples]:
    """Return the texts for training, and those of the held-out users.

    Raises:
        DataError: too few texts have enough phrases.
    """
    frame = pl.concat(texts).filter(pl.col("phrases").list.len() >= _MIN_PHRASES).sort("as_of", "user_key")
    if frame.height < _MIN_TEXTS:
        raise DataError(
            f"Texts with at least {_MIN_PHRASES} phrases until {until:%Y-%m-%d}: {frame.height}; {_MIN_TEXTS} are "
            "needed. Import more events, or read more windows: --until, --windows"
        )
    held_out = pl.Series(draw(frame["user_key"].to_numpy(), seed) < _HELD_OUT)
    return Examples(frame.filter(~held_out), (), ()), Examples(frame.filter(held_out), (), ())
