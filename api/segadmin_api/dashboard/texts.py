"""The texts of pages, to translate them: those of templates, and those that come from the program."""

from __future__ import annotations

from babel.messages.extract import extract_from_dir

from segadmin.events.import_records import STATES as IMPORT_STATES
from segadmin.events.quarantine_reasons import EXPLANATIONS, UNKNOWN
from segadmin.snapshots.policy import Cause
from segadmin.storage.records import ImportState, JobState, MergeState, ModelState, StepState
from segadmin_api.dashboard import drift, problem, uploads
from segadmin_api.dashboard.translations import FOLDER
from segadmin_api.formatting import JOBS, MEMBERSHIP_ADVICE, VERSIONS

_UNITS = ("seconds", "milliseconds", "minutes")
_TABLES = ("events", "items", "labels")
#: Names of large numbers on the pages of a job and of a data profile.
_FACTS = ("state", "done", "time left, about", "requested", "took", "so far", "events", "users", "items", "from", "to")


def texts() -> set[str]:
    """Return the English texts of all pages."""
    methods = [("**.html", "jinja2.ext:babel_extract"), ("**.py", "python")]
    keywords = {"_": None, "text_of": (2,)}
    options = {"**.html": {"trimmed": "true"}}
    messages = (
        entry
        for folder in (FOLDER.parent, FOLDER.parent.parent / "http")
        for entry in extract_from_dir(folder, methods, keywords=keywords, options_map=options)
    )
    return {str(entry[2]) for entry in messages} | _of_program()


def _of_program() -> set[str]:
    """Return the texts that are in no template."""
    states = {state.value for kind in (JobState, StepState, ModelState, ImportState, MergeState) for state in kind}
    columns = {column.lstrip(">") for column in (*JOBS, *VERSIONS, *drift.COLUMNS)}
    causes = {cause.value for cause in Cause}
    of_data = {*IMPORT_STATES, *uploads.FIELDS.values(), *uploads.OPTIONS.values(), *uploads.SURE.values(), *_UNITS}
    reasons = {text for explained in (*EXPLANATIONS.values(), UNKNOWN) for text in explained}
    of_errors = {*problem.TITLES, *problem.FIXES.values(), *problem.GENERIC_DETAILS.values()}
    return of_errors | of_data | reasons | states | columns | causes | {*_TABLES, *_FACTS, MEMBERSHIP_ADVICE}
