"""What services send and ask for: events, and the segments of users."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

#: Maximum characters of a value in a problem.
VALUE_SHOWN = 200


class Problem(BaseModel):
    """An event that will go to quarantine."""

    index: int = Field(description="Its place in the batch, from 0.")
    reason: str = Field(description="The cleaning rule, such as `bad_time`.")
    field: str | None = Field(description="The field with the problem.")
    value: str | None = Field(description="The beginning of that field's value.")

    @classmethod
    def of(cls, index: int, reason: str, field: str | None, value: str | None) -> Problem:
        """Return the problem, with the beginning of ``value``."""
        shown = value if value is None or len(value) <= VALUE_SHOWN else f"{value[:VALUE_SHOWN]}…"
        return cls(index=index, reason=reason, field=field, value=shown)


class Accepted(BaseModel):
    """What was stored of a batch."""

    batch: str = Field(description="The name of the batch; the same batch has the same name.")
    events: int = Field(description="Number of events in the batch.")
    usable: int = Field(description="Events without a problem; duplicates and bots are found only by the import.")
    problems: list[Problem] = Field(description="The other events, the first hundred of them.")


class ScoreAnswer(BaseModel):
    """The segment of a user."""

    label_set: str
    model_version: int
    segment: str | None = Field(description="`null` if too little is known of the user.")
    probabilities: dict[str, float] = Field(description="By segment.")
    events: int = Field(description="Events in the model's window; the others are too old, or after `as_of`.")
    problems: list[Problem] = Field(description="Events that cannot be used.")
    corrected: bool = Field(False, description="Whether a person set the segment, see `segadmin users correct`.")


class SegmentAnswer(BaseModel):
    """The segment of a user in the current snapshot."""

    label_set: str
    snapshot: int
    as_of: datetime
    model_version: int
    segment: str | None = Field(description="`null` if too little is known of the user.")
    probabilities: dict[str, float] = Field(description="By segment, of the model.")
    corrected: bool = Field(description="Whether a person set the segment, see `segadmin users correct`.")
