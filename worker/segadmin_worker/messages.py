"""Schemas of messages: they allow only what :mod:`segadmin_worker.client` sends, so that nothing else can be run."""

from __future__ import annotations

from collections.abc import Container
from typing import Annotated, Any, Literal

from kombu.message import Message
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

#: Bytes; messages of the client are smaller than 2,000.
SIZE_LIMIT = 64 * 1024


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True)


class _DeliveryInfo(_Strict):
    exchange: str
    routing_key: str


class _Properties(_Strict):
    delivery_tag: str
    delivery_info: _DeliveryInfo
    body_encoding: Literal["base64"]


class Envelope(_Strict):
    """The envelope that Kombu stores in Redis; without any of these fields, Kombu fails."""

    body: Base64Bytes
    headers: dict[str, Any]
    properties: _Properties
    content_type: Annotated[str, Field(alias="content-type")]


class _Headers(_Strict):
    """Celery's task headers, protocol 2; the client sets no countdown, retry, time limit or group."""

    id: str
    task: str
    retries: Literal[0]
    timelimit: list[None]
    eta: None = None
    expires: None = None
    group: None = None
    shadow: None = None
    replaced_task_nesting: Literal[0, None] = None
    stamped_headers: None = None
    stamps: dict[str, None] | None = Field(None, max_length=0)
    root_id: str | None = None
    parent_id: str | None = None
    argsrepr: str = ""
    kwargsrepr: str = ""
    origin: str = ""


class _Embedded(_Strict):
    """Further tasks that Celery would run; there are none."""

    callbacks: None = None
    errbacks: None = None
    chain: None = None
    chord: None = None


class _Options(_Strict):
    model_config = ConfigDict(extra="forbid")


_BODY = TypeAdapter(tuple[Annotated[list[int], Field(min_length=1, max_length=1)], _Options, _Embedded])


def envelope_problem(raw: bytes) -> str:
    """Return why ``raw`` is not an envelope, or an empty string."""
    if len(raw) > SIZE_LIMIT:
        return f"{len(raw)} bytes; ours are smaller than {SIZE_LIMIT}"
    try:
        Envelope.model_validate_json(raw)
    except ValidationError as error:
        return _explain(error)
    return ""


def task_problem(message: Message, tasks: Container[str]) -> str:
    """Return why a message was not sent by the client, or an empty string."""
    try:
        headers = _Headers.model_validate(message.headers)
        if not headers.task.startswith("segadmin.") or headers.task not in tasks:
            return f"there is no task {headers.task[:60]!r}"
        _BODY.validate_python(message.decode(), strict=False)
    except ValidationError as error:
        return _explain(error)
    except Exception as error:
        return f"the body cannot be read: {error!r}"[:300]
    return ""


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
