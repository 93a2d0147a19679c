"""Sentences about rows that can be read, but hardly mean what they seem to; previews and imports show them."""

from __future__ import annotations

import json
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence

from segadmin.contracts.event_kinds import IGNORE, KINDS, kind_of
from segadmin.counts import counted
from segadmin.events.statuses import PARTLY_BOUGHT

#: Words that one import names; the others are only counted.
MOST_WORDS = 10
#: A longer one is no word.
_LONGEST_WORD = 100
#: A label set with more segments is hardly meant.
MOST_SEGMENTS = 50
#: Fewer rows of one kind mean nothing.
_MANY_ROWS = 100


def unknown_kinds(words: Mapping[str | None, int]) -> list[str]:
    """Return, for each word that is no kind, the lines of the mapping that make it one.

    Args:
        words: word → rows; ``None`` counts the rows without a word.
    """
    advice = []
    known = {word: rows for word, rows in words.items() if word is not None}
    shown = _most(known)
    for word, rows in shown:
        kind = kind_of(word)
        proposed = kind if kind and kind != IGNORE else "view"
        line = f"{toml_text(word)} ="
        advice.append(
            f"{_rows(rows)} the kind {toml_text(word)}, which is not known. Add to the mapping file, under [kinds]: "
            f'{line} "{proposed}" (or {", ".join(other for other in (*KINDS, "return") if other != proposed)}); '
            f'or {line} "ignore" to leave such rows out.'
        )
    if len(known) > len(shown):
        advice.append(f"{len(known) - len(shown):,} other words are no kinds either. Is kind the right column?")
    if words.get(None):
        advice.append(f"{_rows(words[None])} no kind. Where all rows are of one kind: --set kind=purchase")
    return advice


def unknown_statuses(words: Mapping[str, int]) -> list[str]:
    """Return what to decide about statuses that do not clearly mean bought or not bought; their rows are kept."""
    advice = []
    shown = _most(words)
    for word, rows in shown:
        meaning = "means that part of the order was bought" if word in PARTLY_BOUGHT else "is not known"
        advice.append(
            f"{_rows(rows)} the status {toml_text(word)}, which {meaning}: they are kept. "
            f'To leave them out, add to the mapping file, under [statuses]: {toml_text(word)} = "not_bought"; '
            f'"bought" keeps them without this warning.'
        )
    if len(words) > len(shown):
        advice.append(f"{len(words) - len(shown):,} other statuses are not known. Is status the right column?")
    return advice


def one_kind(kinds: Sequence[str], rows: int) -> list[str]:
    """Return what it means that the events of a file are all of one kind, and no purchases."""
    if rows < _MANY_ROWS or len(kinds) != 1 or kinds[0] == "purchase":
        return []
    return [
        f"All {rows:,} rows are of the kind {kinds[0]!r}. If the shop logs other kinds elsewhere, import these too: "
        "labels such as future-spend need purchases."
    ]


def repeated_ids(rows: int, of: int, column: str) -> list[str]:
    """Return what to do about rows that share an ``event_id`` with a row that says something else.

    Args:
        rows: how many were taken for duplicates of a different row.
        of: rows that have an id.
        column: where ``event_id`` comes from.
    """
    if not rows:
        return []
    sure = "looks like" if 2 * rows >= of else "may be"
    return [
        f"{rows:,} of {of:,} rows are duplicates by their event_id, although item, kind or time differ: column "
        f"{column!r} {sure} an order number. Take event_id out of the mapping; to keep the column: "
        f"extras = [{toml_text(column)}]"
    ]


def segment_names(segments: Sequence[str]) -> list[str]:
    """Return what is odd about the names of a label set: very many, or some that differ only in their writing."""
    advice = []
    if len(segments) > MOST_SEGMENTS:
        shown = ", ".join(segments[:MOST_WORDS])
        advice.append(f"There are {len(segments)} segments ({shown}, …). Is segment the right column?")
    alike: dict[str, list[str]] = defaultdict(list)
    for segment in segments:
        alike["".join(unicodedata.normalize("NFKC", segment).casefold().split())].append(segment)
    advice += [
        f"{' and '.join(repr(name) for name in names)} are different segments, although only case, spaces or width "
        "differ. Write them the same way and import the labels again."
        for names in alike.values()
        if len(names) > 1
    ]
    return advice


def several_segments(users: int) -> list[str]:
    """Return what it means that users have labels of several segments at the same moment."""
    if not users:
        return []
    have = counted(users, "user has", "users have")
    return [
        f"{have} labels of several segments at the same time, and all of them are kept. If only one is right, leave "
        "the others out and import the labels again; if each was right at its time, give the times in a column as_of."
    ]


def replaced_rows(number: int, rows: int) -> str:
    """Return what became of the rows in quarantine of an earlier import of the same file."""
    return (
        f"{rows:,} rows in quarantine of import {number}, which was of the same file, are gone: those of this import "
        "are there instead."
    )


def toml_text(text: str) -> str:
    """Return ``text`` as TOML writes it."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _most(words: Mapping[str, int]) -> list[tuple[str, int]]:
    short = ((word, rows) for word, rows in words.items() if len(word) <= _LONGEST_WORD)
    return sorted(short, key=lambda word: (-word[1], word[0]))[:MOST_WORDS]


def _rows(count: int) -> str:
    return counted(count, "row has", "rows have")
