"""From user texts to padded batches of token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from segadmin.contracts.backbone import TokenCounts
from segadmin.errors import BackboneUnavailable, ConfigurationError
from segadmin.ragged import Ragged, offsets_of
from segadmin.text.tokens import Encoded, PhraseCache, encode_phrases
from segadmin_plugins.engines.packing import runs_of
from segadmin_plugins.engines.plain import padded

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from segadmin_plugins.backbones.transformer.prompt import Prompt

Batch = dict[str, torch.Tensor]
_UNLIMITED = 2**31 - 1  #: tokens of a text


@dataclass
class PhraseEncoder:
    """A tokenizer prepared to read user texts for one model."""

    tokenizer: Any
    max_tokens: int
    prompt: Prompt | None = None  #: around every text, within ``max_tokens``: truncation leaves it whole
    prefix: list[int] = field(init=False)  #: such as ``[CLS]``
    suffix: list[int] = field(init=False)  #: such as ``[SEP]``; of a prompt, its end alone
    pad_id: int = field(init=False)
    borrowed_pad: str = field(init=False, default="")  #: the token that pads if the tokenizer has no padding token
    _cache: PhraseCache = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.tokenizer.pad_token_id is None:  # decoders often come without one
            self.borrowed_pad = str(self.tokenizer.eos_token or self.tokenizer.unk_token or "")
            if not self.borrowed_pad:
                raise BackboneUnavailable(
                    "The tokenizer has no padding token, and no end or unknown token to use instead. Add one and save "
                    "it with the model: tokenizer.add_special_tokens({'pad_token': '<pad>'})"
                )
            self.tokenizer.pad_token = self.borrowed_pad
        self.tokenizer.padding_side = "right"
        self.pad_id = self.tokenizer.pad_token_id
        probe = self._plain(["a"])[0]
        marked = self.tokenizer("a", truncation=False, verbose=False)["input_ids"]
        start = next((n for n in range(len(marked)) if probe and marked[n : n + len(probe)] == probe), None)
        if start is None:
            raise BackboneUnavailable(
                f"The tokenizer writes {probe} for the letter 'a' alone and {marked} for a text of it: it is not "
                "clear where a text begins. Is a vocabulary file missing?"
            )
        self.prefix, self.suffix = marked[:start], marked[start + len(probe) :]
        who = "the tokenizer puts"
        if self.prompt is not None:
            who = "the tokenizer and the prompt put"
            before, self.suffix = self.tokenize([self.prompt.before, self.prompt.after])
            self.prefix = self.prefix + before
        around = len(self.prefix) + len(self.suffix)
        if self.max_tokens <= around:
            raise ConfigurationError(
                f"max_tokens={self.max_tokens} leaves no room for a text: {who} {around} tokens around "
                f"it. Read more: --backbone-option max_tokens={64 * (1 + around // 32)}"
            )
        self._cache = PhraseCache(self._words)

    @property
    def _room(self) -> int:
        """The number of tokens of a text that the model reads."""
        return self.max_tokens - len(self.prefix) - len(self.suffix)

    def encode(self, phrases: pl.Series) -> Encoded:
        """Return the token ids of every user, special tokens included."""
        around = {"before": self.prefix, "after": self.suffix}
        return encode_phrases(phrases, self._cache, self._room, **around, empty=[self.pad_id])

    def count(self, phrases: pl.Series) -> TokenCounts:
        """Return how many tokens every user's text has, and how many of them are unknown or not read."""
        whole = encode_phrases(phrases, self._cache, _UNLIMITED).ids
        read = encode_phrases(phrases, self._cache, self._room).ids.lengths
        is_unknown = whole.values == (-1 if self.tokenizer.unk_token_id is None else self.tokenizer.unk_token_id)
        unknown = np.diff(offsets_of(is_unknown.astype(np.int64))[whole.offsets])
        return TokenCounts(tokens=whole.lengths, unknown=unknown, dropped=whole.lengths - read)

    def _words(self, texts: Sequence[str]) -> list[list[int]]:
        # Byte-level vocabularies join a word to the one before it without a space between them.
        return self.tokenize([f" {text}" for text in texts])

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of texts, without special tokens."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            return self._plain(texts)
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True  # user text is never a special token: "</s>" in a review ends nothing
        return [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]

    def _plain(self, texts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(
            texts,
            add_special_tokens=False,
            truncation=False,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            split_special_tokens=True,
            verbose=False,
        )["input_ids"]
        return ids


class UserDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Users as a torch data set: ``input_ids``, ``features`` and, for training, ``labels``.

    With ``dropout``, each access to a user leaves out this fraction of their phrases, drawn with torch's seed: the
    model sees many incomplete histories of the same user. At least one phrase remains. ``phrase_lengths`` are needed
    for it, and ``start``, the position of a user's first phrase.
    """

    def __init__(
        self,
        ids: Ragged,
        features: NDArray[np.float32],
        targets: NDArray[np.int64] | None = None,
        *,
        phrase_lengths: Ragged | None = None,
        start: int = 0,
        dropout: float = 0.0,
    ) -> None:
        self.ids, self.features, self.targets = ids, features, targets
        #: The states of all tokens after the frozen layers, ``(tokens, width)``, if they are kept.
        self.states: torch.Tensor | None = None
        self._phrase_lengths, self._start, self._dropout = phrase_lengths, start, dropout

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The targets of rows that are labelled."""
        assert self.targets is not None
        return self.targets

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Return one user."""
        ids = self._thinned(row) if self._dropout else self.ids[row]
        example: dict[str, Any] = {"input_ids": ids, "features": self.features[row]}
        if self.states is not None:
            example["states"] = self.states[self.ids.offsets[row] : self.ids.offsets[row + 1]]
        return example if self.targets is None else example | {"labels": self.targets[row]}

    def _thinned(self, row: int) -> NDArray[np.int32]:
        assert self._phrase_lengths is not None
        ids, start, lengths = self.ids[row], self._start, self._phrase_lengths[row]
        stay = (torch.rand(len(lengths)) >= self._dropout).numpy()
        if not stay.any():
            stay[:1] = True
        kept = np.ones(len(ids), bool)
        kept[start : start + int(lengths.sum())] = np.repeat(stay, lengths)
        return ids[kept]


def pack(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Collate users into a batch without padding, the longest first.

    Returns:
        ``features``, ``labels`` if given, ``input_ids`` ``(tokens,)``, ``runs`` (see
        :class:`segadmin_plugins.engines.packing.Packing`), and ``states`` ``(tokens, width)`` if they are kept.
    """
    rows = sorted(rows, key=lambda row: len(row["input_ids"]), reverse=True)
    texts = Ragged.from_rows([row["input_ids"] for row in rows])
    # The Trainer takes the length of the first tensor for the number of rows.
    batch: dict[str, Any] = {**_features_of(rows)}
    batch |= {"input_ids": torch.from_numpy(texts.values.astype(np.int64)), "runs": runs_of(texts)}
    return batch | {"states": torch.cat([row["states"] for row in rows])} if "states" in rows[0] else batch


@dataclass(frozen=True)
class PadCollator:
    """Collates users into a batch, padded on the right to the longest text."""

    pad_id: int
    multiple: int = 8

    def __call__(self, rows: Sequence[dict[str, Any]]) -> Batch:
        """Return ``input_ids`` and ``attention_mask`` ``(rows, tokens)``, ``features``, and ``labels`` if given.

        Labels are ``(rows,)`` or, of several tasks, ``(rows, tasks)``.
        """
        ids, mask = padded(Ragged.from_rows([row["input_ids"] for row in rows]), self.pad_id, self.multiple)
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask), **_features_of(rows)}


def _features_of(rows: Sequence[dict[str, Any]]) -> Batch:
    """Return ``features`` and, if given, ``labels``."""
    batch = {"features": np.stack([row["features"] for row in rows])}
    if "labels" in rows[0]:
        batch["labels"] = np.stack([row["labels"] for row in rows]).astype(np.int64)
    return {name: torch.from_numpy(array) for name, array in batch.items()}
