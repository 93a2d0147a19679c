"""Time zones by name, and moments in UTC as stored JSON has them."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

from segadmin.errors import ConfigurationError


def _in_utc(moment: datetime) -> datetime:
    """Return ``moment`` in UTC, which it is in if it has no time zone.

    Raises:
        ValueError: it is before the year 1 or after 9999 there.
    """
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{moment.isoformat()} is outside the calendar in UTC") from None


#: A moment in UTC, with one time zone object for all, as Polars needs to compare them; JSON has ``+00:00``, not ``Z``.
UtcMoment = Annotated[
    datetime,
    AfterValidator(_in_utc),
    PlainSerializer(lambda moment: moment.isoformat(), when_used="json"),
]
#: A date, and perhaps the time of day, a fraction of a second and a time zone.
_ISO = re.compile(r"(?:\d{4}-?\d\d-?\d\d|\d{4}-?W\d\d-?\d)(?:[T ]([\d:]+)([.,]\d+)?(?:Z|[+-][\d:.]+)?)?")
#: How long is what a time names, by its number of digits: a day, an hour, a minute, a second.
_LENGTHS = {0: timedelta(days=1), 2: timedelta(hours=1), 4: timedelta(minutes=1), 6: timedelta(seconds=1)}


def last_moment(text: str) -> datetime:
    """Return the last moment, in UTC, of the day, hour, minute or second that ``text`` names in ISO 8601.

    Lists show days and minutes, and who copies one means all of it. Without a time zone, it is in UTC.

    Raises:
        ValueError: it is no date and no time, or outside the calendar.
    """
    begin, match = datetime.fromisoformat(text), _ISO.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no time")
    clock, fraction = match.groups()
    digits = len((clock or "").replace(":", ""))
    return _in_utc(begin if fraction else begin + (_LENGTHS[digits] - datetime.resolution))


#: A moment that somebody names by its day or minute, as :func:`last_moment` reads it.
LastMoment = Annotated[datetime, BeforeValidator(lambda value: last_moment(value) if isinstance(value, str) else value)]


#: What systems have beside the names of IANA's database: another machine means another zone by them, or none.
_NOT_IANA = re.compile(r"localtime|posixrules|Factory|(posix|right)/.*")


def zone(name: str) -> ZoneInfo:
    """Return the time zone called ``name``.

    Raises:
        ConfigurationError: IANA's database has no zone of that name.
    """
    if not _NOT_IANA.fullmatch(name):
        with suppress(ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the first part of a name, such as Europe
            return ZoneInfo(name)
    raise ConfigurationError(f"There is no time zone {name!r}. Use a name such as Asia/Shanghai.")
