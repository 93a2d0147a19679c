"""The ETag of a schedule: it changes with what people change of it."""

from __future__ import annotations

import hashlib
import json

from segadmin.storage.records import Schedule

_CHANGED = {"cron", "timezone", "kind", "options", "paused", "freshness_seconds"}


def schedule_etag(row: Schedule) -> str:
    """Return the ETag of a schedule, which its forms and ``If-Match`` hold."""
    text = json.dumps(row.model_dump(include=_CHANGED), sort_keys=True, default=str)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
