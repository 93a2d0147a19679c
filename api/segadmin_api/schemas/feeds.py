"""Feeds: receivers of who entered, left or moved between segments."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from segadmin_api.schemas.jobs import Name


class Feed(BaseModel):
    """A feed, and what it has not received yet."""

    name: str
    kind: str = Field(description="The feed plugin.", examples=["redis-stream"])
    options: dict[str, Any] = Field(description="Of the plugin; secrets are masked.")
    label_set: str
    sequence: int = Field(description="The change that it has received last, or is receiving.")
    position: int = Field(description="Records of that change that it has received.")
    delivered_at: datetime | None
    error: str | None = Field(description="Why the last attempt failed.")
    failures: int = Field(description="Attempts that failed since the last that did not.")
    retry_at: datetime | None
    created_at: datetime
    lag: int = Field(description="Changes that it has not received completely.")
    records_waiting: int = Field(description="Records of those changes, as far as they are written.")


class Feeds(BaseModel):
    """All feeds, by name."""

    items: list[Feed]


class FeedRequest(BaseModel):
    """A feed to add."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    kind: Name = Field(description="The feed plugin.", examples=["redis-stream"])
    options: dict[str, Any] = Field(default_factory=dict, description="Of the plugin; secrets only as `$VARIABLE`.")
    labels: Name | None = Field(None, description="Whose changes it receives; needed if there are several label sets.")
    from_now: bool = Field(False, description="Only what changes from now on, instead of all changes.")
