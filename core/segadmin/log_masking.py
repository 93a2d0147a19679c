"""Logs without secrets: every record of a process is masked when it is made, whichever handler writes it."""

from __future__ import annotations

import logging
import traceback
from typing import Any

from segadmin.urls import mask_secrets


class MaskingFilter(logging.Filter):
    """Masks the message, the text arguments and the traceback of a record; lets every record pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask ``record`` in place."""
        if isinstance(record.args, tuple):  # formatters such as uvicorn's read them one by one
            record.args = tuple(mask_secrets(one) if isinstance(one, str) else one for one in record.args)
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
    """Mask all log records of this process from now on, also those of libraries with handlers of their own."""
    factory = logging.getLogRecordFactory()
    if isinstance(factory, _MaskingFactory):
        return
    logging.setLogRecordFactory(_MaskingFactory(factory))


class _MaskingFactory:
    def __init__(self, factory: Any) -> None:
        self._factory, self._filter = factory, MaskingFilter()

    def __call__(self, *arguments: Any, **more: Any) -> logging.LogRecord:
        record: logging.LogRecord = self._factory(*arguments, **more)
        self._filter.filter(record)
        return record
