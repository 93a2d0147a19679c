"""JSON whose numbers keep their original digits: ``12.50``, ``1e400``, ids of twenty digits."""

from __future__ import annotations

import json
from collections.abc import Mapping


class Number(str):
    """A number in its original notation."""

    __slots__ = ()


def _constant(word: str) -> str | None:
    """Decode constants that are not valid JSON: NaN becomes a missing value, infinity stays a word."""
    return None if word == "NaN" else word


_DECODER = json.JSONDecoder(parse_float=Number, parse_int=Number, parse_constant=_constant)


def decode(text: str) -> object:
    """Return the value in ``text``; of duplicate keys the last one applies.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is nested too deeply.
    """
    return _DECODER.decode(text)


def decode_at(text: str, start: int) -> tuple[object, int]:
    """Return the value that begins at ``start``, and the index of its end; raises like :func:`decode`."""
    return _DECODER.raw_decode(text, start)


def encode(value: object) -> str:
    """Return a decoded value as JSON, with numbers in their original notation."""
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
    """Replace lone surrogates, which remain if a text is truncated within an emoji, by their escapes."""
    return str(text) if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def cell_of(value: object) -> str | None:
    """Return a decoded value as text; see :func:`cells_of`."""
    if value is None:
        return None
    return writable(value if isinstance(value, str) else encode(value))
