"""The first page: what is current, what runs, and what needs attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from segadmin.jobs import control, schedules
from segadmin.jobs.selection import JobSelection
from segadmin.models.aliases import champion, pointed
from segadmin.models.canary import list_canaries
from segadmin.models.champion_changes import champion_change
from segadmin.models.versions import VersionLine, evaluations_of
from segadmin.monitoring.reports import newest_report
from segadmin.settings import Settings
from segadmin.snapshots.read import currents
from segadmin.storage.database import reading
from segadmin.storage.records import (
    CanaryState,
    DriftReport,
    Import,
    ImportState,
    Job,
    JobState,
    LabelSet,
    ModelVersion,
    Schedule,
    SegmentSnapshot,
    utcnow,
)
from segadmin.workflows.objectives import objectives
from segadmin_api.dashboard import attention
from segadmin_api.dashboard.attention import Attention
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import served, text_of
from segadmin_api.schedule_etag import schedule_etag

#: Failed jobs of the last days are shown, and at most so many of anything.
_FAILED, _SHOWN = timedelta(days=3), 5
#: Kinds of jobs of which each does all that an earlier one of the same label set has left, and how many are looked at.
_ALIKE, _LATER = frozenset({"refresh", "score"}), 20


@dataclass(frozen=True)
class LabelSetCard:
    """What is current of a label set."""

    name: str
    champion: VersionLine | None
    snapshot: SegmentSnapshot | None
    report: DriftReport | None  #: the newest one of the snapshot's model


def page(settings: Settings, reader: Reader) -> str:
    """Return the page."""
    with reading(settings) as session:
        cards = _cards(session)
        failed = [job for job in session.exec(_newest_failed()) if not _was_made_up_for(session, job)]
        imports = session.exec(select(Import).order_by(col(Import.id).desc()).limit(_SHOWN)).all()
    running = control.list_jobs(settings, _SHOWN, JobSelection(states=(JobState.RUNNING,)))
    queued = control.list_jobs(settings, _SHOWN, JobSelection(states=(JobState.QUEUED,)))
    return served(
        "overview.html",
        text_of(reader, "overview"),
        "/",
        reader,
        cards=cards,
        attention=_attention(settings, cards, failed, imports, reader),
        has_events=bool(imports) or bool(cards),
        jobs=[*running, *queued][:_SHOWN],
        imports=imports,
    )


def _cards(session: Session) -> list[LabelSetCard]:
    snapshots = currents(session)
    names = [*session.exec(select(LabelSet.name).order_by(LabelSet.name)).all(), *snapshots]
    return [_card(session, name, snapshots.get(name)) for name in dict.fromkeys(names)]


def _card(session: Session, name: str, current: int | None) -> LabelSetCard:
    number = pointed(session, champion(name))
    version = None if number is None else session.get(ModelVersion, number)
    line = None if version is None else VersionLine(version, evaluations_of(session, version))
    snapshot = None if current is None else session.get(SegmentSnapshot, current)
    return LabelSetCard(name, line, snapshot, None if snapshot is None else newest_report(session, snapshot))


def _newest_failed() -> SelectOfScalar[Job]:
    recently = utcnow() - _FAILED
    failed = select(Job).where(Job.state == JobState.FAILED, col(Job.finished_at) >= recently)
    return failed.order_by(col(Job.id).desc()).limit(_SHOWN)


def _was_made_up_for(session: Session, failed: Job) -> bool:
    """Whether a later job has done what this one should: any refresh of the same label set does."""
    if failed.kind not in _ALIKE:
        return False
    later = select(Job.options).where(Job.kind == failed.kind, Job.state == JobState.SUCCEEDED)
    newest = session.exec(later.where(col(Job.id) > failed.id).order_by(col(Job.id).desc()).limit(_LATER))
    return any(options.get("labels") == failed.options.get("labels") for options in newest)


def _attention(
    settings: Settings,
    cards: Sequence[LabelSetCard],
    failed: Sequence[Job],
    imports: Sequence[Import],
    reader: Reader,
) -> list[Attention]:
    """Return what needs attention, the most urgent first."""
    listed, late = schedules.list_schedules(settings), set(schedules.overdue(settings))
    with reading(settings) as session:
        canaries = list_canaries(session, state=CanaryState.RUNNING)
        champions = {row.label_set: champion_change(session, row.label_set) for row in canaries}
    return [
        *(attention.failed_job(job, reader) for job in failed),
        *(attention.failed_import(row, reader) for row in imports if row.state == ImportState.FAILED),
        *(attention.overdue_schedule(row, schedule_etag(row), reader) for row in listed if row.name in late),
        *(attention.missed_objective(state, reader) for state in objectives(settings) if state.missed),
        *(
            attention.drift_alarm(card.name, alarm, card.report, reader)
            for card in cards
            if card.report
            for alarm in card.report.alarms
        ),
        *(attention.running_canary(row, champions[row.label_set], reader) for row in canaries),
        *(attention.no_schedule(card.name, reader) for card in cards if _grows_old(card, listed)),
    ]


def _grows_old(card: LabelSetCard, listed: Sequence[Schedule]) -> bool:
    """Whether there is a champion, and no schedule scores the users of its label set."""
    scoring = [row for row in listed if row.kind in {"refresh", "score", "retrain"}]
    is_scored = any(row.options.get("labels") in {None, "", card.name} for row in scoring)
    return card.champion is not None and not is_scored
