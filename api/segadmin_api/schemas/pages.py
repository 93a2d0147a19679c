"""A page of a list."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel, Field

from segadmin_api.schemas.shown import InNotebooks

Item = TypeVar("Item", bound=BaseModel)


class Page(InNotebooks, Generic[Item]):
    """A page of a list."""

    items: list[Item]
    next: str | None = Field(description="The `cursor` of the next page; `null` on the last one.")
