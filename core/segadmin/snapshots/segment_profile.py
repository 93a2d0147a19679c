"""What distinguishes the users of a segment: what they are worth, what they buy and when, with 95 % intervals.

It is computed by :mod:`segadmin.snapshots.profile_estimates`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict

#: Names of each kind that stand out in a segment, which are kept of all segments.
TOP = 6


class Estimate(BaseModel):
    """A value with its 95 % interval; no bounds with too few users."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float | None = None
    high: float | None = None


class Lift(BaseModel):
    """How much more of its events a segment has of one thing than everybody."""

    model_config = ConfigDict(frozen=True)

    name: str  #: an item, a category, a brand, or an hour of the day (UTC)
    title: str = ""  #: of an item, if it is known
    users: int  #: of the segment who have such events
    share: float  #: of the segment's events
    overall: float  #: the same of everybody's
    lift: Estimate  #: ``share`` divided by ``overall``

    @property
    def stands_out(self) -> bool:
        """Whether the segment certainly has more of it than everybody."""
        return self.lift.low is not None and self.lift.low > 1


class SegmentProfile(BaseModel):
    """A segment against all users, as of when it was computed."""

    model_config = ConfigDict(frozen=True)

    observed_from: datetime
    as_of: datetime
    kind: str  #: of the events that are compared: ``purchase``, or ``event`` if nobody bought anything
    users: int
    buyers: int
    spend: Estimate | None  #: per user; ``None``: no purchase has an amount
    purchases: Estimate  #: per user
    revenue: Estimate | None  #: share of everybody's
    items: tuple[Lift, ...]
    categories: tuple[Lift, ...]
    brands: tuple[Lift, ...]
    hours: tuple[Lift, ...]  #: those with events, from 0 to 23 o'clock UTC

    def distinctive(self, kind: str, most: int = TOP) -> list[Lift]:
        """Return the ``items``, ``categories`` or ``brands`` that stand out, the most certain first."""
        lifts: Sequence[Lift] = getattr(self, kind)
        chosen = [lift for lift in lifts if lift.stands_out]
        return sorted(chosen, key=lambda lift: (-(lift.lift.low or 0.0), lift.name))[:most]
