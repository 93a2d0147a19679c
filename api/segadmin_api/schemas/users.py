"""A user's events, corrections of segments, and who is worth a look."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, RootModel, StringConstraints

from segadmin.storage.records import MAX_REASON, MAX_WEIGHT
from segadmin_api.schemas.jobs import Name

#: A user as people name one.
UserName = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class Event(BaseModel):
    """An event of a user, with what is known of the item."""

    model_config = ConfigDict(from_attributes=True)

    at: datetime
    kind: str
    item: str | None
    title: str | None
    category: str | None
    quantity: float | None
    price: float | None = Field(description="Total of the line.")
    rating: float | None
    duration: float | None = Field(description="Seconds.")
    text: str | None


class Correction(BaseModel):
    """The segment of a user as a person set it."""

    id: int
    user_key: str = Field(description="The pseudonym, 16 hex digits.")
    label_set: str
    segment: str
    reason: str
    actor: str = Field(description="Who set it.")
    weight: int = Field(description="As how many labelled rows it counts in the next training; 0: it only overrides.")
    created_at: datetime
    expires_at: datetime | None = Field(description="`null`: never.")
    withdrawn_at: datetime | None
    withdrawn_by: str
    withdrawn_because: str
    in_force: bool


class Corrections(RootModel[list[Correction]]):
    """All corrections of a user, newest first."""


class CorrectionRequest(BaseModel):
    """Puts a user in a segment, whatever the model says."""

    model_config = ConfigDict(extra="forbid")

    segment: Name
    reason: str = Field(min_length=1, max_length=MAX_REASON, description="For those who read it later.")
    labels: Name | None = Field(None, description="The label set; needed if several have a snapshot.")
    expires_at: datetime | None = Field(None, description="When it ends; default: never.")
    weight: int = Field(1, ge=0, le=MAX_WEIGHT, description="As how many labelled rows it counts; 0: it is no label.")


class PinRequest(BaseModel):
    """Keeps a user in a segment: never expires, and is no label."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=MAX_REASON, description="For those who read it later.")
    segment: Name | None = Field(None, description="Default: the present one.")
    labels: Name | None = Field(None, description="The label set; needed if several have a snapshot.")


class Corrected(BaseModel):
    """What a correction, a pin or a withdrawal has done."""

    correction: Correction
    before: str | None = Field(description="The segment until now; `null`: none.")
    snapshot: int | None = Field(description="The snapshot that was published for it; `null`: none.")
    replaced: int | None = Field(description="The correction that it replaces.")
    job: int | None = Field(description="A job that is scoring the users; its snapshot will have it, too.")


class UserToReview(BaseModel):
    """A user about whom the model is unsure."""

    user_key: str
    user: str | None = Field(None, description="The shop's own id, if it was asked for.")
    segment: str = Field(description="The most probable one.")
    probability: float
    second: str
    second_probability: float
    uncertainty: float = Field(description="Entropy, 0 to 1.")
    value: float = Field(description="Spend in the window, or 1.")
    priority: float


class Review(BaseModel):
    """Whom it pays most to look at, the most useful first."""

    label_set: str
    snapshot: int
    items: list[UserToReview]


class Merge(BaseModel):
    """Two users who were merged."""

    id: int
    old_key: str = Field(description="The pseudonym of the user who was merged.")
    new_key: str = Field(description="The pseudonym of the user who has the rows now.")
    state: str
    moved: dict[str, Any] = Field(description="What moved: events, labels, duplicates.")
    created_at: datetime
    undone_at: datetime | None
    created: bool = Field(True, description="False in the answer to a request for a merge that there was already.")


class MergeRequest(BaseModel):
    """Two users to merge, by the shop's ids or pseudonyms."""

    model_config = ConfigDict(extra="forbid")

    old: UserName = Field(description="The user who is merged, such as a visitor.")
    new: UserName = Field(description="The user to merge into, such as the customer.")
