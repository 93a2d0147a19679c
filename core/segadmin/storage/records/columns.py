"""The base of the tables, and the types of their columns."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Column, DateTime, Dialect, Enum, String, TypeDecorator
from sqlmodel import SQLModel

from segadmin.storage.records.states import ImportState
from segadmin.urls import mask_secrets

Json = dict[str, Any]


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time: aware and in UTC on both sides, also on SQLite, which has no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC; a naive datetime is a programming error."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive datetime {value!r}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return an aware datetime in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class MaskedText(TypeDecorator[str]):
    """Text that may quote a URL. Passwords are masked on write and on read, because older releases stored them."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Mask on write."""
        return None if value is None else mask_secrets(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """Mask on read."""
        return None if value is None else mask_secrets(value)


class ImportStateText(TypeDecorator[StrEnum]):
    """The state of an import, in a column of unlimited text that is older than the columns of other states."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Write the value."""
        return None if value is None else str(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Read the state."""
        return None if value is None else ImportState(value)


def utcnow() -> datetime:
    """Return this machine's time in UTC; leases use :func:`segadmin.storage.database.now` instead."""
    return datetime.now(UTC)


def time_column(*, nullable: bool = True) -> Any:
    """Return a column for a point in time."""
    return Column(UtcDateTime(), nullable=nullable)


def masked_column(*, nullable: bool = True) -> Any:
    """Return a column for text in which passwords are masked."""
    return Column(MaskedText(), nullable=nullable)


def json_column() -> Any:
    """Return a column for JSON."""
    return Column(JSON, nullable=False)


def state_column(states: type[StrEnum]) -> Any:
    """Return a column for one of ``states``, stored as its value."""
    values = Enum(states, native_enum=False, length=16, values_callable=lambda enum: [member.value for member in enum])
    return Column(values, nullable=False)


class Row(SQLModel):
    """A row of a table. pydantic's validators, which no table uses, are not built: it takes longer than the rest."""

    model_config = {"defer_build": True}
