"""Signs that nobody sees, which make two ids, words or times of one.

They come with what is pasted from spreadsheets and chats, with padding of databases, and with accents that are written
in two ways.
"""

from __future__ import annotations

import polars as pl

#: Control characters but for white space, marks of direction, and spaces and hyphens of no width; but not U+200C and
#: U+200D, which change how letters and emoji beside them look.
INVISIBLE = r"[\x00-\x08\x0E-\x1F\x7F-\x9F\u00AD\u200B\u200E\u200F\u202A-\u202E\u2060\u2066-\u2069\uFEFF]"


def without_invisible(cells: pl.Series) -> pl.Series:
    """Return ``cells`` (String) without signs that nobody sees, and with accents as they are usually written (NFC).

    Nearly all columns have neither, so they are looked at only where some cell has a NUL or is not ASCII.
    """
    has_nul = cells.str.contains("\0", literal=True).any()
    if not has_nul and cells.str.len_bytes().sum() == cells.str.len_chars().sum():
        return cells
    return cells.str.replace_all(INVISIBLE, "").str.normalize("NFC")
