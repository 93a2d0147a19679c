"""The records of a JSON file: one per line, one after the other, or the elements of lists."""

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
#: Lines examined to detect whether each line is a record.
_LOOKED_AT = 10


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file."""

    line: int  #: the line where it begins, from 1; see :func:`numbered`
    text: str
    value: object = None
    reason: str | None = None  #: why it cannot be read, if it cannot


def records_of_lines(file: TextIO) -> Iterator[Record]:
    """Yield a record for each line that is not blank."""
    for number, line in enumerate(file, 1):
        if text := line.strip(_BLANK):
            yield record_of(text, number)


def record_of(text: str, line: int = 0) -> Record:
    """Return the record on a line."""
    try:
        return Record(line, text, decode(text))
    except (ValueError, RecursionError):
        return Record(line, text, reason="not_json")


def records_of_document(text: JsonText, path: Sequence[str] = ()) -> Iterator[Record]:
    """Yield the elements of lists and the objects outside lists; with ``path``, the elements of the lists there.

    Raises:
        DataError: ``path`` leads to no list, or a record is broken and the start of the next one is unknown.
    """
    while sign := text.next():
        if sign == "{" and path:
            yield from _inside(text, path)
        elif sign == "[":
            yield from _elements(text)
        else:
            yield _record(text, sign)


def numbered(records: Iterator[Record]) -> Iterator[Record]:
    """Yield records with their lines, or with their numbers from 1 if the first two are on one line."""
    first = list(islice(records, 2))
    counts = len(first) == 2 and first[0].line == first[1].line
    for number, record in enumerate(chain(first, records), 1):
        yield replace(record, line=number) if counts else record


def _elements(text: JsonText) -> Iterator[Record]:
    text.pass_over()
    whole = True
    while (sign := text.next()) and sign != "]":
        record = _record(text, sign)
        whole = record.reason is None
        yield record
    if not sign and whole:  # otherwise the broken record reports it
        yield Record(text.line, "(the list has no end)", reason="cut_short")
    text.pass_over()


def _inside(text: JsonText, path: Sequence[str]) -> Iterator[Record]:
    line, keys, has_list = text.line, [], False
    text.pass_over()
    while text.next() not in {"}", ""}:
        key = _key(text)
        keys.append(key)
        sign = text.next()
        if sign == "[" and key == ".".join(path):
            has_list = True
            yield from _elements(text)
        elif sign == "{" and key == path[0] and path[1:]:
            has_list = True
            yield from _inside(text, path[1:])
        else:
            _value(text)
    text.pass_over()
    if not has_list:
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


def _record(text: JsonText, sign: str) -> Record:
    line = text.line
    if sign not in "{[":
        return Record(line, text.scalar(), reason="not_json")
    try:
        value, source = text.value()
    except (ValueError, RecursionError):
        return Record(line, text.broken(), reason="not_json")
    return Record(line, source, value)


@dataclass(frozen=True, slots=True)
class Form:
    """The position of the records in a file."""

    lines: bool  #: one per line, even if some lines are not JSON
    path: tuple[str, ...] = ()  #: the keys of the list that holds them


def form_of(file: TextIO) -> Form:
    """Return the form of a file, detected from its beginning."""
    begin = ""
    while len(begin) <= LONGEST:
        piece = file.read(max(PIECE, len(begin)))
        begin = (begin + piece).lstrip(_BLANK)
        form = _form(begin, ended=not piece)
        if form is not None:
            return form
    return Form(lines=False)


def _form(begin: str, *, ended: bool) -> Form | None:
    """Return the form of a text from its beginning; ``None`` if more of it is needed."""
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
    """Return the path to the records in a file's only object: its only key, if that holds a list of objects."""
    if not isinstance(only, dict) or len(only) != 1:
        return ()
    [(key, value)] = only.items()
    return (key,) if isinstance(value, list) and value and all(isinstance(element, dict) for element in value) else ()
