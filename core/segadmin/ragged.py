"""Rows of different length in one flat array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Ragged:
    """Rows of different length: row ``n`` is ``values[offsets[n]:offsets[n + 1]]``."""

    values: NDArray[Any]
    offsets: NDArray[np.int64]  #: ``(rows + 1,)``, from 0

    @classmethod
    def of(cls, values: NDArray[Any], lengths: NDArray[np.int64]) -> Ragged:
        """Return the rows of these ``lengths``."""
        return cls(values, offsets_of(lengths))

    @classmethod
    def from_rows(cls, rows: Sequence[Sequence[int] | NDArray[Any]], dtype: type[np.generic] = np.int32) -> Ragged:
        """Return these rows."""
        flat = np.concatenate([np.asarray(row, dtype) for row in rows]) if rows else np.empty(0, dtype)
        return cls.of(flat, np.array([len(row) for row in rows], np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> NDArray[Any]:
        """Return a row, as a view."""
        if row < 0:
            row += len(self)
        if not 0 <= row < len(self):
            raise IndexError(row)
        view: NDArray[Any] = self.values[self.offsets[row] : self.offsets[row + 1]]
        return view

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[row] for row in range(len(self)))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The length of each row."""
        return np.diff(self.offsets)

    def take(self, rows: NDArray[np.integer[Any]]) -> Ragged:
        """Return the chosen rows, in their order."""
        return Ragged.of(*gathered(self.values, self.offsets[:-1][rows], self.lengths[rows]))

    def distinct(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the number of the first of each kind of equal rows, and for each row the position in these numbers."""
        if not len(self):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        hashes = np.stack([_row_hashes(self, seed) for seed in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)], axis=1)
        keys = np.ascontiguousarray(hashes).view("V16").ravel()
        _, first, position = np.unique(keys, return_index=True, return_inverse=True)
        twins = self.take(first[position])
        if not (np.array_equal(twins.offsets, self.offsets) and np.array_equal(twins.values, self.values)):
            return np.arange(len(self)), np.arange(len(self))  # two rows have the same hashes, which never happens
        return first, position.ravel()


def offsets_of(lengths: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return where rows of these lengths begin and end in a flat array, ``(rows + 1,)``."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def gathered(
    values: NDArray[Any], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the concatenated slices of ``values`` that begin at ``starts``, and their ``lengths``."""
    shifts = starts - offsets_of(lengths)[:-1]
    positions = np.repeat(shifts, lengths)
    positions += np.arange(len(positions))
    return values[positions], lengths


def _row_hashes(rows: Ragged, seed: int) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each row: of its length, and of each value at its position."""
    with np.errstate(over="ignore"):
        place = np.arange(len(rows.values), dtype=np.uint64) - np.repeat(
            rows.offsets[:-1].astype(np.uint64), rows.lengths
        )
        mixed = (rows.values.astype(np.uint64) + np.uint64(1)) * np.uint64(seed)
        mixed ^= (place + np.uint64(seed >> 7)) * np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(32)
        sums = np.concatenate([[np.uint64(0)], np.cumsum(mixed, dtype=np.uint64)])
        hashes: NDArray[np.uint64] = sums[rows.offsets[1:]] - sums[rows.offsets[:-1]] + rows.lengths.astype(np.uint64)
    return hashes
