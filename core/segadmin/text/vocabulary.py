"""How much of a shop's texts a tokenizer knows: words that are one token, words in pieces, unknown tokens."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl

from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.textualizer import Textualizer
from segadmin.errors import DataError
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from segadmin.storage.store import open_store
from segadmin.text.recipe import Recipe
from segadmin.text.sample import sample_users

TOKENIZER = "tokenizer.json"
#: Number of users whose texts are read, and of how many of them a word must be to be named: no word of a single user.
_USERS, _LEAST_USERS = 200, 5
#: Number of words that are named.
_NAMED = 5


@dataclass(frozen=True)
class VocabularyMatch:
    """What a tokenizer makes of the texts of a sample of users."""

    users: int
    words: int  #: distinct ones
    split: float  #: fraction of the distinct words that are no token of their own
    unknown: float  #: fraction of the tokens that stand for anything unknown
    examples: tuple[str, ...]  #: the most common words that are split or unknown, each of at least five users


def match_vocabulary(folder: Path, settings: Settings, recipe: Recipe) -> VocabularyMatch | None:
    """Read a sample of users by ``recipe`` with the tokenizer in ``folder`` or in a folder in it.

    Returns:
        ``None`` if there is no such tokenizer, the library for it is not installed, or there are no events.

    Raises:
        PluginNotFound: the textualizer is not installed.
        PluginError: it failed.
        DataError: the tokenizer cannot be read.
    """
    paths = sorted(folder.rglob(TOKENIZER), key=lambda path: len(path.parts))
    if not paths or find_spec("tokenizers") is None:
        return None
    phrases = sample_phrases(settings, recipe)
    return None if phrases.is_empty() else _match(phrases, *_load(paths[0]))


def _load(path: Path) -> tuple[Any, str | None]:
    """Return the tokenizer in ``path``, and its token for anything unknown, if it has one."""
    from tokenizers import Tokenizer

    config = path.with_name("tokenizer_config.json")
    try:
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_truncation()
        unknown = json.loads(config.read_text(encoding="utf-8")).get("unk_token") if config.is_file() else None
    except Exception as error:  # the library has no exception of its own
        raise DataError(
            f"The tokenizer in {path.parent} cannot be read: {error}. Ask for a new export of the version."
        ) from None
    return tokenizer, unknown.get("content") if isinstance(unknown, dict) else unknown


def _match(phrases: pl.Series, tokenizer: Any, unknown_token: str | None) -> VocabularyMatch:
    users_of: Counter[str] = Counter()
    tokens: Counter[bool] = Counter()  # by whether they are unknown
    split: set[str] = set()
    for user_phrases in phrases:
        of_user: set[str] = set()
        for phrase in user_phrases:
            encoding = tokenizer.encode(phrase, add_special_tokens=False)
            tokens.update(token == unknown_token for token in encoding.tokens)
            for word, pieces in _words(phrase, encoding.word_ids, encoding.offsets, encoding.tokens):
                of_user.add(word)
                if len(pieces) > 1 or unknown_token in pieces:
                    split.add(word)
        users_of.update(of_user)
    named = [word for word, users in users_of.most_common() if word in split and users >= _LEAST_USERS]
    return VocabularyMatch(
        users=len(phrases),
        words=len(users_of),
        split=len(split) / max(len(users_of), 1),
        unknown=tokens[True] / max(tokens.total(), 1),
        examples=tuple(named[:_NAMED]),
    )


def sample_phrases(settings: Settings, recipe: Recipe) -> pl.Series:
    """Return the phrases (List[String]) of some users at the newest event; empty if there are no events."""
    lake, buckets, plugins = Lake.of(settings), open_store(settings).buckets, load_plugins(settings)
    textualizer: Textualizer = plugins.make("textualizer", recipe.textualizer, recipe.textualizer_options)
    latest = lake.latest_event
    if latest is None:
        return pl.Series("phrases", [], pl.List(pl.String))
    window = recipe.window(latest + timedelta(microseconds=1))
    return sample_users(lake, buckets, window, recipe, _USERS, plugins=plugins, textualizer=textualizer)["phrases"]


def _words(
    phrase: str, word_ids: list[int | None], offsets: list[tuple[int, int]], tokens: list[str]
) -> Iterable[tuple[str, list[str]]]:
    """Return the words of a phrase, in lower case, with the tokens of each."""
    spans: dict[int, tuple[int, int, list[str]]] = {}
    for word, (start, end), token in zip(word_ids, offsets, tokens, strict=True):
        if word is not None:
            first, _, pieces = spans.get(word, (start, end, []))
            spans[word] = (first, end, [*pieces, token])
    return [(phrase[start:end].strip().lower(), pieces) for start, end, pieces in spans.values()]
