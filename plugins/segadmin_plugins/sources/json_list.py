"""The elements of a JSON list, one at a time: memory holds the text and one value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from json import JSONDecodeError

from segadmin.events.exact_json import decode_at
from segadmin_plugins.sources.json_text import may_go_on

_BLANK = re.compile(r"[ \t\r\n]*")


class ElementTooLong(ValueError):
    """An element has more characters than it may have; ``place`` is its number, from 0."""

    def __init__(self, place: int) -> None:
        super().__init__(f"element {place} is too long")
        self.place = place


def elements(text: str, longest: int) -> Iterator[str]:
    """Yield the text of each element of a JSON list, or the whole text of another value.

    The decoder is never called with more than ``2 * longest`` characters, so it blocks other threads only briefly.

    Args:
        text: one JSON value.
        longest: the most characters of an element.

    Raises:
        ElementTooLong: an element is longer.
        ValueError: it is not JSON.
        RecursionError: it is nested too deeply.
    """
    window = _Window(text, longest)
    at = _pass_blank(text, 0)
    if text.startswith("[", at):
        at = _pass_blank(text, at + 1)
        more, number = not text.startswith("]", at), 0
        while more:
            end = window.end_of(at, number)
            yield text[at:end]
            at, number = _pass_blank(text, end), number + 1
            more = text.startswith(",", at)
            at = _pass_blank(text, at + 1) if more else at
        if not text.startswith("]", at):
            raise JSONDecodeError("Expecting ',' or ']'", text, at)
        at += 1
    else:
        end = window.end_of(at, 0)
        yield text[at:end]
        at = end
    if _pass_blank(text, at) < len(text):
        raise JSONDecodeError("Extra data", text, at)


class _Window:
    """A sliding part of a text to decode from, so that the text is not sliced for each element."""

    def __init__(self, text: str, longest: int) -> None:
        self._text, self._longest = text, longest
        self._start, self._part = 0, text[: 2 * longest]

    def end_of(self, at: int, number: int) -> int:
        """Return the end of the value that begins at ``at``, which is element ``number``."""
        is_cut = self._start + len(self._part) < len(self._text)
        if is_cut and at + self._longest > self._start + len(self._part):
            self._start, self._part = at, self._text[at : at + 2 * self._longest]
            is_cut = self._start + len(self._part) < len(self._text)
        try:
            end = self._start + decode_at(self._part, at - self._start)[1]
        except JSONDecodeError as error:
            if is_cut and may_go_on(error):
                raise ElementTooLong(number) from None
            raise JSONDecodeError(error.msg, self._text, self._start + error.pos) from None
        if end - at > self._longest:
            raise ElementTooLong(number)
        return end


def _pass_blank(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return at if match is None else match.end()
