"""The page of jobs: filtered, in pages, and what is done with many of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from segadmin.jobs.bulk import BulkResult
from segadmin.jobs.control import JobLine
from segadmin.jobs.counts import MOST
from segadmin.jobs.selection import JobSelection
from segadmin.storage.records import JobState
from segadmin_api.dashboard.assets import Assets
from segadmin_api.dashboard.job_notes import subject_text
from segadmin_api.dashboard.messages import message_text
from segadmin_api.dashboard.reader import ENGLISH, Reader
from segadmin_api.dashboard.render import render, sentence_of, served, text_of
from segadmin_api.formatting import took
from segadmin_api.results import waits_sentence

#: Failures that a page lists.
_LISTED = 1_000


@dataclass(frozen=True)
class StateLink:
    """A state, how many jobs of the filter's kinds are in it, and the list of those."""

    state: JobState
    count: int
    is_more: bool  #: there are more than were counted
    is_chosen: bool
    link: str


@dataclass(frozen=True)
class JobList:
    """Which jobs a page shows: those of a filter, older than the job ``before``."""

    selection: JobSelection
    kinds: Sequence[str]  #: all that there are
    counts: Mapping[JobState, int]  #: of the filter's kinds, whatever states it names
    before: int | None = None
    size: int = 50

    def link(self, states: Iterable[JobState] | None = None, before: int | None = None) -> str:
        """Return the address of a list with the same kinds."""
        chosen = self.selection.states if states is None else states
        query = [("kind", kind) for kind in self.selection.kinds] + [("state", str(state)) for state in chosen]
        query += [] if before is None else [("before", str(before))]
        return "/jobs" + (f"?{urlencode(query)}" if query else "")

    @property
    def states(self) -> list[StateLink]:
        """The links by state; a chosen one leads back to all states."""
        return [
            StateLink(
                state,
                count,
                count >= MOST,
                state in self.selection.states,
                self.link(() if state in self.selection.states else (state,)),
            )
            for state, count in self.counts.items()
        ]

    @property
    def matching(self) -> int:
        """The number of jobs that match the filter."""
        states = self.selection.states or self.counts.keys()
        return sum(self.counts.get(state, 0) for state in states)


def list_page(lines: Sequence[JobLine], shown: JobList, reader: Reader = ENGLISH) -> str:
    """Return the page of some jobs, in the given order."""
    return render(
        "jobs.html",
        title=text_of(reader, "jobs"),
        here="/jobs",
        online=True,
        reader=reader,
        assets=Assets(scripts=("choose.js",)),
        refresh=any(not line.job.state.over for line in lines),
        rows=[_row(line, reader) for line in lines],
        shown=shown,
        filtered=bool(shown.selection.states or shown.selection.kinds),
        older=shown.link(before=lines[-1].job.id) if len(lines) == shown.size else "",
    )


def bulk_page(done: str, result: BulkResult, back: str, reader: Reader = ENGLISH) -> str:
    """Return the page of what became of many jobs; ``done`` is ``cancel`` or ``retry``."""
    cancelled, retried = text_of(reader, "jobs were cancelled"), text_of(reader, "jobs were retried")
    return served(
        "jobs_done.html",
        cancelled if done == "cancel" else retried,
        "/jobs",
        reader,
        done=done,
        result=result,
        failures=result.failures[:_LISTED],
        back=back,
    )


def _row(line: JobLine, reader: Reader) -> dict[str, object]:
    job, waiting = line.job, waits_sentence(line)
    return {
        "job": job,
        "done": line.progress.done,
        "took": took(job.started_at, job.finished_at),
        "error": message_text(reader.language, text_of(reader, job.error)) if job.error else "",
        "what": subject_text(reader, job) if waiting is None else sentence_of(reader, waiting),
    }
