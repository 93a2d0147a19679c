"""The Celery application: ``celery -A segadmin_worker.app worker|beat|flower``."""

from __future__ import annotations

from celery import Celery

from segadmin.log_masking import mask_logs
from segadmin.permissions import use_umask
from segadmin.settings import get_settings
from segadmin_worker.config import celery_config, secure
from segadmin_worker.transport import install

mask_logs()
use_umask()
install()
app = Celery("segadmin")
app.conf.update(celery_config(get_settings()))
secure(app, get_settings())
