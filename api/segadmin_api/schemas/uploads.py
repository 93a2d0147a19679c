"""Uploaded files and how they are imported; mappings; the profile of the store; merges of users."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from segadmin.events.profile import Profile
from segadmin.events.upload_import import PREVIEW_ROWS, UploadPreview
from segadmin_api.schemas.jobs import Name

#: A mapping in TOML; the longest one that ships with segadmin has some thousand characters.
Toml = Annotated[str, StringConstraints(max_length=100_000)]


class Choice(BaseModel):
    """How an upload is imported."""

    table: str
    mapping: str = Field(description="In TOML.")
    source_options: dict[str, str] = Field(description="How the file is read, such as `encoding`.")
    label_set: str = Field(description="For labels: the name of the set.")
    segments: list[str] = Field(description="For labels: the segments in order; empty: as they occur.")
    source: str | None = Field(None, description="The source plugin that reads the file; `null`: by its suffix.")
    again: bool = Field(False, description="Import even if the same file was imported before.")


class Upload(BaseModel):
    """An uploaded file, which waits to be imported."""

    id: str
    name: str
    bytes: int
    sha256: str
    created_at: datetime
    expires_at: datetime = Field(description="When it is removed.")
    actor: str = Field(description="Who uploaded it.")
    choice: Choice
    job: int | None = Field(description="The job that imports it, or tried to.")


class Uploads(BaseModel):
    """The uploads that wait to be imported, newest first."""

    items: list[Upload]


class PreviewedUpload(BaseModel):
    """An upload, and what its import would do."""

    upload: Upload
    result: UploadPreview


class PreviewRequest(BaseModel):
    """How an upload is to be imported."""

    model_config = ConfigDict(extra="forbid")

    table: Literal["events", "items", "labels"] = "events"
    mapping: Toml | None = Field(
        None, description="In TOML, or the name of a saved or shipped mapping; `null`: propose one."
    )
    source_options: Annotated[dict[Name, Annotated[str, StringConstraints(max_length=2000)]], Field(max_length=20)] = (
        Field(default_factory=dict, description="How the file is read.", examples=[{"encoding": "gb18030"}])
    )
    label_set: Annotated[str, StringConstraints(max_length=200)] = Field(
        "", description="For labels: the name of the set."
    )
    segments: list[Name] = Field(default_factory=list, max_length=1000, description="For labels: in order.")
    source: Name | None = Field(None, description="The source plugin that reads the file; `null`: by its suffix.")
    again: bool = Field(False, description="Import even if the same file was imported before.")
    rows: int = Field(PREVIEW_ROWS, ge=1, le=PREVIEW_ROWS, description="Rows to read from the start.")


class Mapping(BaseModel):
    """A mapping of columns to fields."""

    name: str
    title: str = Field("saved", description="What it is for.")
    text: str = Field(description="In TOML.")
    shipped: bool = Field(description="Whether it comes with segadmin.")
    updated_at: datetime | None


class Mappings(BaseModel):
    """All mappings: the saved ones, then those that come with segadmin."""

    items: list[Mapping]


class MappingRequest(BaseModel):
    """A mapping to save."""

    model_config = ConfigDict(extra="forbid")

    text: Toml = Field(description="In TOML.", examples=['[columns]\nuser = "customer"\n'])


class StoredProfile(BaseModel):
    """The newest profile of the store that a job has made."""

    job: int
    at: datetime
    profile: Profile
