"""The stages of jobs that change what the lake holds: ``ingest``, ``retain`` and ``compact``."""

from __future__ import annotations

from datetime import timedelta

from segadmin.counts import counted
from segadmin.events.erase import remove_older
from segadmin.events.ingest import Request, import_file
from segadmin.events.mapping import Mapping
from segadmin.jobs.attempt import Attempt, Outcome
from segadmin.storage.compaction import compact as join
from segadmin.storage.records import utcnow


def ingest(attempt: Attempt) -> Outcome:
    """Import what the job names: a stream's new events, say. A second attempt goes on where the first one was."""
    options = attempt.options
    request = Request(
        options["table"],
        options["where"],
        Mapping.model_validate(options["mapping"]),
        source=options["source"],
        options=options["source_options"],
    )
    record, fresh = import_file(attempt.settings, request, lambda rows: attempt.progress(0.5, counted(rows, "row")))
    return Outcome({"fresh": fresh, **record.model_dump(mode="json")})


def compact(attempt: Attempt) -> Outcome:
    """Join the lake's small files."""
    return Outcome({"tables": join(attempt.settings)})


def retain(attempt: Attempt) -> Outcome:
    """Remove the events that are older than the job says."""
    before = utcnow() - timedelta(days=attempt.options["keep_days"])
    return Outcome({"before": before.isoformat(timespec="seconds"), "events": remove_older(attempt.settings, before)})
