"""Enqueues the import of the inbox."""

from __future__ import annotations

import hashlib
import json
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from segadmin.events.mapping import Mapping
from segadmin.jobs.enqueue import INBOX_KEY, enqueue
from segadmin.jobs.requests import check_request
from segadmin.settings import Settings
from segadmin.storage.database import now, reading
from segadmin.workflows import live
from segadmin_worker.client import dispatcher

#: How often the interval of imports and the database's clock are looked up.
_ASK_SECONDS = 5


def import_soon(settings: Settings, mapping: Mapping) -> None:
    """Enqueue one import for all events posted until the next slot; later calls for the same slot do nothing.

    Slots are times of the database's clock, by which workers know when a step may start.
    """
    seconds, ahead = _slots(settings, int(time.monotonic() // _ASK_SECONDS))
    slot = int((datetime.now(UTC) + ahead).timestamp() // seconds) + 1
    _import_at(settings, slot * seconds, mapping.model_dump_json())


@lru_cache(maxsize=2)
def _slots(settings: Settings, _period: int) -> tuple[float, timedelta]:
    """Return the interval of imports, and by how much the database's clock is ahead; SQL is asked from time to time."""
    interval, before = live.import_seconds(settings), datetime.now(UTC)  # before: rather too late a slot than one begun
    with reading(settings) as session:
        return interval, now(session) - before


@lru_cache(maxsize=1)  # asking SQL again would take as long as the rest of a small post
def _import_at(settings: Settings, slot: float, mapping: str) -> None:
    """Enqueue the import of a slot (seconds since 1970), once for all processes."""
    due = datetime.fromtimestamp(slot, UTC)
    options = check_request(settings, "ingest", {"where": "inbox://", "mapping": json.loads(mapping)})
    # The mapping may change between two posts: what is asked for then is another request.
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:8]
    key = slot_key = f"{INBOX_KEY}{due.isoformat()}:{digest}"
    dispatch = dispatcher(settings)
    while (
        done := enqueue(settings, dispatch, "ingest", options, idempotency_key=key, not_before=due)
    ).job.state.over and not done.created:
        key = f"{slot_key}:after-{done.job.id}"  # the slot has come before: the clock was set back
