"""The tokenizer of a Unigram vocabulary."""

from __future__ import annotations

import re
from typing import Any

from segadmin_plugins.backbones.e5_weights.packed_file import Vocabulary

_SPACE = "▁"
_MASK = "<mask>"
#: Characters that NFKC rewrites and SentencePiece keeps: the full-width tilde, as in 10～20 元.
_COMMON_KEPT = ("\uff5e",)
#: Stands for a character that NFKC would rewrite and the vocabulary does not; no text has it.
_FIRST_STAND_IN = 0xF0000


def tokenizer_of(vocabulary: Vocabulary) -> Any:
    """Return the tokenizer; texts become ``<s> … </s>``, and its ids are positions in the vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special, pieces = vocabulary.special, vocabulary.pieces
    scored = [(piece, float(score)) for piece, score in zip(pieces, vocabulary.scores, strict=True)]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=special.unknown, byte_fallback=False))
    tokenizer.normalizer = _normalizer(vocabulary)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(_SPACE, prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(_SPACE, prepend_scheme="always")
    begin, end = pieces[special.begin], pieces[special.end]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}",
        pair=f"{begin} $A {end} {end} $B {end}",
        special_tokens=[(begin, special.begin), (end, special.end)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=begin,
        eos_token=end,
        cls_token=begin,
        sep_token=end,
        unk_token=pieces[special.unknown],
        pad_token=pieces[special.padding],
        **({"mask_token": _MASK} if _MASK in pieces else {}),
    )


def _normalizer(vocabulary: Vocabulary) -> Any:
    """Return what rewrites characters as the vocabulary says, which is NFKC but for a few, and joins spaces."""
    from tokenizers import Regex, normalizers

    removed = [character for character, text in vocabulary.rewritten.items() if not text]
    spaces = [character for character, text in vocabulary.rewritten.items() if text == " " != character]
    kept = [character for character in _COMMON_KEPT if character not in vocabulary.rewritten]
    stand_ins = {character: chr(_FIRST_STAND_IN + n) for n, character in enumerate(kept)}
    steps = [
        *([normalizers.Replace(Regex(_any_of(removed)), "")] if removed else []),
        *([normalizers.Replace(Regex(_any_of(spaces)), " ")] if spaces else []),
        *(normalizers.Replace(character, stand_in) for character, stand_in in stand_ins.items()),
        normalizers.NFKC(),
        *(normalizers.Replace(stand_in, character) for character, stand_in in stand_ins.items()),
        normalizers.Replace(Regex(" {2,}"), " "),
    ]
    return normalizers.Sequence(steps)


def _any_of(characters: list[str]) -> str:
    return f"[{''.join(re.escape(character) for character in characters)}]"
