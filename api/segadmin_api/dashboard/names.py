"""Names in the language of a page: of kinds of jobs, stages, plugins, settings and actions of the audit log.

People read the name; where something is typed, it is the identifier, which is the same in every language.
"""

from __future__ import annotations

from segadmin.contracts.plugins import KINDS
from segadmin.jobs.registry import workflows
from segadmin.settings import Settings
from segadmin.storage.records import CORRECT_KIND
from segadmin_api.dashboard.translations import translations
from segadmin_api.request_forms import form_of

#: What the audit log has.
ACTIONS = (
    *("backup.create", "backup.restore", "store.adopt"),
    *("data.forget", "data.inbox.drop", "data.inbox.retry", "data.interrupted.drop", "data.merge", "data.quarantine"),
    *("data.quarantine.drop", "data.quarantine.retry", "data.unmerge", "feeds.add", "feeds.remove", "jobs.cancel"),
    *("jobs.enqueue", "jobs.retry", "keys.create", "keys.revoke", "labels.derive", "mappings.remove", "mappings.save"),
    *("models.canary.promote", "models.canary.start", "models.canary.stop", "models.import", "models.promote"),
    *("models.rollback", "schedules.add", "schedules.pause", "schedules.remove", "schedules.resume"),
    *("segments.describe", "sessions.begin", "sessions.end", "snapshots.diff", "snapshots.export"),
    *("snapshots.members", "uploads.add", "uploads.remove", "users.correct", "users.corrections", "users.review"),
    *("users.show", "users.withdraw"),
)


def name_text(language: str, identifier: str, context: str) -> str:
    """Return the name of something; without one, such as of what plugins bring, the identifier."""
    return translations(language).pgettext(context, identifier)


def names() -> set[tuple[str, str]]:
    """Return the identifiers of what segadmin brings, each with its context."""
    built_in = [each for each in workflows().values() if each.request.__module__.startswith("segadmin.workflows.")]
    kinds = {("job", each.kind) for each in built_in} | {("job", CORRECT_KIND)}
    stages = {("stage", stage.name) for each in built_in for stage in each.stages}
    choices = {("choice", text) for each in built_in for field in form_of(each.request) for text in field.choices}
    settings = {("setting", field.description or "") for field in Settings.model_fields.values()}
    others = {("plugin", kind) for kind in KINDS} | {("action", name) for name in ACTIONS}
    return kinds | stages | choices | settings | others
