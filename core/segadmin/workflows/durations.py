"""Lengths of time as options: days, also written as weeks, months or years."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator


def _days(given: Any) -> Any:
    """Return the days of ``400d``, ``400``, ``60w``, ``18m`` or ``2y``; what is no text as it is."""
    if not isinstance(given, str):
        return given
    text = given.strip().lower()
    unit = {"d": 1.0, "w": 7.0, "m": 30.0, "y": 365.0}.get(text[-1:], 1.0)
    try:
        return float(text.rstrip("dwmy")) * unit
    except ValueError:
        raise ValueError(f"{given!r} is no length of time; write it as 400d, 60w, 18m or 2y") from None


Days = Annotated[float, BeforeValidator(_days)]
