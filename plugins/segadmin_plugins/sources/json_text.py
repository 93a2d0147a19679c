"""A JSON text that is read piece by piece: memory holds one value and one piece."""

from __future__ import annotations

import re
from json import JSONDecodeError
from typing import TextIO

from segadmin.errors import DataError
from segadmin.events.exact_json import decode_at

#: Characters read at a time, at least.
PIECE = 2**20
#: No value that is held at a time is longer.
LONGEST = 2**26
#: What may stand between two records; the last is the separator of JSON text sequences.
BETWEEN = "[ \t\r\n,\ufeff\x1e]*"
_BETWEEN = re.compile(BETWEEN)
#: A string, whole or broken off by the end of its line or of what was read.
_STRING = r'"(?:[^"\\\x00-\x1f]++|\\.?)*+(?P<quote>"?)'
_SCALAR = re.compile(rf'{_STRING}|[^\s,"{{}}\[\]]+|.', re.DOTALL)
#: What a broken record is read by: strings, brackets, and lines that begin with a record.
_TOKEN = re.compile(rf"{_STRING}|(?P<open>[\[{{])|(?P<close>[\]}}])|\n(?P<indent>[ \t]*+(?:,[ \t]*+)?)(?=\{{)")
_FIRST_KEY = re.compile(r'\{\s*("(?:[^"\\]|\\.)*")\s*:')
#: An error this near the end of what was read may only mean that there is more to read.
_NEAR_THE_END = 16
#: So much that was passed over is kept: each error looks through it, to count lines.
_PASSED = 2**16


def may_go_on(error: JSONDecodeError) -> bool:
    """Whether what cannot be read may only be cut, so that more of the text would make it whole."""
    return error.msg.startswith("Unterminated") or error.pos > len(error.doc) - _NEAR_THE_END


class JsonText:
    """A text, and a place in it."""

    def __init__(self, file: TextIO, name: str) -> None:
        self.name = name
        self._file = file
        self._text = ""  #: what was read, from some place at or before ``_at``
        self._at = 0
        self._ended = False  #: whether all of the file was read
        self._line = 1  #: of ``_counted``, a place at or before ``_at``
        self._counted = 0
        self._column = 0  #: of the first character of ``_text``

    @property
    def line(self) -> int:
        """The line of the place, from 1."""
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def next(self) -> str:
        """Go to the next character that belongs to a value, and return it; an empty string at the end."""
        while True:
            self._at = self._end_of(_BETWEEN)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def pass_over(self) -> None:
        """Go over one character, such as a bracket."""
        self._at += 1

    def value(self) -> tuple[object, str]:
        """Go over the value that begins here and return it, and its text.

        Raises:
            ValueError: it is not JSON; the place stays.
            RecursionError: it is nested too deeply; the place stays.
            DataError: it is longer than :data:`LONGEST`.
        """
        while True:
            try:
                value, end = decode_at(self._text, self._at)
            except JSONDecodeError as error:
                if not (may_go_on(error) and self._more()):
                    raise
                continue
            if end == len(self._text) and self._more():  # 12 may become 123
                continue
            text, self._at = self._text[self._at : end], end
            return value, text

    def scalar(self) -> str:
        """Go over something that is no record, such as a number, a string or a stray bracket, and return its text."""
        end = self._end_of(_SCALAR)
        while end == len(self._text) and self._more():
            end = self._end_of(_SCALAR)
        return self._take(end)

    def broken(self) -> str:
        """Go over a record that is no JSON, and return its text.

        It ends where its brackets are closed, or before a line that begins with a record: with a brace that is
        indented no more than this one.

        Raises:
            DataError: other records may be within it, and nothing tells where they begin.
        """
        if self._at > _PASSED:
            self._drop_passed()
        column = self._column_of(self._at)
        while (last := self._last_token(column)) is None and self._more():
            pass
        if last is not None and not last["close"]:
            return self._take(last.end())
        text = self._text[self._at : last.end() if last is not None else None]
        key = _FIRST_KEY.match(text)
        if key and re.search(r"\}" + BETWEEN + r"\{\s*" + re.escape(key[1]), text):
            raise DataError(
                f"{self.name} is not JSON in line {self.line}, and it is not clear where the record {text[:40]!r} … "
                "ends. Correct it, or write one record a line: jq -c '.[]'"
            )
        return self._take(self._at + len(text))

    def _end_of(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self._text, self._at)
        return self._at if match is None else match.end()

    def _take(self, end: int) -> str:
        text, self._at = self._text[self._at : end], end
        return text.strip(" \t\r\n,")

    def _more(self) -> bool:
        """Read on, and return whether there was something."""
        if self._ended:
            return False
        kept = len(self._text) - self._at
        if kept > LONGEST:
            raise DataError(
                f"{self.name} has one value of more than {LONGEST >> 20} MiB in line {self.line}. If it is an object "
                "and the records are in a list in it, name the list's key: --option records=KEY"
            )
        piece = self._file.read(max(PIECE, kept))
        self._drop_passed()
        self._text += piece
        self._ended = not piece
        return not self._ended

    def _drop_passed(self) -> None:
        self._column = self._column_of(self._at)
        self._line, self._counted = self.line, 0
        self._text, self._at = self._text[self._at :], 0

    def _column_of(self, place: int) -> int:
        begin = self._text.rfind("\n", 0, place)
        return self._column + place if begin < 0 else place - begin - 1

    def _last_token(self, column: int) -> re.Match[str] | None:
        """Return what ends the broken record that begins here, in ``column``.

        It is the bracket that closes it, or the line break before another record. Behind a string that is broken off,
        brackets tell nothing. ``None``: it does not end in what was read.
        """
        depth, counts = 0, True
        for token in _TOKEN.finditer(self._text, self._at):
            if token["indent"] is not None:
                if len(token["indent"]) <= column:
                    return token
            elif token["open"]:
                depth += 1
            elif token["close"]:
                depth -= 1
                if counts and depth == 0:
                    return token
            elif not token["quote"]:
                counts = False
        return None
