"""A shop whose data attack whoever looks at them: in every place that holds what users, files and plugins wrote."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta

import polars as pl
from sqlmodel import select

from segadmin.jobs.enqueue import enqueue
from segadmin.settings import Settings
from segadmin.snapshots.corrections import correct
from segadmin.snapshots.segment_profile import Estimate, Lift
from segadmin.storage import api_keys, database
from segadmin.storage.audit import entry
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import (
    DriftReport,
    Import,
    ImportState,
    Job,
    JobState,
    ModelVersion,
    Schedule,
    Scope,
    SegmentDescription,
    SegmentProfileRow,
    SegmentSummary,
    Step,
    utcnow,
)
from tests.planted import LABELS

#: What templates that are evaluated would show.
EVALUATED = str(7411 * 7)
#: Whatever runs of it sets this global.
RAN = "window.attacked"
ATTACKS = (
    f"<script>{RAN}=1</script>",
    f"</script><script>{RAN}=1</script>",
    f"<img src=x onerror={RAN}=1>",
    f"\"'><svg/onload={RAN}=1>",
    f'" autofocus onfocus={RAN}=1 x="',
    f"';{RAN}=1;//",
    f"javascript:{RAN}=1",
    "{{7411*7}}${7411*7}#{7411*7}",
    "</title></textarea></style><base href=//evil.example/>",
    "&lt;b&gt;&#60;i&#62;",
)


def attack(place: str) -> str:
    """Return all attacks as one text that begins with the place where it is."""
    return f"{place} {' '.join(ATTACKS)}"


#: Names are part of paths, and those of label sets of one segment of a path.
SEGMENT, LABEL_SET = attack("segment"), f"labels <img src=x onerror={RAN}=1> \"'{{{{7411*7}}}}"
CATEGORY, TITLE, REASON = attack("category"), attack("title"), attack("reason")
FILE, ERROR, NOTE = attack("file"), attack("error"), attack("note")
KEY = attack("key")[:200]
LIFT = Lift(name=CATEGORY, users=20, share=0.4, overall=0.2, lift=Estimate(value=2.0, low=1.5, high=2.5))
DESCRIPTION, OWNER = attack("description"), attack("owner")[:200]
DESCRIBED = {"description": DESCRIPTION, "owner": OWNER, "actor": attack("actor")}
SCHEDULE, PLUGIN, OPTION, ALARM = attack("schedule"), attack("plugin"), attack("option"), attack("alarm")


def make_hostile(settings: Settings) -> str:
    """Write the attacks into a shop with two snapshots, and return an administrator's key of a hostile name."""
    _attack_lake(settings)
    correct(settings, "user-1", "low", REASON)
    with transaction(settings) as session:
        for version in session.exec(select(ModelVersion)).all():
            version.segments = [SEGMENT if segment == "high" else segment for segment in version.segments]
            version.backbone, version.textualizer = PLUGIN, attack("textualizer")
            session.add(version)
        for summary in session.exec(select(SegmentSummary)).all():
            summary.segment = SEGMENT if summary.segment == "high" else summary.segment
            summary.distinctive = [{"category": CATEGORY, "share": 0.4, "lift": 1.9}]
            session.add(summary)
        for row in session.exec(select(SegmentProfileRow)).all():
            row.segment = SEGMENT if row.segment == "high" else row.segment
            row.profile = row.profile | {"categories": [LIFT.model_dump(mode="json")]}
            session.add(row)
        session.add(SegmentDescription(label_set=LABELS, segment=SEGMENT, revision=1, **DESCRIBED))
        for report in session.exec(select(DriftReport)).all():
            report.alarms = [ALARM]
            session.add(report)
        failed = {"table": "events", "sha256": "0", "state": ImportState.FAILED, "reasons": {REASON: 3}}
        session.add(Import(file=FILE, error=ERROR, warnings=[NOTE], rows_quarantined=3, **failed))
        later = utcnow() + timedelta(days=1)
        session.add(Schedule(name=SCHEDULE, cron="0 4 * * *", kind="score", options={OPTION: OPTION}, next_slot=later))
        session.add(entry(attack("action"), attack("subject"), before=attack("before"), after=None, note=NOTE))
    _attack_jobs(settings)
    database.engine(settings).dispose()
    _rename_label_set(settings)
    return api_keys.create(settings, KEY, Scope.ADMIN)


def _attack_lake(settings: Settings) -> None:
    lake = Lake.of(settings)
    lake.overwrite("items", lake.scan("items").with_columns(title=pl.lit(TITLE), category=pl.lit(CATEGORY)).collect())
    rows = lake.scan("assignments").collect()
    hostile = pl.col("segment").replace("high", SEGMENT)
    for number in rows["snapshot_id"].unique().sort():
        of_snapshot = rows.filter(pl.col("snapshot_id") == number).with_columns(hostile)
        lake.replace_partition("assignments", of_snapshot, "snapshot_id", str(number))


def _attack_jobs(settings: Settings) -> None:
    options = {"path": FILE, "table": "events", "mapping": OPTION}
    for state in (JobState.FAILED, JobState.RUNNING):
        job = enqueue(settings, lambda _messages: None, "ingest", options).job
        with transaction(settings) as session:
            row = session.get_one(Job, job.id)
            row.state, row.error = state, ERROR
            row.started_at = row.finished_at = utcnow()
            session.add(row)
            for step in session.exec(select(Step).where(Step.job_id == job.id)).all():
                step.note, step.error, step.worker, step.calling = NOTE, ERROR, attack("worker"), PLUGIN
                session.add(step)


def _rename_label_set(settings: Settings) -> None:
    """Give the label set a name that no command would accept, in every table."""
    with closing(sqlite3.connect(settings.database_files[0])) as connection, connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
            if "label_set" in columns:
                connection.execute(f"UPDATE {table} SET label_set = ? WHERE label_set = ?", (LABEL_SET, LABELS))
        connection.execute("UPDATE labelset SET name = ? WHERE name = ?", (LABEL_SET, LABELS))
        connection.execute("UPDATE current SET name = replace(name, ?, ?)", (LABELS, LABEL_SET))
