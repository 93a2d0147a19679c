"""Users who are to be erased, as cells and texts name them: by id or by pseudonym, and however that is encoded."""

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

#: What stands where a user was named.
ERASED = "(erased)"
#: Signs of an encoding, by which a text may name a user in other letters than the id's.
_ENCODED = r"\\[uxnrtbf/\"\\]|\"\"|&#?\w+;|%[0-9A-Fa-f]{2}|[\u0300-\u036f\u00ad\u200b-\u200f\u2060\ufeff]"
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([/\"\\nrtbf]))")
_BYTE = re.compile(rb"\\x([0-9a-fA-F]{2})")
#: Numbers of fewer digits, and words of fewer bytes, mean other things too; a Chinese sign has three bytes.
_SHORT_NUMBER, _SHORT_WORD = 6, 3
_LETTERS = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


@dataclass(frozen=True)
class NamedUsers:
    """Some users."""

    secret: bytes  #: of the user keys
    names: Mapping[int, str]  #: key → the shop's id, as it is stored

    @cached_property
    def distinctive(self) -> NamedUsers:
        """The same, by pseudonym alone where the id is so short that any text has it for other things."""
        return NamedUsers(
            self.secret, {key: show_key(key) if _is_short(name) else name for key, name in self.names.items()}
        )

    def of_cell(self, cell: str) -> int | None:
        """Return the key of the user whom a cell names; ``None`` where it is another's."""
        if cell in self._pseudonyms:
            return self._pseudonyms[cell]
        keys = (user_key(self.secret, one) for one in (plain_id(cell), cell))
        return next((self._keys[key] for key in keys if key in self._keys), None)

    def of_texts(self, texts: pl.Series) -> list[int | None]:
        """Return whom each text (String) names with a word of its own, also in JSON, HTML, URL or byte escapes."""
        owners: list[int | None] = [None] * len(texts)
        if not self.names:
            return owners
        likely = (texts.str.contains_any(self.words) | texts.str.contains(_ENCODED)).fill_null(value=False)
        places = likely.arg_true()
        read = [(place, one) for place, text in zip(places, texts[places], strict=True) for one in readings(text)]
        found = pl.Series([one for _, one in read], dtype=pl.String).str.extract_many(self.words, overlapping=True)
        for (place, text), words in zip(read, found.list.unique(maintain_order=True).to_list(), strict=True):
            if owners[place] is None:
                named = (one for one in words if _as_word(one).search(text))
                owners[place] = next((self._owners[one] for one in named), None)
        return owners

    def mask(self, text: str) -> str:
        """Return a text for people without the users: each word that names one is replaced, or else all of it."""
        if self.of_texts(pl.Series([text]))[0] is None:
            return text
        for word in self.words:
            text = _as_word(word).sub(ERASED, text) if word in text else text
        return text if self.of_texts(pl.Series([text]))[0] is None else ERASED

    def without(self, value: Any) -> Any:
        """Return JSON of ours without the users: in texts for people, and where a mapping gives all rows to one."""
        if isinstance(value, dict):
            return {name: self._without(name, inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.without(inner) for inner in value]
        return value

    def _without(self, name: str, value: Any) -> Any:
        if name in {"error", "file", "note"} and isinstance(value, str):
            return self.mask(value)
        if name == "where" and isinstance(value, str):  # a path, in which folders may be called as users are
            return "/".join(map(self.distinctive.mask, value.split("/")))
        if name == "warnings" and isinstance(value, list):
            return [self.mask(str(one)) for one in value]
        if name == "constants" and isinstance(value, dict) and self.of_cell(str(value.get("user"))) is not None:
            return value | {"user": ERASED}
        return self.without(value)

    @cached_property
    def _keys(self) -> dict[int, int]:
        """Keys of the ids as they are stored, which may not be as ids are stored now."""
        return {user_key(self.secret, name): key for key, name in self.names.items()} | {key: key for key in self.names}

    @cached_property
    def _pseudonyms(self) -> dict[str, int]:
        return {shown: key for key in self.names for shown in (show_key(key), str(key))}

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
    """Yield a text as it is, and as it is meant if it is in one of the usual encodings, or in several."""
    known = {plain := visible(text)}
    yield plain
    decoded = text
    for decode in (_undoubled, _unescaped, html.unescape, unquote):
        decoded = decode(decoded)
        for one in (visible(decode(text)), visible(decoded)):
            if one not in known:
                known.add(one)
                yield one
    yield from map(visible, _in_other_encodings(text))


def _undoubled(text: str) -> str:
    """Return a text with the quotes of CSV as they are meant."""
    return text.replace('""', '"')


def _in_other_encodings(text: str) -> Iterator[str]:
    """Yield a text that has escapes of bytes as it reads in the encodings that it may have had as a whole."""
    escaped = text.encode("utf-8", "replace")
    content = _BYTE.sub(lambda byte: bytes.fromhex(byte[1].decode()), escaped)
    if content == escaped:
        return
    for encoding in MULTIBYTE_ENCODINGS:
        with suppress(UnicodeDecodeError):
            yield content.decode(encoding)


def _unescaped(text: str) -> str:
    """Return a text with the escapes of JSON, and of bytes that were no UTF-8 and were likely Latin-1, as letters."""
    units = _ESCAPE.sub(_letter, text)
    return units.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # pairs become one letter


def _letter(escape: re.Match[str]) -> str:
    unit, byte, sign = escape.groups()
    return _LETTERS.get(sign, sign) if sign else chr(int(unit or byte, 16))


def _as_word(one: str) -> re.Pattern[str]:
    """Return what finds an id in text, but not in a longer word, an address, a number, a date or a time.

    Of paths only those count that have users in them, such as ``/v1/users/ID`` in the log of the web part.
    """
    return re.compile(rf"(?:(?<=/users/)|(?<![\w./@-])(?<!\d:)){re.escape(one)}(?:\.0+)?(?![\w/@-])(?!:\d)(?!\.\d)")


def words_of(names: Iterable[str]) -> list[str]:
    """Return ids as they may stand in JSON, and in JSON in its texts."""
    once = {name: encode(name)[1:-1] for name in names}
    return sorted({form for name, written in once.items() for form in (name, written, encode(written)[1:-1])})
