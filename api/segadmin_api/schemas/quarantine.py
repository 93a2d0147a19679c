"""Rows in quarantine: why they are there, and what is done with them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from segadmin_api.schemas.jobs import Name


class RetryRows(BaseModel):
    """Rows in quarantine to import again."""

    model_config = ConfigDict(extra="forbid")

    import_id: int = Field(alias="import", ge=1, le=2**31 - 1, description="The import whose rows they are.")
    reason: Name | None = Field(None, description="Only rows with this reason.")


class Dropped(BaseModel):
    """What was deleted from quarantine."""

    rows: int


class Reason(BaseModel):
    """Why rows are in quarantine."""

    reason: str
    rows: int
    meaning: str
    fix: str


class Reasons(BaseModel):
    """The reasons of the rows in quarantine, the most frequent first."""

    items: list[Reason]
