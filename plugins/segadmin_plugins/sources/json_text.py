"""A JSON text read in pieces: memory holds one value and one piece."""

from __future__ import annotations

import re
from json import JSONDecodeError
from typing import TextIO

from segadmin.errors import DataError
from segadmin.events.exact_json import decode_at

#: Characters read at a time, at least.
PIECE = 2**20
#: Most characters of a value.
LONGEST = 2**26
#: What may stand between two records; the last is the separator of JSON text sequences.
BETWEEN = "[ \t\r\n,\ufeff\x1e]*"
_BETWEEN = re.compile(BETWEEN)
#: A string, whole or broken off by the end of its line or of what was read.
_STRING = r'"(?:[^"\\\x00-\x1f]++|\\.?)*+(?P<quote>"?)'
_SCALAR = re.compile(rf'{_STRING}|[^\s,"{{}}\[\]]+|.', re.DOTALL)
#: Tokens of a broken record: strings, brackets, and lines that begin with a record.
_TOKEN = re.compile(rf"{_STRING}|(?P<open>[\[{{])|(?P<close>[\]}}])|\n(?P<indent>[ \t]*+(?:,[ \t]*+)?)(?=\{{)")
_FIRST_KEY = re.compile(r'\{\s*("(?:[^"\\]|\\.)*")\s*:')
#: An error this close to the end of the text read so far may disappear with more text.
_NEAR_THE_END = 16
#: Most characters kept before the position; lines are counted in them after each error.
_PASSED = 2**16


def may_go_on(error: JSONDecodeError) -> bool:
    """Whether the value may only be cut off, so that more text would complete it."""
    return error.msg.startswith("Unterminated") or error.pos > len(error.doc) - _NEAR_THE_END


class JsonText:
    """A text and a position in it."""

    def __init__(self, file: TextIO, name: str) -> None:
        self.name = name
        self._file = file
        self._text = ""  #: read so far, from a position at or before ``_at``
        self._at = 0
        self._ended = False  #: whether all of the file was read
        self._line = 1  #: of ``_counted``, a position at or before ``_at``
        self._counted = 0
        self._column = 0  #: of the first character of ``_text``

    @property
    def line(self) -> int:
        """The line of the position, from 1."""
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def next(self) -> str:
        """Advance to the next character of a value and return it; an empty string at the end."""
        while True:
            self._at = self._end_of(_BETWEEN)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def pass_over(self) -> None:
        """Skip one character, such as a bracket."""
        self._at += 1

    def value(self) -> tuple[object, str]:
        """Skip the value at the position; return it and its text.

        Raises:
            ValueError: it is not JSON; the position does not change.
            RecursionError: it is nested too deeply; the position does not change.
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
        """Skip a value that is not a record, such as a number, a string or a stray bracket, and return its text."""
        end = self._end_of(_SCALAR)
        while end == len(self._text) and self._more():
            end = self._end_of(_SCALAR)
        return self._take(end)

    def broken(self) -> str:
        """Skip a record that is not JSON and return its text.

        It ends with its closing bracket, or before a line that begins with a record: with a brace that is indented no
        more than this one.

        Raises:
            DataError: it may contain other records whose start is unknown.
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
        """Read another piece; return whether there was one."""
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

    def _column_of(self, position: int) -> int:
        begin = self._text.rfind("\n", 0, position)
        return self._column + position if begin < 0 else position - begin - 1

    def _last_token(self, column: int) -> re.Match[str] | None:
        """Return the token that ends the broken record at the position, in ``column``.

        It is the closing bracket, or the line break before another record. After an unterminated string, brackets are
        ignored. ``None``: it does not end in the text read so far.
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
