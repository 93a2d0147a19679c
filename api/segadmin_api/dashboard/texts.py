"""The texts of pages, to translate them: those of templates, and those that come from the program."""

from __future__ import annotations

from babel.messages.extract import extract_from_dir

from segadmin.contracts.event_kinds import KINDS
from segadmin.evaluation.evaluated_on import EvaluatedOn
from segadmin.events.import_records import STATES as IMPORT_STATES
from segadmin.events.quarantine_reasons import EXPLANATIONS, UNKNOWN
from segadmin.jobs.control import CANCELLED
from segadmin.jobs.registry import offered_kinds, workflows
from segadmin.labels.parts import Part
from segadmin.snapshots.policy import Cause
from segadmin.storage.records import CanaryState, ImportState, JobState, MergeState, ModelState, StepState
from segadmin.workflows.update_request import UpdatePolicy
from segadmin_api.dashboard import drift, problem, uploads
from segadmin_api.dashboard.canaries import METRICS
from segadmin_api.dashboard.charts import KIND_COLOURS
from segadmin_api.dashboard.curves import TEXTS as CURVES
from segadmin_api.dashboard.job_notes import COVERAGE, NOTES
from segadmin_api.dashboard.keys import SCOPES
from segadmin_api.dashboard.messages import MESSAGES
from segadmin_api.dashboard.translations import FOLDER
from segadmin_api.effective_settings import Source
from segadmin_api.formatting import JOBS, MEMBERSHIP_ADVICE, VERSIONS
from segadmin_api.option_types import TEXTS as OPTION_TYPES
from segadmin_api.request_forms import form_of
from segadmin_api.results import LOCKED

_UNITS = ("seconds", "milliseconds", "minutes")
_STATES = (JobState, StepState, ModelState, ImportState, CanaryState, MergeState)
_TABLES = ("events", "items", "labels")
#: Names of large numbers on the pages of a job and of a data profile.
_FACTS = (
    *("state", "done", "time left, about", "requested", "took", "so far", "memory"),
    *("events", "users", "items", "from", "to"),
    *("over 1,000", "known"),
)

#: The parts of a split, and where the probabilities of a history come from.
_PARTS = tuple(part.value for part in Part)
_ANSWERS = ("model", "prior")
#: Labels of the charts of a search.
_SEARCH = ("trial", "best so far")
#: Results of checks.
_LEVELS = ("ok", "warn", "fail")
#: Values of options that are true or false.
_BOOLEANS = ("yes", "no")


def texts() -> set[str]:
    """Return the English texts of all pages."""
    methods = [("**.html", "jinja2.ext:babel_extract"), ("**.py", "python")]
    keywords = {"_": None, "_text": None, "text_of": (2,), "sentence": None}
    folder, trimmed = FOLDER.parents[1], {"**.html": {"trimmed": "true"}}
    messages = extract_from_dir(folder, methods, keywords=keywords, options_map=trimmed)
    return {str(entry[2]) for entry in messages} | _of_program()


def _of_program() -> set[str]:
    """Return the texts that are in no template."""
    states = {state.value for kind in _STATES for state in kind}
    columns = {column.lstrip(">") for column in (*JOBS, *VERSIONS, *drift.COLUMNS)}
    charts = {*KIND_COLOURS, *drift.METRICS.values()}
    causes = {cause.value for cause in Cause}
    of_jobs = {*NOTES, *MESSAGES, *COVERAGE, *LOCKED, CANCELLED, *_SEARCH, *_of_requests()}
    models = {*METRICS.values(), *CURVES, *_PARTS, *_ANSWERS, *(part.value for part in EvaluatedOn)}
    policies = {policy.value for policy in UpdatePolicy}
    access = {*(scope.value for scope in SCOPES), *SCOPES.values(), *(source.value for source in Source), *_LEVELS}
    of_data = {*IMPORT_STATES, *uploads.FIELDS.values(), *uploads.OPTIONS.values(), *uploads.SURE.values(), *_UNITS}
    reasons = {text for explained in (*EXPLANATIONS.values(), UNKNOWN) for text in explained}
    of_errors = {*problem.TITLES, *problem.FIXES.values(), *problem.GENERIC_DETAILS.values()}
    named = {*KINDS, *_TABLES, *_FACTS, *OPTION_TYPES, *_BOOLEANS, MEMBERSHIP_ADVICE}
    return (
        named
        | charts
        | of_errors
        | states
        | columns
        | causes
        | of_jobs
        | of_data
        | reasons
        | models
        | policies
        | access
    )


def _of_requests() -> set[str]:
    """Return what the forms of built-in kinds of jobs say."""
    offered = (workflows()[kind] for kind in offered_kinds())
    built_in = [workflow for workflow in offered if workflow.request.__module__.startswith("segadmin.")]
    fields = [field for workflow in built_in for field in form_of(workflow.request)]
    words = {text for field in fields for text in (field.title, field.help, field.default)}
    summaries = {workflow.summary for workflow in built_in}
    return {text for text in words | summaries if text and not text.startswith("SEGADMIN_")}
