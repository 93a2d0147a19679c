"""The first page: what is current, what runs, and what needs attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from segadmin.jobs import control, schedules
from segadmin.models.aliases import champion, pointed
from segadmin.models.versions import VersionLine, evaluations_of
from segadmin.monitoring.reports import newest_report
from segadmin.settings import Settings
from segadmin.snapshots.read import currents
from segadmin.storage.database import reading
from segadmin.storage.records import (
    DriftReport,
    Import,
    ImportState,
    Job,
    JobState,
    LabelSet,
    ModelVersion,
    SegmentSnapshot,
    utcnow,
)
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import served, text_of

#: Failed jobs of the last days are shown, and at most so many of anything.
_FAILED, _SHOWN = timedelta(days=3), 5


@dataclass(frozen=True)
class LabelSetCard:
    """What is current of a label set."""

    name: str
    champion: VersionLine | None
    snapshot: SegmentSnapshot | None
    report: DriftReport | None  #: the newest one of the snapshot's model


@dataclass(frozen=True)
class Attention:
    """Something that somebody should look at."""

    text: str
    link: str
    command: str = ""


def page(settings: Settings, reader: Reader) -> str:
    """Return the page."""
    with reading(settings) as session:
        cards = _cards(session)
        failed = session.exec(_newest_failed()).all()
        imports = session.exec(select(Import).order_by(col(Import.id).desc()).limit(_SHOWN)).all()
    running = control.list_jobs(settings, _SHOWN, JobState.RUNNING)
    queued = control.list_jobs(settings, _SHOWN, JobState.QUEUED)
    return served(
        "overview.html",
        text_of(reader, "overview"),
        "/",
        reader,
        cards=cards,
        attention=_attention(settings, cards, failed, imports, reader),
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


def _attention(
    settings: Settings,
    cards: Sequence[LabelSetCard],
    failed: Sequence[Job],
    imports: Sequence[Import],
    reader: Reader,
) -> list[Attention]:
    """Return what needs attention, the most urgent first."""
    entries = [
        Attention(
            text_of(reader, "Job %(number)s (%(kind)s) failed:", number=job.id, kind=job.kind) + f" {job.error or ''}",
            f"/jobs/{job.id}",
            f"segadmin jobs retry {job.id}",
        )
        for job in failed
    ]
    entries += [
        Attention(text_of(reader, "The import of %(file)s failed:", file=each.file) + f" {each.error or ''}", "/data")
        for each in imports
        if each.state == ImportState.FAILED
    ]
    entries += [
        Attention(f"{card.name}: {alarm}", "/drift", f"segadmin drift show {card.report.snapshot_id}")
        for card in cards
        if card.report is not None
        for alarm in card.report.alarms
    ]
    overdue = "The schedule %(name)s is overdue: does a beat run?"
    return entries + [
        Attention(text_of(reader, overdue, name=name), "/schedules", "segadmin status")
        for name in schedules.overdue(settings)
    ]
