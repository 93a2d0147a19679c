"""The records of a JSON file: one a line, one after the other, or the elements of lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from json import JSONDecodeError
from typing import TextIO

from segadmin.errors import DataError
from segadmin.events.exact_json import decode, decode_at
from segadmin_plugins.sources.json_text import LONGEST, PIECE, JsonText, may_go_on

#: The last is the separator of JSON text sequences.
_BLANK = " \t\r\n\ufeff\x1e"
#: So many lines are looked at to see whether a record is a line.
_LOOKED_AT = 10


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it stands in the file."""

    line: int  #: where it begins, from 1; see :func:`numbered`
    text: str
    value: object = None
    reason: str | None = None  #: why it cannot be read, if it cannot


def records_of_lines(file: TextIO) -> Iterator[Record]:
    """Yield a record for each line that is not blank."""
    for number, line in enumerate(file, 1):
        if text := line.strip(_BLANK):
            yield record_of(text, number)


def record_of(text: str, line: int = 0) -> Record:
    """Return the record that a line is."""
    try:
        return Record(line, text, decode(text))
    except (ValueError, RecursionError):
        return Record(line, text, reason="not_json")


def records_of_document(text: JsonText, path: Sequence[str] = ()) -> Iterator[Record]:
    """Yield the elements of lists, and the objects outside of lists; or else what is in the lists at ``path``.

    Raises:
        DataError: ``path`` leads to no list, or a record is broken so that nothing tells where the next one begins.
    """
    while sign := text.next():
        if sign == "{" and path:
            yield from _inside(text, path)
        elif sign == "[":
            yield from _elements(text)
        else:
            yield _one(text, sign)


def numbered(records: Iterator[Record]) -> Iterator[Record]:
    """Yield records with their lines; or, where the first two are on one line, with their numbers, from 1."""
    first = list(islice(records, 2))
    counts = len(first) == 2 and first[0].line == first[1].line
    for number, record in enumerate(chain(first, records), 1):
        yield replace(record, line=number) if counts else record


def _elements(text: JsonText) -> Iterator[Record]:
    text.pass_over()
    whole = True
    while (sign := text.next()) and sign != "]":
        record = _one(text, sign)
        whole = record.reason is None
        yield record
    if not sign and whole:  # else the broken record has told it
        yield Record(text.line, "(the list has no end)", reason="cut_short")
    text.pass_over()


def _inside(text: JsonText, path: Sequence[str]) -> Iterator[Record]:
    line, keys, found = text.line, [], False
    text.pass_over()
    while text.next() not in {"}", ""}:
        key = _key(text)
        keys.append(key)
        sign = text.next()
        if sign == "[" and key == ".".join(path):
            found = True
            yield from _elements(text)
        elif sign == "{" and key == path[0] and path[1:]:
            found = True
            yield from _inside(text, path[1:])
        else:
            _value(text)
    text.pass_over()
    if not found:
        raise DataError(
            f"{text.name} has no list {'.'.join(path)!r} in the object in line {line}; its keys are: "
            f"{', '.join(keys[:20])}. Name the list of records: --option records=KEY"
        )


def _key(text: JsonText) -> str:
    key = _value(text)
    if not isinstance(key, str) or text.next() != ":":
        raise DataError(f"{text.name} is not JSON in line {text.line}: a key and a colon should be there.")
    text.pass_over()
    return key


def _value(text: JsonText) -> object:
    try:
        return text.value()[0]
    except (ValueError, RecursionError) as error:
        raise DataError(f"{text.name} is not JSON in line {text.line}: {error}.") from None


def _one(text: JsonText, sign: str) -> Record:
    line = text.line
    if sign not in "{[":
        return Record(line, text.scalar(), reason="not_json")
    try:
        value, written = text.value()
    except (ValueError, RecursionError):
        return Record(line, text.broken(), reason="not_json")
    return Record(line, written, value)


@dataclass(frozen=True, slots=True)
class Form:
    """Where the records of a file are."""

    lines: bool  #: one a line, whatever some lines are like
    path: tuple[str, ...] = ()  #: the keys to the list that they are in


def form_of(file: TextIO) -> Form:
    """Return the form of a file, by how it begins."""
    begin = ""
    while len(begin) <= LONGEST:
        piece = file.read(max(PIECE, len(begin)))
        begin = (begin + piece).lstrip(_BLANK)
        form = _form(begin, ended=not piece)
        if form is not None:
            return form
    return Form(lines=False)


def _form(begin: str, *, ended: bool) -> Form | None:
    """Return the form of a text that begins so; ``None``: more of it must be known."""
    lines = begin.split("\n", _LOOKED_AT)[: None if ended else -1]
    spread = any(line.rstrip() == "{" for line in lines)  # an object of several lines, perhaps below an empty one
    if not begin.startswith("{"):
        return Form(lines=not spread and not begin.startswith("[")) if begin or ended else None
    try:
        first, end = decode_at(begin, 0)
    except JSONDecodeError as error:
        if not spread and any(line.startswith("{") and record_of(line).reason is None for line in lines):
            return Form(lines=True)
        return None if may_go_on(error) and not ended else Form(lines=False)
    except RecursionError:
        return Form(lines=True)
    if begin[end:].strip(_BLANK):
        line = begin.partition("\n")[0]
        return Form(lines=end <= len(line) and not line[end:].strip(_BLANK) and not spread)
    return Form(lines=False, path=_wrapping(first)) if ended else None


def _wrapping(only: object) -> tuple[str, ...]:
    """Return the path to the records in a file's only object: its only key, where that has a list of objects."""
    if not isinstance(only, dict) or len(only) != 1:
        return ()
    [(key, value)] = only.items()
    return (key,) if isinstance(value, list) and value and all(isinstance(one, dict) for one in value) else ()
