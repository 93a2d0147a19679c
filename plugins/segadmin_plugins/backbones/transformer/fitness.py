"""Checks that a model and a tokenizer fit each other, before training."""

from __future__ import annotations

from typing import Any

from segadmin.errors import BackboneUnavailable
from segadmin_plugins.backbones.transformer.batches import PhraseEncoder

#: Tokenizers without a limit have a very large number.
_NO_LIMIT = 10**9


def check_together(text: Any, encoder: PhraseEncoder, name: str) -> None:
    """Check that ``text``, a model called ``name``, can read all ids of the tokenizer of ``encoder``.

    Raises:
        BackboneUnavailable: the tokenizer has ids that the model has no embedding for, or the model does not find the
            end of a text.
    """
    ids, rows = highest_id(encoder.tokenizer) + 1, embedding_rows(text)
    if rows is not None and ids > rows:
        raise BackboneUnavailable(
            f"The tokenizer of {name!r} has {ids:,} ids, the model's embedding {rows:,}: they are not of one model. "
            "Download both again, or save both after model.resize_token_embeddings(len(tokenizer))."
        )
    config = text.config
    if not config.is_encoder_decoder:
        return
    around = [*encoder.prefix, *encoder.suffix]
    if config.eos_token_id not in around:  # transformers classifies encoder-decoders by this token's state
        raise BackboneUnavailable(
            f"The model {name!r} is read at the end token {config.eos_token_id}, but its tokenizer puts only "
            f"{around} around a text. Use the tokenizer that belongs to the model."
        )
    if config.eos_token_id == encoder.pad_id:
        raise BackboneUnavailable(
            f"The model {name!r} is read at the end token {config.eos_token_id}, but its tokenizer pads with the same. "
            "Give it a padding token: tokenizer.add_special_tokens({'pad_token': '<pad>'})"
        )
    if getattr(config, "decoder_start_token_id", None) is None:
        raise BackboneUnavailable(
            f"The config.json of {name!r} names no decoder_start_token_id, which an encoder-decoder begins with. "
            "Add it: the padding id for T5, the end id for BART."
        )


def highest_id(tokenizer: Any) -> int:
    """Return the highest id of the tokenizer."""
    return max(tokenizer.get_vocab().values(), default=0)


def embedding_rows(text: Any) -> int | None:
    """Return the number of embeddings of the model; ``None`` if it has no embedding table."""
    try:
        weight = getattr(text.get_input_embeddings(), "weight", None)
    except (NotImplementedError, AttributeError):  # models of bytes or characters, which hash them
        return None
    return None if weight is None else int(weight.shape[0])


def notes(text: Any, encoder: PhraseEncoder, max_tokens: int) -> list[str]:
    """Return notes on a usable model and its tokenizer, one per line."""
    tokenizer, rows = encoder.tokenizer, embedding_rows(text)
    lines = [f"reads {encoder.max_tokens} tokens of a user's text (max_tokens={max_tokens})"]
    if encoder.max_tokens < max_tokens:
        lines[0] += f": the model has positions for no more than {encoder.max_tokens}"
    if rows is not None:
        lines.append(f"the tokenizer has {highest_id(tokenizer) + 1:,} ids, the embedding {rows:,} rows")
    longest = tokenizer.model_max_length
    if longest < _NO_LIMIT and longest != encoder.max_tokens:
        less = f", less than the {encoder.max_tokens} that are read" if longest < encoder.max_tokens else ""
        lines.append(f"the tokenizer says that the model reads {longest} tokens{less}")
    if encoder.borrowed_pad:
        lines.append(f"the tokenizer has no padding token; {encoder.borrowed_pad!r} takes its place")
    if tokenizer.unk_token_id is None and not _spells_everything(tokenizer):
        lines.append("the tokenizer has no token for what it does not know, and leaves it out")
    return lines


def _spells_everything(tokenizer: Any) -> bool:
    """Whether any text survives encoding, as with byte-level vocabularies."""
    return bool(tokenizer("\U0001f9c3", add_special_tokens=False)["input_ids"])
