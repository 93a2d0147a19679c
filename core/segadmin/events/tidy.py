"""Mending what people wrote: markup, control characters, full-width letters and digits. Emoji stay."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable

import polars as pl

_ENTITY = r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,31});"
_HIDDEN = r"(?is)<(?:script|style)\b.*?</(?:script|style)\s*>|<!--.*?-->"
_TAG = r"</?[A-Za-z][^<>]*>"
#: Neither tab nor line break, nor U+200D, which joins emoji; but marks of direction, which can turn a line round.
_CONTROL = r"[\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x9F\u200B\u200E\u200F\u202A-\u202E\u2060\u2066-\u2069\uFEFF\uFFFE\uFFFF]"
_WIDE = {chr(sign + 0xFEE0): chr(sign) for sign in range(0x21, 0x7F) if chr(sign).isalnum()} | {"\u3000": " "}


def _plain(cells: pl.Series) -> pl.Series:
    bare = cells.str.replace_all(_HIDDEN, " ").str.replace_all(_TAG, " ")
    return bare.map_elements(html.unescape, return_dtype=pl.String).str.replace_all(r"[ \t\u00A0]+", " ")


#: A rule's name, what it is for, and how it mends that.
_RULES: tuple[tuple[str, str, Callable[[pl.Series], pl.Series]], ...] = (
    ("html", f"{_ENTITY}|{_TAG}|<!--", _plain),
    ("control_characters", _CONTROL, lambda cells: cells.str.replace_all(_CONTROL, "")),
    ("full_width", r"[０-９Ａ-Ｚａ-ｚ\u3000]", lambda cells: cells.str.replace_many(_WIDE)),
)


def tidy(cells: pl.Series) -> tuple[pl.Series, Counter[str]]:
    """Return ``cells`` (String) mended, blank ones as null, and how many each rule mended."""
    changes: Counter[str] = Counter()
    if cells.null_count() == len(cells):
        return cells, changes
    for name, pattern, mend in _RULES:
        found = cells.str.contains(pattern).fill_null(value=False).arg_true()
        if len(found):
            cells = cells.clone().scatter(found, mend(cells[found]).str.strip_chars())
            changes[name] += len(found)
    if changes:
        cells = cells.set(cells == "", None)
    return cells, changes
