"""What a posted event and a batch of them may hold: they cost what their bytes cost, whatever their shape.

Files that an administrator imports are held to :data:`DEEPEST` alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from segadmin.events.exact_json import Number

#: Characters of one event; in a list of events a longer one is refused with its batch.
LARGEST_EVENT = 2**18
#: Events of one batch.
MOST_EVENTS = 200_000
#: Fields of one event, and different fields of the events of one batch.
MOST_FIELDS, MOST_NAMES = 500, 2_000
#: Lists and objects inside each other, the event counted.
DEEPEST = 64
#: Characters of a field's name, of a number, and of a text.
LONGEST_NAME, LONGEST_NUMBER, LONGEST_TEXT = 200, 100, 2**16

_LONG_NUMBER = re.compile(rf"[0-9.eE+-]{{{LONGEST_NUMBER + 1}}}")


class BatchLimits:
    """Finds the events of one batch, given in their order, that are over a limit."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def problem(self, text: str, event: Mapping[str, object]) -> str | None:
        """Return the reason for quarantine, or ``None``; fields of a refused event do not count for later ones.

        Args:
            text: the event as it was written.
            event: what it says.
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
    """Whether more than :data:`DEEPEST` lists and objects are inside each other in ``value``, written as ``text``."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return False
    level = [value]
    for _ in range(DEEPEST):
        level = [one for some in level for one in _inside(some) if isinstance(one, dict | list)]
    return bool(level)


def _inner_problem(text: str, event: Mapping[str, object]) -> str | None:
    if is_too_deep(text, event):
        return "too_deep"
    if len(text) <= LONGEST_TEXT and not _LONG_NUMBER.search(text):
        return None
    level: list[object] = [event]
    while level:
        inside = [one for some in level for one in _inside(some)]
        if any(_is_too_long(one) for one in inside):
            return "too_long"
        level = [one for one in inside if isinstance(one, dict | list)]
    return None


def _inside(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _is_too_long(value: object) -> bool:
    longest = LONGEST_NUMBER if isinstance(value, Number) else LONGEST_TEXT
    return isinstance(value, str) and len(value) > longest
