"""Secrets in the options of jobs and schedules that earlier versions stored in plain: encrypted, and shown as ``***``.

Nothing is stored with a secret any more: :func:`segadmin.jobs.requests.check_request` accepts references to the
environment only. A sealed text is what may be shown of it, followed by an encrypted copy: ``redis://:***@host/0
[sealed:gAAAA…]``. The key is derived from the secret of the user keys. Workers that run such a job again open the copy.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from importlib.util import find_spec
from typing import Any

from sqlalchemy import String, type_coerce
from sqlmodel import Session, select, update

from segadmin.errors import ConfigurationError
from segadmin.settings import Settings
from segadmin.storage.database import drop_history, transaction
from segadmin.storage.records import Import, Job, JobState, Schedule, Step
from segadmin.urls import MASK, SEALED, mask_all, mask_secrets, mask_url, replace_secrets

_PURPOSE = b"segadmin options of jobs"
#: Columns of messages, which may quote a URL.
_TEXTS = (Import.file, Import.error, Job.error, Step.error)


def seal(settings: Settings, value: Any) -> Any:
    """Return a JSON value in which every text with a secret is encrypted.

    Raises:
        ConfigurationError: there is one, and no secret to encrypt it with, or no package.
    """

    def encrypt(_path: tuple[str, ...], text: str, shown: str) -> str:
        return f"{shown} [sealed:{_cipher(settings).encrypt(text.encode()).decode()}]"

    return replace_secrets(value, encrypt)


def unseal(settings: Settings, value: Any) -> Any:
    """Return a JSON value in which every text is as it was before :func:`seal`.

    Raises:
        ConfigurationError: it was encrypted with another secret.
    """
    if isinstance(value, dict):
        return {name: unseal(settings, inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [unseal(settings, inner) for inner in value]
    if not isinstance(value, str) or (sealed := SEALED.search(value)) is None:
        return value
    cipher = _cipher(settings)
    from cryptography.fernet import InvalidToken

    try:
        return cipher.decrypt(sealed[1].encode()).decode()
    except InvalidToken:
        raise ConfigurationError(
            f"{mask_url(value)} was encrypted with another user-key secret. Restore SEGADMIN_USER_KEY_SECRET or "
            "home/user_key_secret, or enqueue the job again."
        ) from None


def seal_stored(settings: Settings) -> int:
    """Seal what is stored in plain, also in the database's files, and return the number of jobs and schedules.

    Secrets are removed from jobs that cannot be run again, from requests that are only compared, and from messages.

    Raises:
        ConfigurationError: see :func:`seal`; nothing was changed.
        StorageError: see :func:`segadmin.storage.database.drop_history`.
    """
    with transaction(settings) as session:
        jobs = [job for job in session.exec(select(Job)).all() if _has_secrets([job.options, job.asked])]
        schedules = [each for each in session.exec(select(Schedule)).all() if _has_secrets(each.options)]
        for job in jobs:
            done = job.state == JobState.SUCCEEDED
            job.options = mask_all(job.options) if done else seal(settings, job.options)
            job.asked = mask_all(job.asked)
        for schedule in schedules:
            schedule.options = seal(settings, schedule.options)
        masked = sum(_mask_texts(session, column) for column in _TEXTS)
    if jobs or schedules or masked:
        drop_history(settings)
    return len(jobs) + len(schedules)


def _has_secrets(value: Any) -> bool:
    return bool(replace_secrets(value, lambda _path, _text, _shown: MASK) != value)


def _mask_texts(session: Session, column: Any) -> int:
    """Mask a column in SQL that is masked only when it is read, and return the number of rows."""
    key = column.class_.id
    rows = session.exec(select(key, type_coerce(column, String)).where(column.is_not(None))).all()
    plain = [(number, text) for number, text in rows if mask_secrets(text) != text]
    for number, text in plain:
        session.exec(update(column.class_).where(key == number).values({column.key: text}))  # masked on the way
    return len(plain)


def _cipher(settings: Settings) -> Any:
    """Return the cipher of this store."""
    if find_spec("cryptography") is None:
        raise ConfigurationError("To encrypt passwords of stored jobs, run: pip install 'segadmin[signing]'")
    from cryptography.fernet import Fernet

    key = hmac.digest(settings.secret(), _PURPOSE, hashlib.sha256)
    return Fernet(base64.urlsafe_b64encode(key))
