"""Numbers of things in messages."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """Return such as ``1 row``, ``0 rows`` or ``1,200 rows``; ``many`` is given where it is not ``one`` and an s."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
