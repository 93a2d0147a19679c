"""New words of a vocabulary: those that it spells in many pieces."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from segadmin.contracts.backbone import Examples

_WORD = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]+|[^\W\d_\u3400-\u4dbf\u4e00-\u9fff]+")
_CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_LEAST_TIMES = 5  #: rarer words are not added to the vocabulary


def new_words(tokenizer: Any, texts: Examples, most: int) -> list[str]:
    """Return the words of the texts that the vocabulary spells in three pieces or more, the most costly first."""
    phrases = texts.frame["phrases"].explode().drop_nulls().value_counts()
    counts: Counter[str] = Counter()
    for phrase, times in phrases.iter_rows():
        for word in _WORD.findall(phrase.lower()):
            counts[word] += times
    common = [word for word, times in counts.items() if times >= _LEAST_TIMES]
    pieces = tokenizer([f" {word}" for word in common], add_special_tokens=False)["input_ids"] if common else []
    unknown = tokenizer.unk_token_id
    cost = {
        word: counts[word] * (len(ids) - 1)
        for word, ids in zip(common, pieces, strict=True)
        if len(ids) > 2 or (unknown is not None and unknown in ids)
    }
    return sorted(cost, key=lambda word: (-cost[word], word))[:most]


def extend(tokenizer: Any, models: Sequence[Any], words: Sequence[str]) -> None:
    """Add ``words`` to the vocabulary; each is initialised as the mean of its former pieces."""
    from tokenizers import AddedToken

    if not words:
        return
    pieces = [tokenizer(f" {word}", add_special_tokens=False)["input_ids"] for word in words]
    old_size = len(tokenizer)
    tokenizer.add_tokens([AddedToken(word, single_word=not _CHINESE.match(word), normalized=True) for word in words])
    for model in models:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        table = model.get_input_embeddings().weight
        with torch.no_grad():
            for n, ids in enumerate(pieces):
                table[old_size + n] = table[torch.tensor(ids)].mean(dim=0)
