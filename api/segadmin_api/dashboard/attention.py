"""What needs attention, with the forms that settle it: the overview shows both."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_urlsafe

from segadmin.models.champion_changes import ChampionChange
from segadmin.storage.records import Canary, DriftReport, Import, Job, Schedule, Scope
from segadmin.workflows.objectives import ObjectiveState
from segadmin_api.dashboard.messages import message_text
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import name_of, text_of
from segadmin_api.job_scopes import needed_scope


@dataclass(frozen=True)
class AttentionForm:
    """A form that settles something."""

    path: str
    button: str
    fields: Mapping[str, str] = field(default_factory=dict)
    asks_reason: bool = False
    danger: bool = False
    scope: Scope = Scope.OPERATOR  #: who may send it


@dataclass(frozen=True)
class Attention:
    """Something that somebody should look at."""

    text: str
    link: str
    command: str = ""
    forms: Sequence[AttentionForm] = ()


def failed_job(job: Job, reader: Reader) -> Attention:
    """Return that a job failed; its form retries it."""
    text = text_of(reader, "Job %(number)s (%(kind)s) failed:", number=job.id, kind=name_of(reader, job.kind, "job"))
    retry = AttentionForm("/overview/retry", text_of(reader, "Retry"), {"job": str(job.id)}, scope=needed_scope(job))
    return Attention(
        f"{text} {message_text(reader.language, job.error or '')}",
        f"/jobs/{job.id}",
        f"segadmin jobs retry {job.id}",
        (retry,),
    )


def failed_import(row: Import, reader: Reader) -> Attention:
    """Return that an import failed."""
    text = text_of(reader, "The import of %(file)s failed:", file=row.file)
    return Attention(f"{text} {message_text(reader.language, row.error or '')}", f"/data/imports/{row.id}")


def drift_alarm(label_set: str, alarm: str, report: DriftReport, reader: Reader) -> Attention:
    """Return an alarm of a drift report."""
    return Attention(
        f"{label_set}: {message_text(reader.language, alarm)}", "/drift", f"segadmin drift show {report.snapshot_id}"
    )


def overdue_schedule(schedule: Schedule, etag: str, reader: Reader) -> Attention:
    """Return that no beat has enqueued a schedule; its form runs it now."""
    text = text_of(reader, "The schedule %(name)s is overdue: does a beat run?", name=schedule.name)
    fields = {"name": schedule.name, "etag": etag, "nonce": token_urlsafe(12)}
    run = AttentionForm("/schedules/run", text_of(reader, "Run now"), fields, scope=needed_scope(schedule))
    return Attention(text, "/schedules", "segadmin up --detach", (run,))


def missed_objective(state: ObjectiveState, reader: Reader) -> Attention:
    """Return that the segments are older than a schedule promises."""
    text = text_of(
        reader,
        "The freshness objective of %(name)s is missed: %(seconds)s s, not %(objective)s s.",
        name=state.schedule,
        seconds=f"{state.seconds:.0f}",
        objective=f"{state.objective:g}",
    )
    return Attention(f"{text} {message_text(reader.language, state.cause)}", "/schedules", state.fix)


def running_canary(canary: Canary, champion: ChampionChange | None, reader: Reader) -> Attention:
    """Return that a canary waits for its end; its forms promote and stop it before."""
    until = reader.formats.moment(canary.until)
    text = text_of(
        reader,
        "Version %(version)s is a canary of %(labels)s until %(until)s of the events' time.",
        version=canary.challenger_id,
        labels=canary.label_set,
        until=until,
    )
    path, seen = f"/models/canaries/{canary.id}", str(champion.version) if champion else "none"
    forms = (
        AttentionForm(f"{path}/promote", text_of(reader, "Promote"), {"champion": seen}, asks_reason=True),
        AttentionForm(f"{path}/stop", text_of(reader, "Stop"), asks_reason=True, danger=True),
    )
    return Attention(text, path, f"segadmin models canary show --labels {shlex.quote(canary.label_set)}", forms)


def no_schedule(label_set: str, reader: Reader) -> Attention:
    """Return that nothing refreshes the segments by itself; its form adds a nightly refresh."""
    text = text_of(reader, "No schedule refreshes the segments of %(labels)s: they grow old.", labels=label_set)
    name, cron = f"nightly {label_set}", "0 3 * * *"
    fields = {"name": name, "kind": "refresh", "cron": cron, "timezone": reader.zone, "option.labels": label_set}
    when = ["--cron", cron, "--timezone", reader.zone]
    command = shlex.join(["segadmin", "schedule", "add", name, *when, "refresh", "--labels", label_set])
    add = AttentionForm("/schedules/save", text_of(reader, "Refresh every night at 3"), fields)
    return Attention(text, "/schedules/new", command, (add,))
