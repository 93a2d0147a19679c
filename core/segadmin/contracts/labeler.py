"""The contract of a labeler: how users get the labels that a model learns from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Labelled:
    """What a labeler returns."""

    #: ``user_key`` (Int64), ``segment`` (String), ``observed_from``, ``as_of``, ``outcome_until`` (Datetime, UTC):
    #: text may only come from ``observed_from <= at < as_of``; the label was known at ``outcome_until``.
    rows: pl.DataFrame
    segments: tuple[str, ...]  #: in their natural order
    definition: dict[str, Any]  #: thresholds and the like, as they were found; JSON only


class Labeler(ABC):
    """Derives labels from events. Subclass it as a frozen dataclass: its fields are its options."""

    name: ClassVar[str]

    @abstractmethod
    def label(self, events: pl.LazyFrame) -> Labelled:
        """Return the labelled users.

        Args:
            events: all events, in the columns of :data:`segadmin.storage.schema.EVENTS`, with the items' ``title``,
                ``category``, ``brand`` and ``item_extras`` (JSON).

        Raises:
            DataError: the events cannot carry these labels (too short a history, say).
        """

    def outcomes(self, events: pl.LazyFrame, definition: dict[str, Any], as_of: datetime) -> pl.DataFrame | None:
        """Return what became of users after ``as_of``, to hold an earlier prediction against.

        Args:
            events: all events, in the columns of :data:`segadmin.storage.schema.EVENTS`.
            definition: what :meth:`label` found; its thresholds decide, not new ones.
            as_of: the moment that the prediction was made from, UTC.

        Returns:
            ``user_key`` (Int64) and ``segment`` (String), or ``None``: not known yet, or never by this labeler.
        """
        return None
