"""How labelled users are split, and what the parts are called."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

#: Share of the users held out for validation; where users are kept apart, as many again test.
HELD_OUT = 0.15


class SplitBy(StrEnum):
    """What keeps test rows apart from training rows."""

    TIME = "time"
    USER = "user"


class Part(StrEnum):
    """A part of the split."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    LEARNT = "learnt"  #: already learnt by the version that a fit begins as
    PURGED = "purged"  #: known too late to learn from


@dataclass(frozen=True)
class SplitOptions:
    """How labelled rows are split."""

    by: SplitBy = SplitBy.TIME
    seed: int = 17  #: of the choice of users
    held_out: float = HELD_OUT
    replay: float = 0.2  #: share of what the version that a fit begins as has learnt that it is shown again
