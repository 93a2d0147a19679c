"""The texts of pages, to translate them: those of templates, and those that come from the program."""

from __future__ import annotations

from babel.messages.extract import extract_from_dir

from segadmin.labels.parts import Part
from segadmin.snapshots.policy import Cause
from segadmin.storage.records import CanaryState, ImportState, JobState, ModelState, StepState
from segadmin.workflows.update_request import UpdatePolicy
from segadmin_api.dashboard import drift
from segadmin_api.dashboard.canaries import METRICS
from segadmin_api.dashboard.charts import BEST, BY_UNIT, RELIABILITY
from segadmin_api.dashboard.curves import TEXTS as CURVES
from segadmin_api.dashboard.keys import SCOPES
from segadmin_api.dashboard.translations import FOLDER
from segadmin_api.effective_settings import Source
from segadmin_api.formatting import JOBS, MEMBERSHIP_ADVICE, VERSIONS

_TABLES = ("events", "items", "labels")
#: Names of large numbers on the pages of a job and of a data profile.
_FACTS = ("state", "done", "time left, about", "requested", "took", "so far", "events", "users", "items", "from", "to")

#: The parts of a split, and where the probabilities of a history come from.
_PARTS = tuple(part.value for part in Part)
_ANSWERS = ("model", "prior")
#: Results of checks.
_LEVELS = ("ok", "warn", "fail")


def texts() -> set[str]:
    """Return the English texts of all pages."""
    methods = [("**.html", "jinja2.ext:babel_extract"), ("**.py", "python")]
    keywords = {"_": None, "text_of": (2,)}
    options = {"**.html": {"trimmed": "true"}}
    messages = [
        message
        for folder in (FOLDER.parent, FOLDER.parents[1] / "http")
        for message in extract_from_dir(folder, methods, keywords=keywords, options_map=options)
    ]
    return {str(entry[2]) for entry in messages} | _of_program()


def _of_program() -> set[str]:
    """Return the texts that are in no template."""
    states = {state.value for kind in (JobState, StepState, ModelState, ImportState, CanaryState) for state in kind}
    columns = {column.lstrip(">") for column in (*JOBS, *VERSIONS, *drift.COLUMNS)}
    causes = {cause.value for cause in Cause}
    models = {*METRICS.values(), *RELIABILITY.values(), *CURVES, BEST, BY_UNIT, *_PARTS, *_ANSWERS}
    policies = {policy.value for policy in UpdatePolicy}
    access = {*(scope.value for scope in SCOPES), *SCOPES.values(), *(source.value for source in Source), *_LEVELS}
    return states | columns | causes | models | policies | access | {*_TABLES, *_FACTS, MEMBERSHIP_ADVICE}
