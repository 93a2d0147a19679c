"""Computes the logits of user texts with the fastest engine that agrees with the model."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from segadmin.contracts.backbone import no_progress
from segadmin.contracts.engine import Engine, Reader
from segadmin.contracts.plugins import load_plugins
from segadmin.device_memory import is_out_of_memory
from segadmin.errors import PluginContractError
from segadmin.ragged import Ragged
from segadmin.settings import Settings
from segadmin_plugins.engines.plain import Plain
from segadmin_plugins.engines.smaller_batches import with_smaller_batches
from segadmin_plugins.engines.trial import CLOSE, EngineFailed, Inference, Trial, margins_of, unchanged

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)
#: Engines are tried when at least this many texts are to be read, on one in eight of them within these bounds.
_TRIED_FROM = 768
_SAMPLE, _LARGEST_SAMPLE, _PART = 128, 512, 8
#: The engine without a conversion, which is always compared.
_OURS = "torch"
#: Another engine is tried as soon as the trial so far took less than this fraction of the time of reading.
_SHARE = 0.1
#: Texts of the check of the first engine, which is used before there are enough texts for a trial.
_PROBE = 8


class _Choice(NamedTuple):
    """How texts are read."""

    read: Reader
    exact: Reader  #: in float32, for texts whose two best segments are closer than the margin
    margin: float


class TextReader:
    """Computes the logits of texts with one model.

    The first engine is PyTorch on packed texts in float32, if it agrees with the model on a few texts. As soon as there
    are enough texts, all engines are compared on a sample of them, and the fastest that agrees is used from then on. If
    it fails later, the model itself reads all texts of that call and of later ones.

    Several threads may read; while one of them compares engines, the others go on with the engine before.
    """

    def __init__(
        self, text: Any, pad_id: int, settings: Settings, compared: Callable[..., NDArray[np.float32]] = unchanged
    ) -> None:
        """Read with ``text``; ``compared`` makes the logits that engines are compared by of what it returns."""
        self._text, self._pad_id, self._settings, self._compared = text, pad_id, settings, compared
        self._device = next(text.parameters()).device.type
        self._plain = Plain().reader(text, pad_id, "float32")
        self._plain_tokens = Plain().tokens_at_once(text)
        self._choice = _Choice(self._plain, self._plain, 0.0)
        self._tokens = self._plain_tokens
        self._choosing = threading.Lock()
        self._is_checked = self._is_tried = settings.engine == Plain.name
        self._trial: Trial | None = None  # one that is not over
        self._seconds = 0.0  # of reading until now
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
        if self._choosing.acquire(blocking=False):
            try:
                self._choose(distinct)
            finally:
                self._choosing.release()
        order = np.argsort(distinct.lengths, kind="stable")[::-1]  # if the longest fit in memory, all do
        longest_first = distinct.take(order)
        began = time.monotonic()
        try:
            in_order = self._read_accurately(longest_first, progress)
        except EngineFailed as error:
            self._leave_aside(str(error))
            in_order = self._read_accurately(longest_first, progress)
        self._seconds += time.monotonic() - began
        logits = np.empty_like(in_order)
        logits[order] = in_order
        return logits[position]

    def _leave_aside(self, reason: str) -> None:
        """Use the model itself from now on."""
        log.warning("an engine failed, the model itself is used: %s", reason, extra={"action": "engine"})
        left_aside = (*self.inference.left_aside, reason)
        self.inference = Inference(Plain.name, "float32", self._device, left_aside=left_aside)
        self._choice = _Choice(self._plain, self._plain, 0.0)
        self._tokens = self._plain_tokens
        self._is_checked = self._is_tried = True
        self._trial = None

    def _read_accurately(self, texts: Ragged, progress: Callable[[float, str], None]) -> NDArray[np.float32]:
        """Return the logits of sorted texts; those that could change their segment are read again in float32."""
        choice = self._choice
        logits = self._read_finite(texts, choice.read, progress)
        close = np.flatnonzero(margins_of(self._compared(logits)) < choice.margin)
        if len(close):
            logits[close] = self._read_finite(texts.take(close), choice.exact)
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
            first = itertools.islice(self._candidates(), 1)
            if (trial := self._begin(first, _spread(texts, _PROBE), must_be_faster=False)) is not None:
                self._try(trial, texts)
        if not self._is_tried and len(texts) >= _TRIED_FROM:
            if self._trial is None:
                sample = _spread(texts, min(max(len(texts) // _PART, _SAMPLE), _LARGEST_SAMPLE))
                self._trial = self._begin(self._candidates(), sample)
            if self._trial is None or not self._try(self._trial, texts):
                self._is_tried, self._trial = True, None

    def _begin(
        self, candidates: Iterable[tuple[Engine, str]], sample: Ragged, *, must_be_faster: bool = True
    ) -> Trial | None:
        """Return a trial; ``None`` if the sample does not fit in memory: there is nothing to compare with then."""
        try:
            return Trial(
                self._text,
                self._pad_id,
                self._device,
                self._plain,
                candidates=candidates,
                sample=sample,
                must_be_faster=must_be_faster,
                compared_by=self._compared,
            )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _try(self, trial: Trial, texts: Ragged) -> bool:
        """Try as many engines as are worth it, use the best, and return whether some are left for later."""
        count = len(trial.candidates)
        while trial.candidates and self._is_worthwhile(trial, texts):
            trial.try_next()
        later = [f"{engine.name} in {precision}: too few texts to try it" for engine, precision in trial.candidates]
        read, self._tokens, inference = trial.best
        self.inference = replace(inference, left_aside=(*trial.left_aside, *later))
        margin = 0.0 if inference.precision == "float32" else CLOSE * (inference.difference or 0.0)
        self._choice = _Choice(read, trial.exact, margin)
        if len(trial.candidates) < count:
            facts = {"action": "engine", "seconds": round(trial.spent, 1), **self.inference.as_json()}
            log.info("engine chosen", extra=facts)
        return bool(trial.candidates)

    def _is_worthwhile(self, trial: Trial, texts: Ragged) -> bool:
        """Whether to try the next engine: ours, the one that was asked for, or if the trial has been short so far."""
        is_ours = trial.candidates[0][0].name == _OURS
        longest = _SHARE * (self._seconds + trial.seconds_for(texts))
        return is_ours or self._settings.engine != "auto" or trial.spent < longest

    def _candidates(self) -> Iterator[tuple[Engine, str]]:
        plugins = load_plugins(self._settings)
        is_named = self._settings.engine != "auto"
        names = [self._settings.engine] if is_named else plugins.names("engine")
        # Our own first: it is the one that is used before there are enough texts to compare.
        for name in sorted(names, key=lambda name: name != _OURS):
            if name != Plain.name:
                engine: Engine = plugins.make("engine", name)
                precisions = engine.precisions(self._device)
                # An engine that was asked for says itself why it cannot be used.
                yield from ((engine, precision) for precision in precisions or ("float32",) * is_named)


def _spread(texts: Ragged, most: int) -> Ragged:
    """Return at most so many texts from everywhere."""
    return texts.take(np.linspace(0, len(texts) - 1, min(most, len(texts))).astype(int))
