"""The contract of a labeler: derives the labels that a model is trained on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Labelled:
    """The labels that a labeler returns."""

    #: ``user_key`` (Int64), ``segment`` (String), ``observed_from``, ``as_of``, ``outcome_until`` (Datetime, UTC):
    #: text uses only events with ``observed_from <= at < as_of``; the label was known at ``outcome_until``.
    rows: pl.DataFrame
    segments: tuple[str, ...]  #: in their natural order
    definition: dict[str, Any]  #: thresholds and other values found in the data; JSON only


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
            DataError: the labels cannot be derived from these events (for example, the history is too short).
        """

    def outcomes(self, events: pl.LazyFrame, definition: dict[str, Any], as_of: datetime) -> pl.DataFrame | None:
        """Return the segments that users turned out to be in after ``as_of``, to evaluate an earlier prediction.

        Args:
            events: all events, in the columns of :data:`segadmin.storage.schema.EVENTS`.
            definition: the definition that :meth:`label` returned; its thresholds are used, not new ones.
            as_of: the cut-off of the prediction, UTC.

        Returns:
            ``user_key`` (Int64) and ``segment`` (String); ``None`` if the outcomes are not known yet, or if this
            labeler cannot derive them.
        """
        return None
