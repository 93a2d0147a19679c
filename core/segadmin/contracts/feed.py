"""The contract of a feed: brings the records of who entered, left or moved between segments to a receiver."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class FeedBatch:
    """Records that are delivered together, all of one change of the current snapshot.

    A record has ``label_set``, ``snapshot_id``, ``sequence``, ``position``, ``user`` (the pseudonym, 16 hex digits),
    ``change`` (``entered``, ``left`` or ``moved``), ``from_segment``, ``to_segment``, ``cause`` and ``as_of`` (ISO
    8601); JSON only. A batch that is delivered again has the same ``delivery``, without the users who were erased
    since.
    """

    feed: str  #: the name under which the feed was added
    sequence: int  #: of all its records: the number of the change of the current snapshot
    position: int  #: at which the batch begins; the first record may have a later one
    records: Sequence[Mapping[str, Any]]  #: by ascending ``position``; at least one

    @property
    def delivery(self) -> str:
        """Identifies the batch, so that a receiver can recognise one that comes again."""
        return f"{self.feed}-{self.sequence}-{self.position}"


class Feed(ABC):
    """A receiver of the feed. Subclass it as a frozen dataclass: its fields are its options.

    Batches come in order. One is delivered again, after a wait, until :meth:`deliver` returned; so it may have been
    received before, and must not be added twice.
    """

    name: ClassVar[str]  #: the kind that ``segadmin feeds add`` takes

    def check(self) -> None:  # noqa: B027  (optional)
        """Check the options when the feed is added, without the receiver; by default nothing.

        Raises:
            ConfigurationError: an option cannot be used.
        """

    def received(self, feed: str) -> tuple[int, int] | None:
        """Return sequence and position of the last record that the receiver has of ``feed``.

        It is asked before a delivery. A receiver that has lost its latest records, as after a crash, gets them again.
        By default ``None``: not known.

        Raises:
            FeedUnavailable: the receiver does not answer.
        """
        return None

    @abstractmethod
    def deliver(self, batch: FeedBatch) -> None:
        """Deliver ``batch``; return once the receiver has stored it.

        Raises:
            FeedUnavailable: the receiver did not take it; it is delivered again later.
        """
