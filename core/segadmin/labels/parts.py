"""Options of the split of labelled users, and the names of its parts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

#: Fraction of the users held out for validation; in a split by user, the same fraction is held out for testing.
HELD_OUT = 0.15


class SplitBy(StrEnum):
    """What separates test rows from training rows."""

    TIME = "time"
    USER = "user"


class Part(StrEnum):
    """A part of the split."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    LEARNT = "learnt"  #: already in the training rows of the parent version
    PURGED = "purged"  #: the label was known too late for training
    CORRECTED = "corrected"  #: training rows of users whom people corrected
    DUPLICATE = "duplicate"  #: another part has the same text of another user


@dataclass(frozen=True)
class EqualTexts:
    """How many texts several users have, and what the split did about them."""

    texts: int  #: texts that several users have, without common ones
    rows: int  #: rows with such a text
    left_out: int  #: of these, rows that were left out because another part has the text
    common_texts: int  #: texts of so many users that they are split like any others
    common_rows: int
    repeated: int  #: test rows whose text a training row of another user has; common ones do not count


@dataclass(frozen=True)
class SplitOptions:
    """How labelled rows are split."""

    by: SplitBy = SplitBy.TIME
    seed: int = 17  #: of the random choice of users
    held_out: float = HELD_OUT
    replay: float = 0.2  #: fraction of the parent version's training rows to train on again
