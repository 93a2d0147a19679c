"""Texts of pages that come from the program, not from a template: they are listed here to be translated."""

from __future__ import annotations

from segadmin.snapshots.policy import Cause
from segadmin.storage.records import ImportState, JobState, ModelState, StepState
from segadmin_api.dashboard import drift
from segadmin_api.formatting import JOBS, MEMBERSHIP_ADVICE, VERSIONS

_TABLES = ("events", "items", "labels")
#: Names of large numbers on the pages of a job and of a data profile.
_FACTS = ("state", "done", "time left, about", "requested", "took", "so far", "events", "users", "items", "from", "to")


def dynamic_texts() -> set[str]:
    """Return the texts."""
    states = {state.value for kind in (JobState, StepState, ModelState, ImportState) for state in kind}
    columns = {column.lstrip(">") for column in (*JOBS, *VERSIONS, *drift.COLUMNS)}
    causes = {cause.value for cause in Cause}
    return states | columns | causes | {*_TABLES, *_FACTS, MEMBERSHIP_ADVICE}
