"""Enqueues the import of the inbox."""

from __future__ import annotations

import hashlib
import json
import time
from datetime import UTC, datetime
from functools import lru_cache

from segadmin.events.mapping import Mapping
from segadmin.jobs.enqueue import INBOX_KEY, enqueue
from segadmin.jobs.requests import check_request
from segadmin.settings import Settings
from segadmin.workflows import live
from segadmin_worker.client import dispatcher

#: How often the interval of imports is looked up.
_ASK_SECONDS = 5


def import_soon(settings: Settings, mapping: Mapping) -> None:
    """Enqueue one import for all events posted until the next slot; later calls for the same slot do nothing."""
    seconds = _import_seconds(settings, int(time.monotonic() // _ASK_SECONDS))
    slot = int(datetime.now(UTC).timestamp() // seconds) + 1
    _import_at(settings, slot * seconds, mapping.model_dump_json())


@lru_cache(maxsize=2)
def _import_seconds(settings: Settings, _period: int) -> float:
    """Return the interval of imports; SQL, which knows the objectives of schedules, is asked from time to time."""
    return live.import_seconds(settings)


@lru_cache(maxsize=8)  # asking SQL again would take as long as the rest of a small post
def _import_at(settings: Settings, slot: float, mapping: str) -> None:
    """Enqueue the import of a slot (seconds since 1970), once for all processes."""
    due = datetime.fromtimestamp(slot, UTC)
    options = check_request(settings, "ingest", {"where": "inbox://", "mapping": json.loads(mapping)})
    # The mapping may change between two posts: what is asked for then is another request.
    reading = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:8]
    key = f"{INBOX_KEY}{due.isoformat()}:{reading}"
    enqueue(settings, dispatcher(settings), "ingest", options, idempotency_key=key, not_before=due)
