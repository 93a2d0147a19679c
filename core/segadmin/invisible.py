"""Invisible characters, because of which two equal-looking ids, words or times differ.

They come from text pasted from spreadsheets and chats, from database padding, and from the two encodings of accents.
"""

from __future__ import annotations

import re
import unicodedata

import polars as pl

#: Control characters except white space, marks of direction, and zero-width spaces and hyphens; but not U+200C and
#: U+200D, which change the look of adjacent letters and emoji.
INVISIBLE = r"[\x00-\x08\x0E-\x1F\x7F-\x9F\u00AD\u200B\u200E\u200F\u202A-\u202E\u2060\u2066-\u2069\uFEFF]"

#: Of a frame of one column (String): whether all of its text is ASCII.
IS_ASCII = pl.first().str.len_bytes().sum() == pl.first().str.len_chars().sum()


def visible(text: str) -> str:
    """Return a text without invisible characters and in Unicode normal form C (NFC)."""
    return unicodedata.normalize("NFC", re.sub(INVISIBLE, "", text))


def visible_cells(cells: pl.Series) -> pl.Series:
    """Return ``cells`` (String) as by :func:`visible`, without surrounding spaces, and with null for blank cells.

    A column of ASCII text, which is fast to detect, is returned unchanged. Its only invisible characters are control
    characters; :func:`visible` handles the few cells that have them.
    """
    if cells.to_frame().select(IS_ASCII).item():
        return cells
    plain = cells.str.replace_all(INVISIBLE, "").str.normalize("NFC").str.strip_chars()
    return plain.set(plain == "", None)
