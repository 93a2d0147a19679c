"""Cuts the vocabulary of a Unigram model to the pieces that a shop's texts need."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def cut(model: Any, tokenizer: Any, texts: Sequence[str]) -> Any:
    """Cut the embedding of ``model`` to the pieces of ``texts`` and all single characters; return the tokenizer.

    The texts are tokenized as before: the most probable pieces of a text stay the most probable ones if others are
    gone. Other texts are spelled with shorter pieces where one is gone.
    """
    import torch

    kept = kept_ids(tokenizer, texts)
    embedding = model.get_input_embeddings()
    embedding.weight.data = embedding.weight.data[torch.tensor(kept)].clone()
    embedding.num_embeddings, embedding.padding_idx = len(kept), None
    model.config.vocab_size = len(kept)
    smaller = with_pieces(tokenizer, kept)
    model.config.pad_token_id = smaller.pad_token_id
    return smaller


def kept_ids(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """Return the ids of the pieces of ``texts``, of single characters, and of special pieces, in ascending order."""
    backend = tokenizer.backend_tokenizer
    used = {
        piece for encoding in backend.encode_batch_fast(list(texts), add_special_tokens=False) for piece in encoding.ids
    }
    single = {number for piece, number in tokenizer.get_vocab().items() if len(piece.removeprefix("▁")) <= 1}
    return sorted(used | single | set(tokenizer.all_special_ids))


def with_pieces(tokenizer: Any, kept: Sequence[int]) -> Any:
    """Return ``tokenizer`` with the pieces whose ids are in ``kept``; their new ids are their positions in it."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    written = json.loads(tokenizer.backend_tokenizer.to_str())
    new = {old: number for number, old in enumerate(kept)}
    written["model"]["vocab"] = [written["model"]["vocab"][old] for old in kept]
    written["model"]["unk_id"] = new[written["model"]["unk_id"]]
    for added in written["added_tokens"]:
        added["id"] = new[added["id"]]
    for special in written["post_processor"]["special_tokens"].values():
        special["ids"] = [new[old] for old in special["ids"]]
    names = tokenizer.special_tokens_map
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(written)), **names)
