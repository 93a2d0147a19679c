"""What forms say when they are done."""

from __future__ import annotations

from segadmin.jobs.enqueue import Enqueued
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import text_of


def enqueued(done: Enqueued, reader: Reader) -> str:
    """Return that a job was enqueued, or saved while the broker is down."""
    facts = {"job": done.job.id, "kind": done.job.kind}
    if done.dispatched:
        return text_of(reader, "Job %(job)s (%(kind)s) is enqueued.", **facts)
    return text_of(
        reader, "Job %(job)s (%(kind)s) is saved. The broker does not answer now: it starts when that does.", **facts
    )
