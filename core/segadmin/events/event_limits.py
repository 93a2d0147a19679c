"""Limits of posted events and batches, so that their cost depends on their size in bytes and not on their structure.

For imported files only :data:`DEEPEST` applies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from segadmin.events.exact_json import Number

#: Maximum characters of an event; a longer one in a list of events is refused with its batch.
LARGEST_EVENT = 2**18
#: Maximum events of a batch.
MOST_EVENTS = 200_000
#: Maximum fields of an event, and distinct fields of a batch.
MOST_FIELDS, MOST_NAMES = 500, 2_000
#: Maximum depth of nested lists and objects, including the event.
DEEPEST = 64
#: Maximum characters of a field's name, of a number, and of a text.
LONGEST_NAME, LONGEST_NUMBER, LONGEST_TEXT = 200, 100, 2**16

_LONG_NUMBER = re.compile(rf"[0-9.eE+-]{{{LONGEST_NUMBER + 1}}}")


class BatchLimits:
    """Checks the events of one batch, in their order, against the limits."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def problem(self, text: str, event: Mapping[str, object]) -> str | None:
        """Return the reason for quarantine, or ``None``; fields of a refused event are not counted.

        Args:
            text: the event as JSON text.
            event: the decoded event.
        """
        if len(text) > LARGEST_EVENT or any(len(name) > LONGEST_NAME for name in event):
            return "too_long"
        new = event.keys() - self._names
        if len(event) > MOST_FIELDS or len(self._names) + len(new) > MOST_NAMES:
            return "too_many_fields"
        if problem := _inner_problem(text, event):
            return problem
        self._names.update(new)
        return None


def is_too_deep(text: str, value: object) -> bool:
    """Whether lists and objects in ``value``, with the JSON ``text``, are nested deeper than :data:`DEEPEST`."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return False
    level = [value]
    for _ in range(DEEPEST):
        level = [child for parent in level for child in _children(parent) if isinstance(child, dict | list)]
    return bool(level)


def _inner_problem(text: str, event: Mapping[str, object]) -> str | None:
    if is_too_deep(text, event):
        return "too_deep"
    if len(text) <= LONGEST_TEXT and not _LONG_NUMBER.search(text):
        return None
    level: list[object] = [event]
    while level:
        children = [child for parent in level for child in _children(parent)]
        if any(_is_too_long(child) for child in children):
            return "too_long"
        level = [child for child in children if isinstance(child, dict | list)]
    return None


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _is_too_long(value: object) -> bool:
    limit = LONGEST_NUMBER if isinstance(value, Number) else LONGEST_TEXT
    return isinstance(value, str) and len(value) > limit
