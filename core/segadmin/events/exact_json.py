"""JSON whose numbers keep the digits that they were written with: ``12.50``, ``1e400``, ids of twenty digits."""

from __future__ import annotations

import json
from collections.abc import Mapping


class Number(str):
    """A number as it is written."""

    __slots__ = ()


def _constant(word: str) -> str | None:
    """Read what JSON lacks and programs write: not-a-number is a missing value, infinity stays a word."""
    return None if word == "NaN" else word


_DECODER = json.JSONDecoder(parse_float=Number, parse_int=Number, parse_constant=_constant)


def decode(text: str) -> object:
    """Return the value in ``text``; of a key that is there twice the last value.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is nested too deeply.
    """
    return _DECODER.decode(text)


def decode_at(text: str, start: int) -> tuple[object, int]:
    """Return the value that begins at ``start``, and where it ends; raises as :func:`decode` does."""
    return _DECODER.raw_decode(text, start)


def encode(value: object) -> str:
    """Return a decoded value as JSON, its numbers as they were written."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{encode(str(key))}: {encode(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(encode, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def cells_of(values: Mapping[str, object]) -> dict[str, str | None]:
    """Return a decoded object's values as text: lists and objects as JSON, null as ``None``."""
    return {writable(key): cell_of(value) for key, value in values.items()}


def writable(text: str) -> str:
    """Write half of a surrogate pair, which a shop's cut of a text at an emoji leaves, as its escape."""
    return str(text) if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def cell_of(value: object) -> str | None:
    """Return a decoded value as text, as :func:`cells_of` does."""
    if value is None:
        return None
    return writable(value if isinstance(value, str) else encode(value))
