"""Batches for pretraining: texts of which some tokens are hidden, and what the model is to predict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch

from segadmin.contracts.backbone import Pretraining
from segadmin.ragged import Ragged
from segadmin.text.tokens import Encoded
from segadmin_plugins.backbones.transformer.batches import PhraseEncoder
from segadmin_plugins.engines.packing import runs_of
from segadmin_plugins.engines.plain import padded

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: ``masked`` tokens for encoders, the ``next token`` for decoders, and the whole text from one with masked tokens
#: (``denoising``) for encoder-decoders.
Objective = Literal["masked", "denoising", "next token"]
IGNORED = -100  #: ignored by cross-entropy
#: Fractions of the hidden tokens shown as the mask and as a random token; the rest is unchanged (Devlin et al. 2019).
_MASKED, _RANDOM = 0.8, 0.1


class TextDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Texts with the positions of their phrases."""

    def __init__(self, texts: Encoded, start: int) -> None:
        self.texts, self._start = texts, start

    def __len__(self) -> int:
        return len(self.texts.ids)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"input_ids": self.texts.ids[row], "span": (self._start, self.texts.phrase_lengths[row])}


class MaskedText(NamedTuple):
    """A text as the model reads it, and the ids of the tokens that it is to predict."""

    shown: NDArray[np.int32]
    labels: NDArray[np.int32]  #: at every position the id, or :data:`IGNORED`


class MaskingCollator:
    """Masks some tokens of texts and collates them into a batch."""

    def __init__(self, encoder: PhraseEncoder, vocabulary: int, how: Pretraining, objective: Objective) -> None:
        self._encoder, self._vocabulary, self._how, self._objective = encoder, vocabulary, how, objective
        self.packs = False  #: whether batches are packed

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return a batch of texts of a :class:`TextDataset`."""
        return self.batch([self.masked(row) for row in rows])

    def masked(self, row: dict[str, Any]) -> MaskedText:
        """Return a text with some of its tokens masked. Torch's seed makes the choice reproducible."""
        ids = row["input_ids"]
        if self._objective == "next token":
            return MaskedText(ids, ids)
        hidden = self._hidden(len(ids), *row["span"])
        labels = ids if self._objective == "denoising" else np.where(hidden, ids, IGNORED)
        return MaskedText(self._covered(ids, hidden), labels)

    def batch(self, texts: Sequence[MaskedText]) -> dict[str, Any]:
        """Return the batch of these texts: packed with :attr:`packs`, otherwise padded."""
        return self.packed(texts) if self.packs else self.padded(texts)

    def padded(self, texts: Sequence[MaskedText]) -> dict[str, torch.Tensor]:
        """Return ``input_ids``, ``attention_mask`` and ``labels``, ``(texts, tokens)``."""
        ids, mask = padded(Ragged.from_rows([text.shown for text in texts]), self._encoder.pad_id, multiple=1)
        labels, _ = padded(Ragged.from_rows([text.labels for text in texts]), IGNORED, multiple=1)
        batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        return {name: torch.from_numpy(array) for name, array in batch.items()}

    def packed(self, texts: Sequence[MaskedText]) -> dict[str, Any]:
        """Return the texts without padding, the longest first.

        Returns:
            ``input_ids`` ``(tokens,)``, ``runs`` (see :class:`segadmin_plugins.engines.packing.Packing`), the positions
            ``predicting`` something among them, and the ``labels`` that these are to predict, ``(predictions,)``.
        """
        texts = sorted(texts, key=lambda text: len(text.shown), reverse=True)
        shown = Ragged.from_rows([text.shown for text in texts])
        labels = np.concatenate([self.predicted(text.labels) for text in texts]).astype(np.int64)
        predicting = np.flatnonzero(labels != IGNORED)
        arrays = {"labels": labels[predicting], "predicting": predicting, "input_ids": shown.values.astype(np.int64)}
        return {name: torch.from_numpy(array) for name, array in arrays.items()} | {"runs": runs_of(shown)}

    def predicted(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Return what each position predicts, ``(..., tokens)``: the id that is hidden there, or that of the next."""
        if self._objective != "next token":
            return labels
        return np.concatenate([labels[..., 1:], np.full_like(labels[..., :1], IGNORED)], axis=-1)

    def _hidden(self, length: int, start: int, lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which tokens are hidden, at least one."""
        units = len(lengths) if self._how.whole_phrases else int(lengths.sum())
        chosen = torch.rand(units).numpy() < self._how.mask
        if units and not chosen.any():
            chosen[int(torch.randint(units, (1,)))] = True
        inside = np.repeat(chosen, lengths) if self._how.whole_phrases else chosen
        hidden = np.zeros(length, bool)
        hidden[start : start + len(inside)] = inside[: max(length - start, 0)]
        return hidden

    def _covered(self, ids: NDArray[np.int32], hidden: NDArray[np.bool_]) -> NDArray[np.int32]:
        drawn = torch.rand(len(ids)).numpy()
        random = torch.randint(self._vocabulary, (len(ids),)).numpy()
        covered = np.where(hidden & (drawn < _MASKED), self._encoder.tokenizer.mask_token_id, ids)
        shown: NDArray[np.int32] = np.where(hidden & (drawn >= _MASKED) & (drawn < _MASKED + _RANDOM), random, covered)
        return shown
