"""The types of plugin options in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

_WORDS = {
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "string": "text",
    "array": "list",
    "object": "table",
}
#: What a type is that has no other words; and how several are joined.
_ANY, _OR, _AND = "any", "%(first)s or %(last)s", "%(low)s and %(high)s"
TEXTS = (*_WORDS.values(), _ANY, _OR, _AND)
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def type_words(annotation: Any, translate: Callable[[str], str] = str) -> str:
    """Return what values an option takes, such as ``whole number ≥ 0`` or ``auto, adapter or merged``."""
    try:
        return _words(TypeAdapter(annotation).json_schema(), translate)
    except PydanticUserError:  # a plugin's own type, which JSON cannot write
        return str(getattr(annotation, "__name__", annotation))


def _words(schema: dict[str, Any], translate: Callable[[str], str]) -> str:
    if "const" in schema:
        return str(schema["const"])
    if choices := schema.get("enum"):
        return _either([str(choice) for choice in choices if choice != ""], translate)
    if kinds := schema.get("anyOf"):
        return _either([_words(kind, translate) for kind in kinds if kind.get("type") != "null"], translate)
    bounds = [f"{sign} {schema[name]:g}" for name, sign in _BOUNDS.items() if name in schema]
    between = translate(_AND) % {"low": bounds[0], "high": bounds[1]} if len(bounds) == 2 else "".join(bounds)
    return f"{translate(_WORDS.get(schema.get('type', ''), _ANY))} {between}".rstrip()


def _either(words: list[str], translate: Callable[[str], str]) -> str:
    words = list(dict.fromkeys(words))
    return words[0] if len(words) == 1 else translate(_OR) % {"first": ", ".join(words[:-1]), "last": words[-1]}
