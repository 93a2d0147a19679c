"""The Celery application: ``celery -A segadmin_worker.app worker|beat|flower``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import setup_logging

from segadmin.log_masking import mask_logs
from segadmin.logs import set_up_logging
from segadmin.permissions import use_umask
from segadmin.settings import get_settings
from segadmin_worker.config import celery_config, secure
from segadmin_worker.transport import install


@setup_logging.connect
def _set_up_logging(loglevel: int | None = None, logfile: str | None = None, **_: Any) -> None:
    """Write the logs of workers and beat as everything else is written; called in each of their processes."""
    set_up_logging(get_settings(), level=loglevel or logging.INFO, file=Path(logfile) if logfile else None)
    # What plugins and libraries print goes the same way, without secrets.
    app.log.redirect_stdouts(app.conf.worker_redirect_stdouts_level)


mask_logs()
use_umask()
install()
app = Celery("segadmin")
app.conf.update(celery_config(get_settings()))
secure(app, get_settings())
