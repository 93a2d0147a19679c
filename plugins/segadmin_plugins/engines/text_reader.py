"""Computes the logits of user texts with the fastest engine that agrees with the model."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from segadmin.contracts.backbone import no_progress
from segadmin.contracts.engine import Engine, Reader
from segadmin.contracts.plugins import describe, load_plugins
from segadmin.device_memory import is_device_failure, is_out_of_memory
from segadmin.errors import EngineUnavailable, PluginContractError
from segadmin.ragged import Ragged
from segadmin.settings import Settings
from segadmin_plugins.engines.plain import Plain
from segadmin_plugins.engines.smaller_batches import with_smaller_batches

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)
#: An engine is used if no probability differs by more from the model in float32 …
DIFFERENCE = 0.02
#: … and this fraction of texts is put into the same segment.
AGREEMENT = 0.998
#: Texts whose two best segments are closer than this many times the largest difference are read again in float32: a
#: probability that is off by no more than that difference cannot change the segment of the others.
_CLOSE = 2
#: Largest difference of a probability of an engine that counts as float32.
_EXACT = 1e-3
#: Engines are tried when at least this many texts are to be read, on one in eight of them within these bounds.
_TRIED_FROM = 768
_SAMPLE, _LARGEST_SAMPLE, _PART = 128, 512, 8
#: Texts of the check of the first engine, which is used before there are enough texts for a trial.
_PROBE = 8


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


class EngineFailed(Exception):
    """An engine failed while it read; the message begins with its name."""


class TextReader:
    """Computes the logits of texts with one model.

    The first engine is PyTorch on packed texts in float32, if it agrees with the model on a few texts. As soon as there
    are enough texts, all engines are compared on a sample of them, and the fastest that agrees is used from then on. If
    it fails later, the model itself reads all texts of that call and of later ones.
    """

    def __init__(self, text: Any, pad_id: int, settings: Settings) -> None:
        self._text, self._pad_id, self._settings = text, pad_id, settings
        self._device = next(text.parameters()).device.type
        self._plain = Plain().reader(text, pad_id, "float32")
        self._plain_tokens = Plain().tokens_at_once(text)
        self._reader, self._tokens = self._plain, self._plain_tokens
        self._exact, self._margin = self._plain, 0.0
        self._is_checked = self._is_tried = settings.engine == Plain.name
        self.inference = Inference(Plain.name, "float32", self._device)
        self.remark = ""  #: that memory is short

    def logits(self, texts: Ragged, progress: Callable[[float, str], None] = no_progress) -> NDArray[np.float32]:
        """Return the logits of every text, ``(texts, segments)``; equal texts are read once.

        Raises:
            OutOfMemory: not even one text fits in memory.
            PluginContractError: logits of the model itself are not finite.
        """
        first, position = texts.distinct()
        distinct = texts.take(first)
        self._choose(distinct)
        order = np.argsort(distinct.lengths, kind="stable")[::-1]  # if the longest fit in memory, all do
        longest_first = distinct.take(order)
        try:
            in_order = self._read_accurately(longest_first, progress)
        except EngineFailed as error:
            self._leave_aside(str(error))
            in_order = self._read_accurately(longest_first, progress)
        logits = np.empty_like(in_order)
        logits[order] = in_order
        return logits[position]

    def _leave_aside(self, reason: str) -> None:
        """Use the model itself from now on."""
        log.warning("an engine failed, the model itself is used: %s", reason, extra={"action": "engine"})
        left_aside = (*self.inference.left_aside, reason)
        self.inference = Inference(Plain.name, "float32", self._device, left_aside=left_aside)
        self._reader = self._exact = self._plain
        self._tokens, self._margin = self._plain_tokens, 0.0
        self._is_checked = self._is_tried = True

    def _read_accurately(self, texts: Ragged, progress: Callable[[float, str], None]) -> NDArray[np.float32]:
        """Return the logits of sorted texts; those that could change their segment are read again in float32."""
        logits = self._read_finite(texts, self._reader, progress)
        close = np.flatnonzero(_margins(logits) < self._margin)
        if len(close):
            logits[close] = self._read_finite(texts.take(close), self._exact)
        return logits

    def _read_finite(
        self, texts: Ragged, reader: Reader, progress: Callable[[float, str], None] = no_progress
    ) -> NDArray[np.float32]:
        """Return the logits of sorted texts; where they are not finite, those of the model itself."""
        logits = self._read(texts, reader, progress)
        rows = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        if len(rows) and reader is not self._plain:
            facts = {"action": "engine", "texts": len(rows)}
            log.warning("logits are not finite; these texts are read again in float32", extra=facts)
            logits[rows] = self._read(texts.take(rows), self._plain)
            rows = rows[~np.isfinite(logits[rows]).all(axis=1)]
        if len(rows):
            raise PluginContractError(
                f"The logits of {len(rows)} of {len(texts)} different texts are not finite in float32 either, so the "
                "model's weights cannot be used. Go back to an earlier version (segadmin models rollback) or train "
                "again (segadmin enqueue retrain)."
            )
        return logits

    def _read(
        self, texts: Ragged, reader: Reader, progress: Callable[[float, str], None] = no_progress
    ) -> NDArray[np.float32]:
        """Return the logits of texts that are sorted by length, the longest first."""
        logits, done, reported = np.empty((0, 0), np.float32), 0, time.monotonic()
        while done < len(texts):
            batch = self._read_batch(texts, reader, done)
            if not done:
                logits = np.empty((len(texts), batch.shape[1]), np.float32)
            logits[done : done + len(batch)] = batch
            done += len(batch)
            if time.monotonic() - reported > 1.0 or done == len(texts):
                reported = time.monotonic()
                progress(done / len(texts), f"{done} of {len(texts)} texts read{self.remark and f', {self.remark}'}")
        return logits

    def _read_batch(self, texts: Ragged, reader: Reader, done: int) -> NDArray[np.float32]:
        """Return the logits of the next texts, as many as fit in memory."""

        def read(tokens: int) -> NDArray[np.float32]:
            end = int(np.searchsorted(texts.offsets, texts.offsets[done] + tokens, side="right")) - 1
            end = min(max(end, done + 1), len(texts))
            return reader(texts.take(np.arange(done, end)))

        longest = int(texts.lengths[done])
        advice = "If nothing else needs the memory, train with shorter texts: --backbone-option max_tokens=64"
        asked = max(min(self._tokens, int(texts.offsets[-1] - texts.offsets[done])), longest)
        batch, tokens = with_smaller_batches(
            asked, read, lambda _tokens: None, what="reading", advice=advice, least=longest, unit="token"
        )
        if tokens < asked:
            self._tokens = tokens
            self.remark = f"{tokens} tokens at a time: {asked} do not fit in memory"
        return batch

    def _choose(self, texts: Ragged) -> None:
        """Choose the engine: a checked one at first, and the fastest once there are enough texts to compare them."""
        if not self._is_checked and len(texts):
            self._is_checked = True
            sample = texts.take(np.linspace(0, len(texts) - 1, min(_PROBE, len(texts))).astype(int))
            self._use_best([next(self._candidates())], sample, must_be_faster=False)
        if not self._is_tried and len(texts) >= _TRIED_FROM:
            self._is_tried = True
            sample = texts.take(
                np.linspace(0, len(texts) - 1, min(max(len(texts) // _PART, _SAMPLE), _LARGEST_SAMPLE)).astype(int)
            )
            self._use_best(list(self._candidates()), sample, must_be_faster=True)
            log.info("engine chosen", extra={"action": "engine", **self.inference.as_json()})

    def _candidates(self) -> Iterator[tuple[Engine, str]]:
        plugins = load_plugins(self._settings)
        names = plugins.names("engine") if self._settings.engine == "auto" else [self._settings.engine]
        # Our own first: it is the one that is used before there are enough texts to compare.
        for name in sorted(names, key=lambda name: name != "torch"):
            if name != Plain.name:
                engine: Engine = plugins.make("engine", name)
                yield from ((engine, precision) for precision in engine.precisions(self._device))

    def _use_best(self, candidates: list[tuple[Engine, str]], sample: Ragged, *, must_be_faster: bool) -> None:
        """Use the fastest candidate that agrees with the model on the ``sample``."""
        try:
            expected, seconds = self._timed(self._plain, self._plain_tokens, sample)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return  # nothing to compare with; the model itself is used, with fewer tokens at a time
        plain_seconds = exact_seconds = seconds
        left_aside: list[str] = []
        best: tuple[Reader, int, Inference] = (
            self._plain,
            self._plain_tokens,
            Inference(Plain.name, "float32", self._device),
        )
        seconds = seconds if must_be_faster else float("inf")
        for engine, precision in candidates:
            name = f"{engine.name} in {precision}"
            try:
                made, tokens = engine.reader(self._text, self._pad_id, precision), engine.tokens_at_once(self._text)
                reader = self._guarded(made, name)
                logits, taken = self._timed(reader, tokens, sample)
            except EngineUnavailable as error:
                left_aside.append(f"{name}: {error}")
                continue
            except EngineFailed as error:
                left_aside.append(str(error))
                continue
            except Exception as error:  # a runtime of others: whatever it raises, the model itself can be used
                if self._has_lost_device(error):
                    raise
                left_aside.append(f"{name}: {describe(error)}")
                continue
            comparison = compared(logits, expected)
            if comparison is None or comparison.agreement < AGREEMENT or comparison.difference > DIFFERENCE:
                left_aside.append(f"{name}: it differs from the model")
            elif (taken := taken + comparison.read_again * exact_seconds) >= seconds:
                left_aside.append(f"{name}: it is slower")
            else:
                seconds = taken
                facts = Inference(engine.name, precision, self._device, *comparison)
                best = reader, tokens, replace(facts, speedup=round(plain_seconds / taken, 2))
            is_exact = precision == "float32" and comparison is not None and comparison.difference < _EXACT
            if is_exact and taken < exact_seconds:
                self._exact, exact_seconds = reader, taken
        self._reader, self._tokens, inference_of_best = best
        self.inference = replace(inference_of_best, left_aside=tuple(left_aside))
        self._margin = 0.0 if self.inference.precision == "float32" else _CLOSE * (self.inference.difference or 0.0)

    def _guarded(self, reader: Reader, name: str) -> Reader:
        """Return ``reader``, which raises ``EngineFailed`` if it fails for other reasons than memory and the device."""

        def read(texts: Ragged) -> NDArray[np.float32]:
            try:
                logits = reader(texts)
            except Exception as error:  # a runtime of others: whatever it raises, the model itself can be used
                if is_out_of_memory(error) or self._has_lost_device(error):
                    raise
                reason = str(error) if isinstance(error, EngineUnavailable) else describe(error)
                raise EngineFailed(f"{name}: {reason}") from error
            expected = (len(texts), self._text.config.num_labels)
            if logits.shape != expected:
                raise EngineFailed(f"{name}: it returned the shape {logits.shape}, not {expected}")
            return logits

        return read

    def _has_lost_device(self, error: Exception) -> bool:
        """Whether the model itself cannot be used any more: its GPU failed."""
        return self._device != "cpu" and is_device_failure(error)

    def _timed(self, reader: Reader, tokens: int, sample: Ragged) -> tuple[NDArray[np.float32], float]:
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
    close = _margins(logits) < _CLOSE * difference
    agrees = (logits.argmax(axis=1) == expected.argmax(axis=1)) | close
    return Comparison(round(float(agrees.mean()), 5), round(difference, 6), round(float(close.mean()), 5))


def _margins(logits: NDArray[np.float32]) -> NDArray[np.float32]:
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
