"""The estimated cost of a job in sentences, for the terminal and for pages."""

from __future__ import annotations

from typing import Protocol

from segadmin_api.formatting import duration
from segadmin_api.sentences import Sentence, sentence

_MIB, _GIB = 2**20, 2**30
#: So many past jobs are named.
_NAMED = 5


class Spread(Protocol):
    """A median, and the least and the most."""

    @property
    def median(self) -> float:
        """The middle of what past jobs took."""

    @property
    def low(self) -> float:
        """The least."""

    @property
    def high(self) -> float:
        """The most."""


class Cost(Protocol):
    """An estimate, of this machine or of a server; see :class:`segadmin.jobs.estimate.Estimate`."""

    @property
    def kind(self) -> str:
        """The kind of the job."""

    @property
    def jobs(self) -> tuple[int, ...]:
        """The past jobs."""

    @property
    def likeness(self) -> str | None:
        """What they have in common with the job."""

    @property
    def seconds(self) -> Spread | None:
        """How long it takes."""

    @property
    def memory_bytes(self) -> Spread | None:
        """How much memory its largest step takes."""

    @property
    def growth(self) -> float | None:
        """Events now, as a multiple of those then."""


def memory(size: float) -> str:
    """Return an amount of memory, such as ``1.2 GiB`` or ``340 MiB``."""
    return f"{size / _GIB:.1f} GiB" if size >= _GIB else f"{size / _MIB:.0f} MiB"


def estimate_sentences(cost: Cost) -> list[Sentence]:
    """Return what a job will probably cost, and where that is known from."""
    if not cost.jobs:
        return [sentence("No past job of the kind %(kind)s has succeeded yet, so nothing is known.", kind=cost.kind)]
    lines: list[Sentence] = []
    if (seconds := cost.seconds) is not None:
        low, high = duration(seconds.low), duration(seconds.high)
        values = {"time": duration(seconds.median), "low": low, "high": high}
        lines.append(sentence("It takes about %(time)s (%(low)s to %(high)s).", **values))
    if (peak := cost.memory_bytes) is not None:
        values = {"memory": memory(peak.median), "low": memory(peak.low), "high": memory(peak.high)}
        lines.append(sentence("Its largest step takes about %(memory)s of memory (%(low)s to %(high)s).", **values))
    else:
        lines.append(sentence("The memory of such jobs was not measured yet."))
    return [*lines, _source(cost), *_growth(cost)]


def _source(cost: Cost) -> Sentence:
    numbers = ", ".join(map(str, cost.jobs[:_NAMED])) + (", …" if len(cost.jobs) > _NAMED else "")
    if cost.likeness == "options":
        return sentence("Past jobs with like options: %(jobs)s.", jobs=numbers)
    if cost.likeness == "backbone":
        return sentence("Past jobs with this backbone, but other options: %(jobs)s.", jobs=numbers)
    return sentence("Past jobs of this kind, but with other options: %(jobs)s.", jobs=numbers)


def _growth(cost: Cost) -> list[Sentence]:
    if cost.growth is None or 0.9 < cost.growth < 1.1:
        return []
    growth = f"{cost.growth:.2g}"
    return [sentence("There are %(growth)s times as many events now; what reads all users is scaled.", growth=growth)]
