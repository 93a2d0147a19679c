"""Signs that nobody sees, which make two ids, words or times of one.

They come with what is pasted from spreadsheets and chats, with padding of databases, and with accents that are written
in two ways.
"""

from __future__ import annotations

import re
import unicodedata

import polars as pl

#: Control characters but for white space, marks of direction, and spaces and hyphens of no width; but not U+200C and
#: U+200D, which change how letters and emoji beside them look.
INVISIBLE = r"[\x00-\x08\x0E-\x1F\x7F-\x9F\u00AD\u200B\u200E\u200F\u202A-\u202E\u2060\u2066-\u2069\uFEFF]"


def visible(text: str) -> str:
    """Return a text without signs that nobody sees, and with accents as they are usually written (NFC)."""
    return unicodedata.normalize("NFC", re.sub(INVISIBLE, "", text))


def visible_cells(cells: pl.Series) -> pl.Series:
    """Return ``cells`` (String) as :func:`visible` has them; without spaces around them, and blank ones as null.

    A column of nothing but ASCII, which is fast to find out, is returned as it is: of that only control characters are
    not seen, and :func:`visible` is for the few cells that have some.
    """
    if cells.str.len_bytes().sum() == cells.str.len_chars().sum():
        return cells
    plain = cells.str.replace_all(INVISIBLE, "").str.normalize("NFC").str.strip_chars()
    return plain.set(plain == "", None)
