"""Numbers with their nouns, for messages."""

from __future__ import annotations


def counted(number: int, singular: str, plural: str = "") -> str:
    """Return a number with its noun, such as ``1 row`` or ``1,200 rows``; ``plural`` defaults to ``singular`` + s."""
    return f"{number:,} {singular if number == 1 else plural or f'{singular}s'}"
