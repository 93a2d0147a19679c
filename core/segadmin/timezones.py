"""Looking up a time zone by its name."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from segadmin.errors import ConfigurationError


def zone(name: str) -> ZoneInfo:
    """Return the time zone called ``name``.

    Raises:
        ConfigurationError: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ConfigurationError(f"There is no time zone {name!r}. Use a name such as Asia/Shanghai.") from None
