"""Time zones by name, and moments in UTC as stored JSON has them."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, PlainSerializer

from segadmin.errors import ConfigurationError


def _in_utc(moment: datetime) -> datetime:
    """Return ``moment`` in UTC.

    Raises:
        ValueError: it is before the year 1 or after 9999 there.
    """
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{moment.isoformat()} is outside the calendar in UTC") from None


#: A moment in UTC, with one time zone object for all, as Polars needs to compare them; JSON has ``+00:00``, not ``Z``.
UtcMoment = Annotated[
    datetime,
    AfterValidator(_in_utc),
    PlainSerializer(lambda moment: moment.isoformat(), when_used="json"),
]


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
