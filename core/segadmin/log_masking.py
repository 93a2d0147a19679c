"""Logs without secrets: every log record of a process is masked when it is created, for all handlers."""

from __future__ import annotations

import logging
import traceback
from typing import Any

from segadmin.urls import mask_secrets


class MaskingFilter(logging.Filter):
    """Masks the message, the text arguments and the traceback of a record; drops no record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask ``record`` in place."""
        if isinstance(record.args, tuple):  # formatters such as uvicorn's read single arguments
            record.args = tuple(
                mask_secrets(argument) if isinstance(argument, str) else argument for argument in record.args
            )
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):  # logging itself reports arguments that do not fit
            return True
        masked = mask_secrets(message)
        if masked != message:
            record.msg, record.args = masked, ()
        if record.exc_info and record.exc_info[0] is not None and not record.exc_text:
            record.exc_text = mask_secrets("".join(traceback.format_exception(*record.exc_info))).rstrip("\n")
        return True


def mask_logs() -> None:
    """Mask all log records of this process from now on, including those of libraries with their own handlers."""
    factory = logging.getLogRecordFactory()
    if isinstance(factory, _MaskingFactory):
        return
    logging.setLogRecordFactory(_MaskingFactory(factory))


class _MaskingFactory:
    def __init__(self, factory: Any) -> None:
        self._factory, self._filter = factory, MaskingFilter()

    def __call__(self, *arguments: Any, **options: Any) -> logging.LogRecord:
        record: logging.LogRecord = self._factory(*arguments, **options)
        self._filter.filter(record)
        return record
