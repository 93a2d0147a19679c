"""Names of visual words, from the titles of the items that look most like them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from string import ascii_lowercase

from segadmin.settings import Language

#: Words of three letters or more, and runs of Chinese characters, which are cut into pairs.
_RUNS = re.compile(r"[\u3400-\u9fff]+|[^\W\d_\u3400-\u9fff]{3,}")
#: Minimum share of the nearest titles that have a term, and how many times as frequent as elsewhere it must be.
_SHARE, _LIFT = 0.3, 1.5
_NOUN: dict[Language, str] = {"en": "look", "zh": "外观"}


def terms(title: str) -> set[str]:
    """Return the different words of a title: ``{"striped", "shirt"}``, ``{"条纹", "纹衬", "衬衫"}``."""
    words: set[str] = set()
    for run in _RUNS.findall(title.lower()):
        is_chinese = "\u3400" <= run[0] <= "\u9fff"
        words.update((run[at : at + 2] for at in range(len(run) - 1)) if is_chinese else [run])
    return words


def name_words(
    nearest: Sequence[Sequence[Sequence[str]]], titles: Iterable[str], language: Language, noun: str = ""
) -> list[list[str]]:
    """Return a different word for each code of each part.

    Args:
        nearest: for each part and code, the titles of the items that are nearest to it.
        titles: of all items.
        language: of the noun.
        noun: second half of each word; default: "look", 外观.

    Returns:
        For a code with a term that is frequent near it and rarer elsewhere ``striped-look``, 条纹外观; else a neutral
        word of part and code, ``look2c``, 外观2c.
    """
    noun = noun or _NOUN[language]
    counts: Counter[str] = Counter()
    number = 0
    for title in titles:
        counts.update(terms(title))
        number += 1
    used: set[str] = set()
    words: list[list[str]] = []
    for part, codes in enumerate(nearest, 1):
        words.append([])
        for code, near in enumerate(codes):
            term = _distinctive(near, counts, number, used)
            used.add(term)
            neutral = f"{noun}{part}{_letters(code)}"
            words[-1].append(neutral if not term else f"{term}{noun}" if language == "zh" else f"{term}-{noun}")
    return words


def _distinctive(near: Sequence[str], counts: Counter[str], number: int, used: set[str]) -> str:
    """Return the term that says most about the titles ``near``; empty if none does."""
    here: Counter[str] = Counter()
    for title in near:
        here.update(terms(title))
    scores = {}
    for term, count in here.items():
        share, elsewhere = count / len(near), counts[term] / number
        if term not in used and count > 1 and share >= _SHARE and share >= _LIFT * elsewhere:
            scores[term] = share * math.log(share / elsewhere)
    return min(scores, key=lambda term: (-scores[term], term), default="")


def _letters(number: int) -> str:
    """Return the letters of a number: ``a`` to ``z``, then ``aa`` and so on."""
    rest, last = divmod(number, len(ascii_lowercase))
    return (_letters(rest - 1) if rest else "") + ascii_lowercase[last]
