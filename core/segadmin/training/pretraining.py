"""Domain-adaptive pretraining: which texts a language model reads before it is fine-tuned."""

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

#: Share of the users whose texts only measure what was learnt.
_HELD_OUT = 0.05
#: A text of fewer phrases says that there is nothing to say.
_LEAST_PHRASES = 2
_LEAST_TEXTS = 20


def first_event(lake: Lake) -> datetime:
    """Return when the first event was; there must be one."""
    first: datetime = lake.scan("events").select(pl.col("at").min()).collect().item()
    return first


def last_moment(settings: Settings, asked: datetime | None, start: datetime, end: datetime) -> datetime:
    """Return when the texts end: at the latest where the labels' test rows begin, so that those stay unseen.

    Args:
        settings: where the label sets are.
        asked: what somebody asks for.
        start: of the first event.
        end: of what the lake holds.

    Raises:
        DataError: no event is older than ``asked``.
    """
    if asked is not None:
        until = asked.astimezone(UTC) if asked.tzinfo else asked.replace(tzinfo=UTC)
        if until <= start:
            raise DataError(f"No event is older than --until {until:%Y-%m-%d}; the first is of {start:%F}.")
        return min(until, end)
    with transaction(settings) as session:
        sets = session.exec(select(LabelSet)).all()
    tested = [datetime.fromisoformat(str(cut)) for each in sets for cut in each.definition.get("test_cuts") or ()]
    return min([end, *tested])


def windows_until(last: Window, count: int, start: datetime) -> tuple[Window, ...]:
    """Return the windows, the newest last, each half a window before the next, as far as there are events."""
    half = (last.as_of - last.observed_from) / 2
    windows = [Window(observed_from=last.observed_from - n * half, as_of=last.as_of - n * half) for n in range(count)]
    return tuple(sorted((window for window in windows if window.as_of > start), key=lambda window: window.as_of))


def rows_of(lake: Lake, windows: Sequence[Window]) -> pl.DataFrame:
    """Return every user at every window: ``user_key``, ``observed_from``, ``as_of``."""
    users = lake.scan("users").select("user_key").sort("user_key").collect()
    moments = pl.DataFrame(
        {"observed_from": [each.observed_from for each in windows], "as_of": [each.as_of for each in windows]},
        schema={"observed_from": TIME, "as_of": TIME},
    )
    return users.join(moments, how="cross")


def texts_apart(texts: Sequence[pl.DataFrame], until: datetime, seed: int) -> tuple[Examples, Examples]:
    """Return the texts to learn from, and those of other users that only measure.

    Raises:
        DataError: too few users have anything to read.
    """
    frame = pl.concat(texts).filter(pl.col("phrases").list.len() >= _LEAST_PHRASES).sort("as_of", "user_key")
    if frame.height < _LEAST_TEXTS:
        raise DataError(
            f"Only {frame.height} users have anything to read until {until:%Y-%m-%d}; {_LEAST_TEXTS} are "
            "needed. Import more events, or read further: --until, --windows"
        )
    held_out = pl.Series(draw(frame["user_key"].to_numpy(), seed) < _HELD_OUT)
    return Examples(frame.filter(~held_out), (), ()), Examples(frame.filter(held_out), (), ())
