"""Lookup of time zones by name."""

from __future__ import annotations

import re
from contextlib import suppress
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from segadmin.errors import ConfigurationError

#: Names outside IANA's database that systems also have; their meaning depends on the machine.
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
