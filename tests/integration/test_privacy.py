"""Erasing users, keeping events no longer than wanted, and the log of who did what."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from sqlmodel import select

from segadmin.errors import DataError, JobError
from segadmin.events import import_commit
from segadmin.events.erase import forget
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.interrupted import list_interrupted
from segadmin.events.keys import show_key, user_key
from segadmin.jobs.attempt import Attempt, Json, StageResult
from segadmin.jobs.registry import Request, Stage, Workflow, workflows
from segadmin.settings import Settings
from segadmin.storage.audit import entries
from segadmin.storage.database import reading, transaction
from segadmin.storage.import_lock import no_step_runs
from segadmin.storage.lake import Lake
from segadmin.storage.records import Job, JobState, Step, StepState
from tests.conftest import Cli
from tests.planted import LABELS, Run, through_the_engine

WHO = "user-239"


def holding(root: Path, raw: str, key: int) -> set[str]:
    """Return which tables or files hold the user's id or key, looking at the content of Parquet and at all bytes."""
    holders = set()
    for path in root.rglob("*"):
        if not path.is_file():
            continue
        data = path.read_bytes()
        holds = raw.encode() in data or str(key).encode() in data or show_key(key).encode() in data
        if path.suffix == ".parquet":
            frame = pl.read_parquet(path, hive_partitioning=False)
            holds = (
                holds or ("user_key" in frame.columns and (frame["user_key"] == key).any()) or raw in frame.write_json()
            )
        if holds:
            holders.add(str(path.relative_to(root)))
    return holders


def end_jobs(settings: Settings) -> None:
    with transaction(settings) as session:
        for job in session.exec(select(Job)).all():
            job.state = JobState.SUCCEEDED
            session.add(job)


def rows(settings: Settings, table: str) -> pl.DataFrame:
    return Lake.of(settings).scan(table).collect()


def test_no_data_of_an_erased_user_is_left_on_disk(shop: Settings, tmp_path: Path, cli: Cli) -> None:
    (shop.root / "planted.parquet").unlink(missing_ok=True)
    line = f"{WHO},stare,a,2025-01-01"
    (tmp_path / "e.csv").write_text(f"user,kind,item,at\n{line}\n{WHO},view,a,2025-02-01\nuser-17,view,a,2025-02-01\n")
    import_file(shop, ImportRequest("events", str(tmp_path / "e.csv")))
    key = user_key(shop.secret(), WHO)
    others = {
        table: rows(shop, table).filter(pl.col("user_key") != key).height
        for table in ("events", "users", "assignments")
    }
    assert len(holding(shop.root, WHO, key)) > 5
    end_jobs(shop)
    [erasure] = json.loads(cli("data", "forget", WHO, "--yes", "--json").stdout)
    assert erasure["user_key"] == show_key(key)
    assert erasure["model_versions"] == [1]
    assert {table for table, count in erasure["rows"].items() if count} == {
        "events", "labels", "assignments", "trainings", "predictions", "changes", "users", "quarantine"
    }  # fmt: skip
    assert holding(shop.root, WHO, key) == set()
    assert all(rows(shop, table).height == count for table, count in others.items())
    assert cli("users", "show", WHO, check=False).returncode == 1
    again = cli("data", "forget", WHO, "--yes", check=False)
    assert f"user {WHO!r} ({show_key(key)}) is not known; nothing was erased." in again.stderr
    assert (again.returncode, again.stdout) == (1, "0 of 1 user erased; 1 not found.\n")
    actions = json.loads(cli("audit", "list", "--action", "data", "--json").stdout)
    assert [entry["action"] for entry in actions] == ["data.forget", "data.forget"]
    assert WHO not in json.dumps(actions)


def test_erasure_is_refused_while_jobs_run_and_cleans_up_imports(
    shop: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transaction(shop) as session:
        session.add(Step(job_id=1, stage="prepare", queue="cpu", state=StepState.SUCCEEDED))
    with pytest.raises(JobError, match=r"Running jobs read users' data \(1\).*segadmin jobs cancel 1"):
        forget(shop, [WHO])
    end_jobs(shop)

    def die(*_: object, **_options: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "e.csv").write_text(f"user,kind,item,at\n{WHO},view,a,2025-02-01\n")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(import_commit, "settle_events", die)
        import_file(shop, ImportRequest("events", str(tmp_path / "e.csv")))
    assert list_interrupted(shop)
    assert forget(shop, [WHO])[0].rows["events"] > 0
    assert list_interrupted(shop) == []  # the file is read again by whoever wants it


@pytest.mark.parametrize("kind", ["refresh", "score", "textualize", "export"])
def test_an_erasure_waits_for_the_job_that_runs(shop: Settings, kind: str) -> None:
    end_jobs(shop)
    with transaction(shop) as session:
        states = (JobState.QUEUED, JobState.RUNNING)
        queued, running = (Job(kind=kind, options={"labels": LABELS}, state=state) for state in states)
        session.add_all([queued, running])
        session.flush()
        job = running.id or 0
        session.add(Step(job_id=queued.id or 0, stage="prepare", queue="cpu", state=StepState.RUNNING))
        session.add(Step(job_id=job, stage="prepare", queue="cpu", state=StepState.SUCCEEDED))
    heard: list[str] = []

    def hear(note: str) -> None:
        heard.append(note)
        with transaction(shop) as session:
            session.get_one(Job, job).state = JobState.SUCCEEDED

    [erased] = forget(shop, [WHO], waiting=hear)
    assert erased.rows["events"] > 0
    assert heard == [f"Waiting for job {job} ({kind}) to end."]


def test_no_user_is_erased_until_a_step_is_recorded(shop: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step has read may be in its result, or in the error of one that fails."""
    monkeypatch.setattr("segadmin.storage.import_lock._TIMEOUT_SECONDS", 0.0)
    free: list[bool] = []

    def may_erase(_: object = None) -> Json:
        try:
            with no_step_runs(shop):
                free.append(True)
        except JobError:
            free.append(False)
        return {}

    class Quoting(DataError):
        def __str__(self) -> str:
            may_erase()
            return f"the row of {WHO} cannot be read"

    def fails(_: Attempt) -> StageResult:
        raise Quoting

    stages = Stage("prepare", lambda _: StageResult(commit=may_erase)), Stage("publish", fails, after=("prepare",))
    monkeypatch.setitem(workflows(), "quoting", Workflow("quoting", Request, stages))
    job = through_the_engine(shop, "quoting", {})
    with reading(shop) as session:
        assert WHO in (session.get_one(Job, job).error or "")
    assert len(free) > 1
    assert not any(free)
    may_erase()
    assert free[-1]


def test_an_erasure_does_not_wait_forever(shop: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    end_jobs(shop)
    monkeypatch.setattr("segadmin.events.erase._PATIENCE_SECONDS", 0.3)
    with transaction(shop) as session:
        running = Job(kind="refresh", options={"labels": LABELS}, state=JobState.RUNNING)
        session.add(running)
        session.flush()
        session.add(Step(job_id=running.id or 0, stage="prepare", queue="cpu", state=StepState.SUCCEEDED))
    with pytest.raises(JobError, match=rf"Running jobs read users' data \({running.id}\)"):
        forget(shop, [WHO])


def test_a_killed_erasure_is_finished_by_the_next(shop: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    end_jobs(shop)
    key = user_key(shop.secret(), WHO)
    delete = Lake.delete

    def dies(self: Lake, table: str, predicate: str) -> None:
        if table == "assignments":
            raise KeyboardInterrupt
        delete(self, table, predicate)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Lake, "delete", dies)
        forget(shop, [WHO])
    [erasure] = forget(shop, [show_key(key)])
    assert erasure.model_versions == [1]
    assert erasure.rows["events"] == 0 < erasure.rows["assignments"]
    assert forget(shop, [WHO])[0].rows["users"] == 0


def test_events_are_kept_as_long_as_wanted(shop: Settings) -> None:
    before = rows(shop, "events")
    cut = datetime(2025, 3, 1, tzinfo=UTC)
    days = (datetime.now(UTC) - cut) / timedelta(days=1)
    [done] = Run(shop, "retain", {"keep_days": days}).all().inputs["retain"]
    after = rows(shop, "events")
    assert 0 < done["events"] == before.height - after.height
    assert after["at"].min() >= cut
    assert after.height == before.filter(pl.col("at") >= cut).height


def test_a_schedule_can_retain_and_ingest(shop: Settings, cli: Cli) -> None:
    added = cli("schedule", "add", "monthly", "--cron", "0 4 1 * *", "retain", "--keep", "400d")
    assert "retain" in added.stdout
    cli("schedule", "add", "live", "--cron", "* * * * *", "ingest", "redis://$REDIS/0", "--source-option", "stream=s")
    options = {
        schedule["name"]: schedule["options"] for schedule in json.loads(cli("schedule", "list", "--json").stdout)
    }
    assert options["monthly"] == {"keep_days": 400.0}
    assert options["live"]["source_options"] == {"stream": "s"}
    refused = cli("enqueue", "retain", "--keep", "soon", check=False)
    assert refused.returncode == 2
    assert "'soon' is no length of time" in refused.stderr


def test_ingest_is_a_job(shop: Settings, tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("who,kind,item,at\nnew,view,a,2025-02-01\n")
    options = {"where": str(tmp_path / "e.csv"), "table": "events", "source": None, "source_options": {}}
    options["mapping"] = {"columns": {"user": "who"}}
    [done] = Run(shop, "ingest", options).all().inputs["ingest"]
    assert (done["fresh"], done["rows_kept"]) == (True, 1)


def test_the_audit_log_records_who_read_data(shop: Settings, cli: Cli, tmp_path: Path) -> None:
    assert "Nothing matches --action users." in cli("audit", "list", "--action", "users").stdout
    cli("users", "show", WHO)
    cli("snapshots", "export", "--out", str(tmp_path / "a.csv"), "--with-user-ids")
    cli("data", "quarantine")
    assert [entry.action for entry in entries(shop)[:3]] == ["data.quarantine", "snapshots.export", "users.show"]
    assert entries(shop, "snapshots")[0].details == {"rows": 240, "user_ids": True}
    assert all(entry.actor for entry in entries(shop))
    assert "users.show" in cli("audit", "list").stdout
