"""Logs that one job can be followed in: what every line carries, and the two formats that lines are written in.

A log call has a short message that is always the same, and facts of its own in ``extra``: ids and counts, never a
user's id or the content of a cell. Lines written while a step runs also say which; see :func:`log_context`.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

from segadmin.log_masking import mask_logs
from segadmin.printable import printable
from segadmin.settings import Settings
from segadmin.urls import mask_secrets

#: What a line may say of the job that it belongs to, in this order.
OF_A_STEP = ("action", "job", "kind", "stage", "step", "attempt", "worker")
#: A field with the calls that led to an error, for where the error itself must not be logged.
TRACE = "trace"
#: What :mod:`logging` itself puts on a record; all else came from ``extra``.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message", TRACE}
#: A value that is written without quotes.
_PLAIN = re.compile(r"[^\s\"=]+")
#: What would begin a line of its own, or move a terminal's cursor.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

_context: ContextVar[Mapping[str, Any]] = ContextVar("segadmin_log_context", default={})  # noqa: B039  (never changed)


@contextmanager
def log_context(**fields: Any) -> Iterator[None]:
    """Let every line that is logged in the body carry ``fields``, besides those of an outer context."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


class ContextFilter(logging.Filter):
    """Puts the fields of :func:`log_context` on every record; what a log call itself says goes before them.

    Args:
        fields: of every record.
    """

    def __init__(self, fields: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self._fields = dict(fields or {})

    def filter(self, record: logging.LogRecord) -> bool:
        """Complete ``record`` in place; every record passes."""
        for name, value in {**self._fields, **_context.get()}.items():
            if not hasattr(record, name):
                setattr(record, name, value)
        return True


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.000Z INFO segadmin.jobs.run: claimed action=claim job=3 …``, then a traceback."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Return when it was, in UTC."""
        return _time(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and a traceback under it."""
        text = super().format(record)
        trace = getattr(record, TRACE, "")
        return printable(f"{text}\n{mask_secrets(trace)}" if trace else text)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the line with the fields at its end; it is one line, whatever the message holds."""
        record.message = _CONTROL.sub(lambda sign: repr(sign[0])[1:-1], record.message)
        fields = (f"{name}={_quoted(value)}" for name, value in fields_of(record).items())
        return " ".join([super().formatMessage(record), *fields])


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``message``, all fields, and ``error``: a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if error := record.exc_text or getattr(record, TRACE, "") or record.stack_info:
            line["error"] = mask_secrets(error)
        return _dumped(line)


FORMATTERS: Mapping[str, type[logging.Formatter]] = {"text": TextFormatter, "json": JsonFormatter}


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a record carries besides its message, without secrets: which step first, then the others by name."""
    # Celery's ``data`` is a mapping, and in the message already.
    given = {
        name: value for name, value in vars(record).items() if name not in _STANDARD and not isinstance(value, Mapping)
    }
    names = [name for name in OF_A_STEP if name in given] + sorted(given.keys() - set(OF_A_STEP))
    return {name: _without_secrets(given[name]) for name in names}


def set_up_logging(
    settings: Settings,
    *,
    level: int = logging.INFO,
    file: Path | None = None,
    fields: Mapping[str, Any] | None = None,
) -> None:
    """Write all log lines of this process in one way, without secrets.

    Handlers that libraries gave to loggers of their own stay.

    Args:
        settings: the format.
        level: of the lines that are written.
        file: where to; ``None``: standard error.
        fields: what every line of the process carries.
    """
    mask_logs()
    handler = logging.StreamHandler(sys.__stderr__) if file is None else WatchedFileHandler(file, encoding="utf-8")
    handler.setFormatter(FORMATTERS[settings.log_format]())
    handler.addFilter(ContextFilter(fields))
    root = logging.getLogger()
    for other in root.handlers[:]:
        root.removeHandler(other)
        other.close()
    root.addHandler(handler)
    root.setLevel(level)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _without_secrets(value: Any) -> Any:
    """Return a value as JSON has it; text and what is shown as text is masked."""
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value  # JSON has no NaN
    try:
        text = str(value)
    except Exception as error:  # a line must not be lost because of one value
        text = f"({type(value).__name__}: {type(error).__name__})"
    return mask_secrets(text.encode("utf-8", "backslashreplace").decode())


def _quoted(value: Any) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) and not _CONTROL.search(text) else _dumped(text)


def _dumped(value: Any) -> str:
    """Return a value as JSON that is one line for every reader; letters of all languages stay as they are."""
    dumped = json.dumps(value, ensure_ascii=False, default=str)
    return _CONTROL.sub(lambda sign: f"\\u{ord(sign[0]):04x}", dumped)
