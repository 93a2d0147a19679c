"""Texts packed one behind another in one row of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from segadmin.ragged import Ragged, offsets_of

#: The padded length of texts is a multiple of it, as the attention of a GPU wants its mask.
_MULTIPLE = 8
#: The texts of each length: their first token, their number, their length.
Runs = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Packing:
    """Texts in one row of tokens, sorted by length."""

    ids: Tensor  #: int64, ``(1, tokens)``
    positions: Tensor  #: int64, ``(1, tokens)``: the position of each token in its text, from 0
    offsets: Tensor  #: int32, ``(texts + 1,)``: where the texts begin and end
    longest: int  #: tokens of the longest text
    runs: Runs

    @classmethod
    def of(cls, texts: Ragged, device: torch.device | str = "cpu") -> Packing:
        """Return ``texts``, which are sorted by length, packed on ``device``."""
        ids = torch.from_numpy(texts.values.astype(np.int64))
        return cls.of_runs(ids.to(device, non_blocking=True), runs_of(texts))

    @classmethod
    def of_runs(cls, ids: Tensor, runs: Runs) -> Packing:
        """Return the texts of ``ids``, ``(tokens,)``, which are where ``runs`` says."""
        counts, lengths = (np.array([run[part] for run in runs], np.int64) for part in (1, 2))
        each = np.repeat(lengths, counts)
        offsets = offsets_of(each)
        positions = np.arange(offsets[-1]) - np.repeat(offsets[:-1], each)
        return cls(
            ids[None],
            torch.from_numpy(positions)[None].to(ids.device, non_blocking=True),
            torch.from_numpy(offsets.astype(np.int32)).to(ids.device, non_blocking=True),
            int(lengths.max()),
            runs,
        )

    @cached_property
    def room(self) -> int:
        """The length of all texts if they are padded."""
        return -(-self.longest // _MULTIPLE) * _MULTIPLE

    @cached_property
    def places(self) -> Tensor:
        """int64, ``(tokens,)``: where each token is among ``texts * room`` padded ones."""
        rows = torch.arange(len(self.offsets) - 1, device=self.offsets.device)
        rows = rows.repeat_interleave(self.offsets.diff(), output_size=self.positions.shape[1])
        return rows * self.room + self.positions[0]

    @cached_property
    def has_token(self) -> Tensor:
        """bool, ``(texts, room)``: of padded texts, where they have a token."""
        return torch.arange(self.room, device=self.offsets.device) < self.offsets.diff()[:, None]

    @property
    def firsts(self) -> Tensor:
        """The position of the first token of each text."""
        return self.offsets[:-1].long()

    @property
    def lasts(self) -> Tensor:
        """The position of the last token of each text."""
        return self.offsets[1:].long() - 1


def runs_of(texts: Ragged) -> Runs:
    """Return the runs of texts of equal length; ``texts`` are sorted by length."""
    lengths = texts.lengths
    firsts = np.concatenate([[0], np.flatnonzero(np.diff(lengths)) + 1])
    counts = np.diff(np.append(firsts, len(lengths)))
    return tuple(zip(texts.offsets[firsts].tolist(), counts.tolist(), lengths[firsts].tolist(), strict=True))
