"""The texts of pages, to translate them: those of templates, and those that come from the program."""

from __future__ import annotations

from babel.messages.extract import extract_from_dir

from segadmin.snapshots.policy import Cause
from segadmin.storage.records import ImportState, JobState, ModelState, StepState
from segadmin_api.dashboard import drift, jobs
from segadmin_api.dashboard.charts import KIND_COLOURS
from segadmin_api.dashboard.translations import FOLDER
from segadmin_api.formatting import JOBS, MEMBERSHIP_ADVICE, VERSIONS

_TABLES = ("events", "items", "labels")
#: Names of large numbers on the pages of a job and of a data profile.
_FACTS = ("state", "done", "time left, about", "requested", "took", "so far", "events", "users", "items", "from", "to")


def texts() -> set[str]:
    """Return the English texts of all pages."""
    methods = [("**.html", "jinja2.ext:babel_extract"), ("**.py", "python")]
    keywords = {"_": None, "text_of": (2,)}
    messages = extract_from_dir(FOLDER.parent, methods, keywords=keywords, options_map={"**.html": {"trimmed": "true"}})
    return {str(entry[2]) for entry in messages} | _of_program()


def _of_program() -> set[str]:
    """Return the texts that are in no template."""
    states = {state.value for kind in (JobState, StepState, ModelState, ImportState) for state in kind}
    columns = {column.lstrip(">") for column in (*JOBS, *VERSIONS, *drift.COLUMNS)}
    curves = {text for title, metrics, _ in jobs.CHARTS for text in (title, *metrics.values())}
    charts = {*KIND_COLOURS, *drift.METRICS.values(), *curves}
    causes = {cause.value for cause in Cause}
    return states | columns | charts | causes | {*_TABLES, *_FACTS, MEMBERSHIP_ADVICE}
