"""Warnings of previews and imports about rows that are readable but probably not intended."""

from __future__ import annotations

import json
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence

from segadmin.contracts.event_kinds import IGNORE, KINDS, kind_of
from segadmin.counts import counted
from segadmin.events.statuses import PARTLY_BOUGHT

#: Maximum number of words that the warnings of an import list; the others are only counted.
MOST_WORDS = 10
#: Maximum length of a listed word.
_LONGEST_WORD = 100
#: A label set with more segments causes a warning.
MOST_SEGMENTS = 50
#: Minimum number of rows for a warning about a single kind.
_MIN_ROWS = 100


def unknown_kinds(words: Mapping[str | None, int]) -> list[str]:
    """Return, for each unknown kind, the mapping line that defines it.

    Args:
        words: word → rows; ``None`` stands for rows without a word.
    """
    advice = []
    rows_by_word = {word: rows for word, rows in words.items() if word is not None}
    shown = _most(rows_by_word)
    for word, rows in shown:
        kind = kind_of(word)
        proposed = kind if kind and kind != IGNORE else "view"
        line = f"{toml_text(word)} ="
        advice.append(
            f"{_rows(rows)} the kind {toml_text(word)}, which is not known. Add to the mapping file, under [kinds]: "
            f'{line} "{proposed}" (or {", ".join(other for other in (*KINDS, "return") if other != proposed)}); '
            f'or {line} "ignore" to leave such rows out.'
        )
    if len(rows_by_word) > len(shown):
        advice.append(f"Other words that are no kinds: {len(rows_by_word) - len(shown):,}. Is kind the right column?")
    if words.get(None):
        advice.append(f"{_rows(words[None])} no kind. Where all rows are of one kind: --set kind=purchase")
    return advice


def unknown_statuses(words: Mapping[str, int]) -> list[str]:
    """Return warnings about statuses that mean neither bought nor not bought for certain; their rows are kept."""
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
    """Return a warning if all events of a file are of one kind other than purchase."""
    if rows < _MIN_ROWS or len(kinds) != 1 or kinds[0] == "purchase":
        return []
    return [
        f"All {rows:,} rows are of the kind {kinds[0]!r}. If the shop logs other kinds elsewhere, import these too: "
        "labels such as future-spend need purchases."
    ]


def repeated_ids(rows: int, with_id: int, column: str) -> list[str]:
    """Return a warning about rows that have the ``event_id`` of a row with different content.

    Args:
        rows: number of rows removed as duplicates although their content differs.
        with_id: number of rows with an id.
        column: the column mapped to ``event_id``.
    """
    if not rows:
        return []
    likelihood = "looks like" if 2 * rows >= with_id else "may be"
    return [
        f"{rows:,} of {with_id:,} rows are duplicates by their event_id, although item, kind or time differ: column "
        f"{column!r} {likelihood} an order number. Take event_id out of the mapping; to keep the column: "
        f"extras = [{toml_text(column)}]"
    ]


def segment_names(segments: Sequence[str]) -> list[str]:
    """Return warnings about a label set with very many segments, or with names that differ only in spelling."""
    advice = []
    if len(segments) > MOST_SEGMENTS:
        shown = ", ".join(segments[:MOST_WORDS])
        advice.append(f"There are {len(segments)} segments ({shown}, …). Is segment the right column?")
    spellings: dict[str, list[str]] = defaultdict(list)
    for segment in segments:
        spellings["".join(unicodedata.normalize("NFKC", segment).casefold().split())].append(segment)
    advice += [
        f"{' and '.join(repr(name) for name in names)} are different segments, although only case, spaces or width "
        "differ. Write them the same way and import the labels again."
        for names in spellings.values()
        if len(names) > 1
    ]
    return advice


def several_segments(users: int) -> list[str]:
    """Return a warning about ``users`` with labels of several segments at the same time."""
    if not users:
        return []
    subject = counted(users, "user has", "users have")
    return [
        f"{subject} labels of several segments at the same time, and all of them are kept. If only one is right, leave "
        "the others out and import the labels again; if each was right at its time, give the times in a column as_of."
    ]


def replaced_rows(number: int, rows: int) -> str:
    """Return a message that this import replaced the quarantined rows of an earlier import of the same file."""
    return (
        f"The rows in quarantine of import {number}, which was of the same file, are gone ({rows:,}): those of this "
        "import are there instead."
    )


def toml_text(text: str) -> str:
    """Return ``text`` as a TOML string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _most(words: Mapping[str, int]) -> list[tuple[str, int]]:
    candidates = ((word, rows) for word, rows in words.items() if len(word) <= _LONGEST_WORD)
    return sorted(candidates, key=lambda word: (-word[1], word[0]))[:MOST_WORDS]


def _rows(count: int) -> str:
    return "1 row has" if count == 1 else f"{count:,} rows have"
