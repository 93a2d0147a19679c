"""The types of plugin options in words."""

from __future__ import annotations

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
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def type_words(annotation: Any) -> str:
    """Return what values an option takes, such as ``whole number ≥ 0`` or ``auto, adapter or merged``."""
    try:
        return _words(TypeAdapter(annotation).json_schema())
    except PydanticUserError:  # a plugin's own type, which JSON cannot write
        return str(getattr(annotation, "__name__", annotation))


def _words(schema: dict[str, Any]) -> str:
    if "const" in schema:
        return str(schema["const"])
    if choices := schema.get("enum"):
        return _either([str(choice) for choice in choices])
    if kinds := schema.get("anyOf"):
        return _either([_words(kind) for kind in kinds if kind.get("type") != "null"])
    bounds = " and ".join(f"{sign} {schema[name]:g}" for name, sign in _BOUNDS.items() if name in schema)
    return f"{_WORDS.get(schema.get('type', ''), 'any')} {bounds}".rstrip()


def _either(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
