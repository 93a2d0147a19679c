"""What an error response holds."""

from __future__ import annotations

from pydantic import BaseModel, Field


class FieldProblem(BaseModel):
    """What is wrong with one field of a request."""

    field: str = Field(description="Its name; of nested fields with dots.", examples=["options.backbone"])
    message: str = Field(description="What is wrong with it.")


class HttpProblem(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(description="Always `about:blank`.")
    title: str = Field(description="The name of the status.")
    status: int = Field(description="The status.")
    detail: str = Field(description="What is wrong, and what to do.")
    error: str | None = Field(description="The class of the error in `segadmin.errors`, such as `JobNotFound`.")
    errors: list[FieldProblem] = Field(description="The fields that are not as described, if it is about fields.")
    request_id: str = Field(description="The id of the request, which is also in the log.")
