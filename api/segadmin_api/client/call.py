"""One call of the HTTP API: what it sends, and the type of its answer."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

Answer = TypeVar("Answer", bound=BaseModel)
#: Is called with the bytes that were sent so far, and with those of the whole file.
Progress = Callable[[int, int], None]


class Done(BaseModel):
    """The answer to a change that has nothing to show."""


class SavedFile(BaseModel):
    """A file that was sent by the server and written here."""

    path: Path
    bytes: int


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """A request, and the type of its answer."""

    method: str
    path: str
    answer: type[Answer]
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None  #: is sent as JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None  #: is sent as the body, in pieces
    progress: Progress | None = None  #: of ``file``
    out: Path | None = None  #: where the body of the answer is written; the answer is a :class:`SavedFile`
    is_idempotent: bool = False  #: although it is a POST without a key

    @property
    def may_be_repeated(self) -> bool:
        """Whether sending it twice has the effect of sending it once."""
        return self.method == "GET" or self.is_idempotent or "Idempotency-Key" in self.headers


def part(value: object) -> str:
    """Return a value as one part of a path."""
    return quote(str(value), safe="")


def several(values: str | Sequence[str]) -> list[str]:
    """Return the values of a parameter that takes several; a single text is one value, not its letters."""
    return [str(values)] if isinstance(values, str) else [str(value) for value in values]


def once(key: str | None) -> dict[str, str]:
    """Return the headers of a call that has its effect once, however often it is sent."""
    return {"Idempotency-Key": key or uuid.uuid4().hex}


def given(**values: Any) -> dict[str, Any]:
    """Return the values that are not ``None``."""
    return {name: value for name, value in values.items() if value is not None}
