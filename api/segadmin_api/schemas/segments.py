"""One segment: what it is worth, what distinguishes it, what it is for, and who moved."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from segadmin.snapshots.segment_profile import SegmentProfile
from segadmin.storage.records import MAX_DESCRIPTION, MAX_OWNER
from segadmin_api.schemas.shown import InNotebooks
from segadmin_api.schemas.snapshots import Segment

#: Lines of text: no other control characters.
Lines = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$", max_length=MAX_DESCRIPTION)]
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=MAX_OWNER)]


class DescriptionRequest(BaseModel):
    """What a segment is for and who is responsible for it; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    description: Lines | None = Field(None, description="What it is for.", examples=["Call them before the season."])
    owner: Line | None = Field(None, description="A person or a team.", examples=["CRM"])


class Description(BaseModel):
    """A version of the description of a segment."""

    model_config = ConfigDict(from_attributes=True)

    revision: int = Field(description="From 1; 0: nobody has described it.")
    description: str
    owner: str
    actor: str = Field(description="Who wrote it.")
    created_at: datetime | None = Field(None, description="When.")


class Moved(BaseModel):
    """Users who came from, or went to another segment."""

    segment: str | None = Field(description="`null`: in no segment, as new users before and those who left now.")
    users: int


class SegmentMovement(BaseModel):
    """Who moved since the snapshot before."""

    earlier: int = Field(description="The snapshot before.")
    stayed: int
    entered: list[Moved]
    left: list[Moved]


class CalibrationBin(BaseModel):
    """Test rows whose probability of the segment lies in one bin."""

    model_config = ConfigDict(from_attributes=True)

    low: float
    high: float
    rows: int
    predicted: float = Field(description="Mean probability.")
    observed: float = Field(description="Fraction of the rows that are truly in the segment.")
    observed_low: float
    observed_high: float


class SegmentCalibration(BaseModel):
    """How well the probabilities of the segment match the test rows."""

    model_config = ConfigDict(from_attributes=True)

    rows: int
    error: float
    bins: list[CalibrationBin]


class SegmentOfLabelSet(Segment):
    """A segment of the current snapshot of a label set."""

    label_set: str
    snapshot: int
    description: Description


class Segments(InNotebooks):
    """The segments of the current snapshots."""

    items: list[SegmentOfLabelSet]


class ProfiledSegment(SegmentOfLabelSet):
    """A segment of the current snapshot, with what distinguishes it."""

    as_of: datetime
    model_version_id: int
    profile: SegmentProfile | None = Field(description="`null`: the snapshot is of a release without profiles.")


class ProfiledSegments(BaseModel):
    """Segments of one snapshot, to compare them."""

    items: list[ProfiledSegment]


class SegmentDetails(ProfiledSegment):
    """Everything about a segment of the current snapshot."""

    history: list[Description] = Field(description="All versions of the description, newest first.")
    movement: SegmentMovement | None = Field(description="`null`: it is the first snapshot.")
    calibration: SegmentCalibration | None = Field(description="`null`: the model has no test rows.")


class TypicalUser(BaseModel):
    """A user in the middle of a segment."""

    user_key: str
    probability: float
    events: int = Field(description="In the window of the model.")
    spend: float


class TypicalUsers(BaseModel):
    """Users in the middle of a segment, the nearest first."""

    items: list[TypicalUser]
