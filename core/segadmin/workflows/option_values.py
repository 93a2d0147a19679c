"""Options of requests as people write them: lengths of time such as ``7d``, and shares such as ``5%``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field


def days_of(given: Any) -> Any:
    """Return the days of ``400d``, ``400``, ``60w``, ``18m`` or ``2y``; what is no text as it is."""
    if not isinstance(given, str):
        return given
    text = given.strip().lower()
    unit = {"d": 1.0, "w": 7.0, "m": 30.0, "y": 365.0}.get(text[-1:], 1.0)
    try:
        return float(text.rstrip("dwmy")) * unit
    except ValueError:
        raise ValueError(f"{given!r} is no length of time; write it as 400d, 60w, 18m or 2y") from None


#: A length of time in days; Python's dates cannot be computed with any.
Days = Annotated[float, BeforeValidator(days_of), Field(le=36_500)]


def share_of(given: Any) -> Any:
    """Return the share of ``5%`` or ``0.05``; what is no text as it is.

    Raises:
        ValueError: it is no number, or not between 0 and 1.
    """
    if not isinstance(given, str):
        return given
    text = given.strip()
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise ValueError(f"{given!r} is no share of the users; write it as 5% or 0.05") from None
    if not 0 < share < 1:
        raise ValueError(f"{given!r} is not a share above 0% and below 100%; write it as 5% or 0.05")
    return share
