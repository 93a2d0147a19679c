"""Comparing engines with the model itself, to use the fastest that agrees."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from segadmin.contracts.engine import Engine, Reader
from segadmin.contracts.plugin_errors import describe
from segadmin.device_memory import is_device_failure, is_out_of_memory
from segadmin.errors import EngineUnavailable
from segadmin.ragged import Ragged
from segadmin_plugins.engines.plain import Plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: An engine is used if no probability differs by more from the model in float32 …
DIFFERENCE = 0.02
#: … and this fraction of texts is put into the same segment.
AGREEMENT = 0.998
#: Texts whose two best segments are closer than this many times the largest difference are read again in float32: a
#: probability that is off by no more than that difference cannot change the segment of the others.
CLOSE = 2
#: Largest difference of a probability of an engine that counts as float32.
_EXACT = 1e-3


@dataclass(frozen=True)
class Inference:
    """How logits are computed, and how well that agrees with the model in float32."""

    engine: str
    precision: str
    device: str
    agreement: float | None = None  #: fraction of the texts of the trial with the same segment
    difference: float | None = None  #: largest difference of a probability in the trial
    read_again: float | None = None  #: fraction of the texts of the trial that were read again in float32
    speedup: float | None = None  #: texts per second in the trial, relative to transformers in float32
    left_aside: tuple[str, ...] = ()  #: why other engines are not used

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {name: value for name, value in asdict(self).items() if value not in (None, ())}


def unchanged(outputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``outputs`` themselves: all of them are logits of segments."""
    return outputs


class EngineFailed(Exception):
    """An engine failed while it read; the message begins with its name."""


class Chosen(NamedTuple):
    """How texts are read."""

    read: Reader
    tokens: int  #: at once
    inference: Inference


class Trial:
    """Compares engines with the model on a sample of texts, one after the other, and keeps the fastest that agrees."""

    def __init__(
        self,
        text: Any,
        pad_id: int,
        device: str,
        plain: Reader,
        *,
        candidates: Iterable[tuple[Engine, str]],
        sample: Ragged,
        must_be_faster: bool = True,
        compared_by: Callable[[NDArray[np.float32]], NDArray[np.float32]] = unchanged,
    ) -> None:
        """Read the ``sample`` with the model itself.

        Args:
            text: the model.
            pad_id: the id to pad with.
            device: ``cpu`` or ``cuda``.
            plain: reads with the model itself.
            candidates: engines and precisions, in the order in which they are to be tried.
            sample: the texts.
            must_be_faster: whether engines that are slower than the model itself are left aside.
            compared_by: makes the logits that are compared of what the model returns.
        """
        began = time.monotonic()
        self.candidates = list(candidates)  #: those that were not tried yet
        self._text, self._pad_id, self._sample = text, pad_id, sample
        self._device, self._compared_by, tokens = device, compared_by, Plain().tokens_at_once(text)
        self._expected, self._plain_seconds = timed(plain, tokens, sample)
        self._seconds = self._plain_seconds if must_be_faster else float("inf")
        self.best = Chosen(plain, tokens, Inference(Plain.name, "float32", device))
        self.exact, self._exact_seconds = plain, self._plain_seconds  #: the fastest that counts as float32
        self.left_aside: list[str] = []
        self.spent = time.monotonic() - began  #: seconds until now

    def seconds_for(self, texts: Ragged) -> float:
        """Return how long the best so far takes for ``texts``."""
        return self._seconds * len(texts.values) / len(self._sample.values)

    def try_next(self) -> None:
        """Try the next candidate: convert the model, read the sample, and compare.

        Raises:
            RuntimeError: the GPU failed.
        """
        began = time.monotonic()
        engine, precision = self.candidates.pop(0)
        name = f"{engine.name} in {precision}"
        try:
            self._try(engine, precision, name)
        except EngineUnavailable as error:
            self.left_aside.append(f"{name}: {error}")
        except EngineFailed as error:
            self.left_aside.append(str(error))
        except Exception as error:  # a runtime of others: whatever it raises, the model itself can be used
            if has_lost_device(self._device, error):
                raise
            self.left_aside.append(f"{name}: {describe(error)}")
        self.spent += time.monotonic() - began

    def _try(self, engine: Engine, precision: str, name: str) -> None:
        segments = self._expected.shape[1]
        read = guarded(engine.reader(self._text, self._pad_id, precision), name, segments, self._device)
        tokens = engine.tokens_at_once(self._text)
        logits, seconds = timed(read, tokens, self._sample)
        comparison = compared(self._compared_by(logits), self._compared_by(self._expected))
        if comparison is None or comparison.agreement < AGREEMENT or comparison.difference > DIFFERENCE:
            self.left_aside.append(f"{name}: it differs from the model")
            return
        if precision == "float32" and comparison.difference < _EXACT and seconds < self._exact_seconds:
            self.exact, self._exact_seconds = read, seconds
        seconds += comparison.read_again * self._exact_seconds
        if seconds >= self._seconds:
            self.left_aside.append(f"{name}: it is slower")
            return
        self._seconds = seconds
        facts = Inference(engine.name, precision, self._device, *comparison)
        self.best = Chosen(read, tokens, replace(facts, speedup=round(self._plain_seconds / seconds, 2)))


def guarded(reader: Reader, name: str, segments: int, device: str) -> Reader:
    """Return ``reader``, which raises ``EngineFailed`` if it fails for other reasons than memory and the device."""

    def read(texts: Ragged) -> NDArray[np.float32]:
        try:
            logits = reader(texts)
        except Exception as error:  # a runtime of others: whatever it raises, the model itself can be used
            if is_out_of_memory(error) or has_lost_device(device, error):
                raise
            reason = str(error) if isinstance(error, EngineUnavailable) else describe(error)
            raise EngineFailed(f"{name}: {reason}") from error
        expected = (len(texts), segments)
        if logits.shape != expected:
            raise EngineFailed(f"{name}: it returned the shape {logits.shape}, not {expected}")
        return logits

    return read


def has_lost_device(device: str, error: Exception) -> bool:
    """Whether the model itself, which is on ``device``, cannot be used any more: its GPU failed."""
    return device != "cpu" and is_device_failure(error)


def timed(reader: Reader, tokens: int, sample: Ragged) -> tuple[NDArray[np.float32], float]:
    """Return the logits of ``sample`` and the seconds that they took, without those of a first batch."""
    by_length = np.argsort(sample.lengths, kind="stable")[::-1]
    texts = sample.take(by_length)
    ends = texts.offsets[1:]
    pieces = np.split(np.arange(len(texts)), np.flatnonzero(np.diff(ends // tokens)) + 1)
    reader(texts.take(pieces[-1]))
    began = time.perf_counter()
    logits = np.concatenate([reader(texts.take(piece)) for piece in pieces])
    seconds = time.perf_counter() - began
    back = np.empty_like(by_length)
    back[by_length] = np.arange(len(by_length))
    return logits[back] if len(logits) == len(back) else logits, seconds


class Comparison(NamedTuple):
    """How the logits of an engine compare with those of the model."""

    agreement: float  #: fraction of the texts with the same segment, after close ones were read again
    difference: float  #: largest difference of a probability
    read_again: float  #: fraction of the texts that are too close


def compared(logits: NDArray[np.float32], expected: NDArray[np.float32]) -> Comparison | None:
    """Compare logits of the same texts, ``(texts, segments)``.

    ``None`` if they cannot be compared: other shapes, or numbers that are not finite.
    """
    if logits.shape != expected.shape or not np.isfinite(logits).all() or not np.isfinite(expected).all():
        return None
    difference = float(np.abs(_softmax(logits) - _softmax(expected)).max())
    close = margins_of(logits) < CLOSE * difference
    agrees = (logits.argmax(axis=1) == expected.argmax(axis=1)) | close
    return Comparison(round(float(agrees.mean()), 5), round(difference, 6), round(float(close.mean()), 5))


def margins_of(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return by how much the most probable segment of each text is more probable than the next."""
    if logits.shape[1] < 2:
        return np.ones(len(logits), np.float32)
    best = np.partition(_softmax(logits), -2, axis=1)
    margins: NDArray[np.float32] = best[:, -1] - best[:, -2]
    return margins


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers: NDArray[np.float32] = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
    return probabilities
