"""Why users are scored, and how often those without new events are read again."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum


class Cause(StrEnum):
    """Why a user was scored; of several causes the first applies."""

    NEW = "new user"
    CORRECTION = "correction"  #: a person set the user's segment
    CORRECTION_ENDED = "correction ended"  #: it was withdrawn, or it expired
    DEFINITION = "another definition"  #: the model was trained on a label set with another definition
    MODEL = "another model"
    HYSTERESIS_ENDED = "hysteresis ended"  #: a refresh without it returns users to the segment by the model
    EVENTS = "new events"  #: events came, also late ones, or were deleted
    ITEMS = "changed items"  #: titles, categories or other attributes of items changed
    TIME = "time"  #: the text changed by the passing of time alone
    LEFT = "left"  #: the user is no longer in the store
    MERGED = "merged"  #: the user was merged into another one


class Override(StrEnum):
    """What decided about a user's segment instead of the model."""

    CORRECTION = "correction"  #: a person
    HYSTERESIS = "hysteresis"  #: another segment does not lead by its margin


class TimePolicy(StrEnum):
    """How often users without new events are read again, because their text may have changed by time alone."""

    EXACT = "exact"  #: at every refresh
    DAILY = "daily"  #: once a day of the events' time
    WEEKLY = "weekly"
    ON_EVENT = "on-event"  #: never

    def is_due(self, read_at: datetime | None, as_of: datetime) -> bool:
        """Whether silent users, who were read last as of ``read_at``, are to be read as of ``as_of``."""
        if self is TimePolicy.ON_EVENT:
            return False
        period = {TimePolicy.DAILY: timedelta(days=1), TimePolicy.WEEKLY: timedelta(days=7)}.get(self)
        return read_at is None or period is None or as_of - read_at >= period
