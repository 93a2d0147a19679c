"""Search for users to be erased in cells and texts: by id or pseudonym, in all common encodings."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import unquote

import polars as pl

from segadmin.contracts.source import MULTIBYTE_ENCODINGS
from segadmin.events.exact_json import encode
from segadmin.events.identifiers import plain_id
from segadmin.events.keys import show_key, user_key
from segadmin.invisible import visible

#: Replacement for the names of erased users.
ERASED = "(erased)"
#: Patterns of encodings, in which a text may contain an id in other characters.
_ENCODED = r"\\[uxnrtbf/\"\\]|\"\"|&#?\w+;|%[0-9A-Fa-f]{2}|[\u0300-\u036f\u00ad\u200b-\u200f\u2060\ufeff]"
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([/\"\\nrtbf]))")
_BYTE = re.compile(rb"\\x([0-9a-fA-F]{2})")
#: Shorter numbers (digits) and words (bytes) are ambiguous; a Chinese character has three bytes.
_SHORT_NUMBER, _SHORT_WORD = 6, 3
_LETTERS = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


@dataclass(frozen=True)
class NamedUsers:
    """A set of users to search for."""

    secret: bytes  #: of the user keys
    names: Mapping[int, str]  #: key → the stored shop's id

    @cached_property
    def distinctive(self) -> NamedUsers:
        """The same users, but by pseudonym only if the id is so short that it occurs in unrelated text."""
        return NamedUsers(
            self.secret, {key: show_key(key) if _is_short(name) else name for key, name in self.names.items()}
        )

    def of_cell(self, cell: str) -> int | None:
        """Return the key of the user that a cell names; ``None`` if it is none of these users."""
        if cell in self._pseudonyms:
            return self._pseudonyms[cell]
        keys = (user_key(self.secret, user) for user in (plain_id(cell), cell))
        return next((self._keys[key] for key in keys if key in self._keys), None)

    def of_texts(self, texts: pl.Series) -> list[int | None]:
        """Return the key of the user that each text (String) names, also in JSON, HTML, URL or byte escapes."""
        owners: list[int | None] = [None] * len(texts)
        if not self.names:
            return owners
        may_match = (texts.str.contains_any(self.words) | texts.str.contains(_ENCODED)).fill_null(value=False)
        rows = may_match.arg_true()
        decoded = [(row, reading) for row, text in zip(rows, texts[rows], strict=True) for reading in readings(text)]
        decoded_texts = pl.Series([text for _, text in decoded], dtype=pl.String)
        candidates = decoded_texts.str.extract_many(self.words, overlapping=True).list.unique(maintain_order=True)
        for (row, text), words in zip(decoded, candidates.to_list(), strict=True):
            if owners[row] is None:
                matches = (word for word in words if _word_pattern(word).search(text))
                owners[row] = next((self._owners[word] for word in matches), None)
        return owners

    def mask(self, text: str) -> str:
        """Return a text with the users' names replaced; or all of it, if a name cannot be replaced alone."""
        if self.of_texts(pl.Series([text]))[0] is None:
            return text
        for word in self.words:
            text = _word_pattern(word).sub(ERASED, text) if word in text else text
        return text if self.of_texts(pl.Series([text]))[0] is None else ERASED

    def without(self, value: Any) -> Any:
        """Return segadmin's own JSON without the users: in texts, and in constants of mappings."""
        if isinstance(value, dict):
            return {name: self._without(name, inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.without(inner) for inner in value]
        return value

    def _without(self, name: str, value: Any) -> Any:
        if name in {"error", "file", "note", "before", "after"} and isinstance(value, str):
            return self.mask(value)
        if name == "where" and isinstance(value, str):  # a path; its folders may have names of users
            return "/".join(map(self.distinctive.mask, value.split("/")))
        if name == "warnings" and isinstance(value, list):
            return [self.mask(str(warning)) for warning in value]
        if name == "constants" and isinstance(value, dict) and self.of_cell(str(value.get("user"))) is not None:
            return value | {"user": ERASED}
        return self.without(value)

    @cached_property
    def _keys(self) -> dict[int, int]:
        """Key of the stored id, which may lack the current cleaning → key of the user."""
        return {user_key(self.secret, name): key for key, name in self.names.items()} | {key: key for key in self.names}

    @cached_property
    def _pseudonyms(self) -> dict[str, int]:
        return {pseudonym: key for key in self.names for pseudonym in (show_key(key), str(key))}

    @cached_property
    def _owners(self) -> dict[str, int]:
        return {name: key for key, name in self.names.items()} | self._pseudonyms

    @cached_property
    def words(self) -> list[str]:
        """The ids and the pseudonyms, in hex and as numbers."""
        return sorted(self._owners)


def _is_short(name: str) -> bool:
    return len(name.encode()) < (_SHORT_NUMBER if name.isdigit() else _SHORT_WORD)


def readings(text: str) -> Iterator[str]:
    """Yield a text unchanged, and decoded by one or several of the usual encodings."""
    seen = {plain := visible(text)}
    yield plain
    decoded = text
    for decode in (_undoubled, _unescaped, html.unescape, unquote):
        decoded = decode(decoded)
        for reading in (visible(decode(text)), visible(decoded)):
            if reading not in seen:
                seen.add(reading)
                yield reading
    yield from map(visible, _in_other_encodings(text))


def _undoubled(text: str) -> str:
    """Return a text with the doubled quotes of CSV replaced by single ones."""
    return text.replace('""', '"')


def _in_other_encodings(text: str) -> Iterator[str]:
    """Yield a text with byte escapes, decoded by each of the possible encodings of the complete text."""
    escaped = text.encode("utf-8", "replace")
    content = _BYTE.sub(lambda byte: bytes.fromhex(byte[1].decode()), escaped)
    if content == escaped:
        return
    for encoding in MULTIBYTE_ENCODINGS:
        with suppress(UnicodeDecodeError):
            yield content.decode(encoding)


def _unescaped(text: str) -> str:
    """Return a text with escapes of JSON, and of bytes that are probably Latin-1, replaced by characters."""
    units = _ESCAPE.sub(_letter, text)
    return units.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # joins surrogate pairs


def _letter(escape: re.Match[str]) -> str:
    unit, byte, character = escape.groups()
    return _LETTERS.get(character, character) if character else chr(int(unit or byte, 16))


def _word_pattern(word: str) -> re.Pattern[str]:
    """Return a pattern that matches an id in text, but not within a longer word, an address, a number, date or time.

    Paths only match after ``/users/``, as in ``/v1/users/ID`` in the log of the web service.
    """
    return re.compile(rf"(?:(?<=/users/)|(?<![\w./@-])(?<!\d:)){re.escape(word)}(?:\.0+)?(?![\w/@-])(?!:\d)(?!\.\d)")


def words_of(names: Iterable[str]) -> list[str]:
    """Return ids in their plain form, as encoded in JSON, and as encoded in JSON within JSON."""
    encoded = {name: encode(name)[1:-1] for name in names}
    return sorted({form for name, once in encoded.items() for form in (name, once, encode(once)[1:-1])})
