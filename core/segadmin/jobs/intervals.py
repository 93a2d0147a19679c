"""Lengths of time as they are given to schedules, and slots that repeat after one."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from segadmin.errors import ConfigurationError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])", re.IGNORECASE)
#: How an expression of an interval begins.
EVERY = "@every "
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def seconds_of(text: str, name: str, most: float = 86_400.0) -> float:
    """Return the seconds of ``30s``, ``1.5m``, ``2h`` or ``1d``.

    Args:
        text: what was given.
        name: of the option, for the error.
        most: the longest that makes sense; the shortest is a second.

    Raises:
        ConfigurationError: it is no length of time, or not between a second and ``most``.
    """
    match = _LENGTH.fullmatch(text.strip())
    seconds = float(match[1]) * _UNITS[match[2].lower()] if match else 0.0
    if not 1 <= seconds <= most:
        raise ConfigurationError(
            f"{name} {text!r} is not a length of time from 1s to {most:.0f}s. Write it as 10s, 5m or 1h."
        )
    return seconds


def every(text: str) -> str:
    """Return the expression of slots that are this far apart, in place of a cron expression.

    Raises:
        ConfigurationError: see :func:`seconds_of`.
    """
    return f"{EVERY}{seconds_of(text, '--every'):g}s"


def interval_of(cron: str) -> timedelta | None:
    """Return what is between two slots of an expression of :func:`every`; ``None`` for a cron expression.

    Raises:
        ConfigurationError: see :func:`seconds_of`.
    """
    if not cron.startswith(EVERY):
        return None
    return timedelta(seconds=seconds_of(cron.removeprefix(EVERY), "--every"))


def next_multiple(interval: timedelta, after: datetime) -> datetime:
    """Return the first multiple of ``interval`` since 1970 that is later than ``after``, in UTC."""
    return _EPOCH + ((after - _EPOCH) // interval + 1) * interval
