"""Outputs of steps that are gone or damaged: a retry makes them again, and everything that follows from them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlmodel import select

from segadmin.errors import DataError, StoreMissing
from segadmin.events.erase import forget
from segadmin.files import folder_digest
from segadmin.jobs import control
from segadmin.jobs.attempt import Attempt, StageResult
from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.reap import reap
from segadmin.jobs.registry import Request, Stage, Workflow, register
from segadmin.jobs.run import run_step
from segadmin.labels.label_sets import after, latest_event
from segadmin.models.artifact import Saved, read_manifest
from segadmin.models.manifest import manifest_of
from segadmin.settings import Settings
from segadmin.snapshots.profiles import find_profiles
from segadmin.snapshots.read import assignments
from segadmin.snapshots.segment_profile import SegmentProfile
from segadmin.snapshots.summary import profile_segments
from segadmin.storage import database
from segadmin.storage.database import reading
from segadmin.storage.lake import Lake
from segadmin.storage.records import DriftReport, JobState, ModelVersion, SegmentSnapshot, Step
from segadmin.storage.store import open_store
from tests.conftest import Cli
from tests.planted import LABELS, more_weeks, planted_users
from tests.probe import Facts
from tests.unit.jobs.conftest import Messages

#: The stages that ran, in order; of one that is cut by buckets with the first of them.
ran: list[str] = []


def table(attempt: Attempt) -> StageResult:
    ran.append(f"{attempt.stage}-{attempt.buckets.start}" if attempt.buckets else attempt.stage)
    return StageResult(Facts(files=[attempt.write(pl.DataFrame({"n": [1, 2]}), "numbers").model_dump()]))


def model(attempt: Attempt) -> StageResult:
    ran.append(attempt.stage)
    folder = attempt.settings.store_path / "models" / "m"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.json").write_text("[1, 2]")
    return StageResult(Facts(folder="models/m", sha256=folder_digest(folder)))


def check(attempt: Attempt) -> StageResult:
    ran.append(attempt.stage)
    if (attempt.settings.root / "fails").exists():
        raise DataError("it fails")
    return StageResult()


register(
    Workflow(
        "write files",
        Request,
        (
            Stage("textualize", table, per_buckets=True),
            Stage("finetune", model, after=("textualize",)),
            Stage("baselines", table, after=("textualize",)),
            Stage("evaluate", check, after=("finetune", "baselines")),
        ),
    )
)


@pytest.fixture
def failed(any_database: Settings) -> tuple[Settings, int]:
    """A store and a job whose last stage has failed."""
    settings, messages = any_database, Messages()
    database.upgrade(settings)
    open_store(settings)
    settings.root.mkdir(exist_ok=True)
    (settings.root / "fails").touch()
    job = enqueue(settings, messages, "write files", {}).job.id or 0
    assert drain(settings, messages, job) == JobState.FAILED
    (settings.root / "fails").unlink()
    ran.clear()
    return settings, job


def drain(settings: Settings, messages: Messages, job: int) -> JobState:
    """Run steps until no message is left; return the state of the job."""
    while step_ids := messages.take():
        for step_id in step_ids:
            run_step(settings, messages, step_id, "me")
    return control.view(settings, job).job.state


def output(settings: Settings, job: int, stage: str) -> Path:
    """Return the file that the first step of a stage wrote."""
    steps = control.view(settings, job).steps
    result = next(step.result for step in steps if step.stage == stage)
    return settings.store_path / (result["files"][0]["path"] if "files" in result else result["folder"])


def gone(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def changed(path: Path) -> None:
    (path / "weights.json" if path.is_dir() else path).write_bytes(b"zeros after a loss of power")


def a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("stage", "damage", "again"),
    [
        ("textualize", gone, ["textualize-0", "finetune", "baselines", "evaluate"]),
        ("textualize", changed, ["textualize-0", "finetune", "baselines", "evaluate"]),
        ("finetune", gone, ["finetune", "evaluate"]),
        ("finetune", changed, ["finetune", "evaluate"]),
        ("baselines", a_link, ["baselines", "evaluate"]),
    ],
)
def test_a_retry_makes_lost_outputs_again(
    failed: tuple[Settings, int], stage: str, damage: Callable[[Path], None], again: list[str]
) -> None:
    settings, job = failed
    path, messages = output(settings, job, stage), Messages()
    damage(path)
    retried = control.retry(settings, messages, job)
    assert [(lost.stage, settings.store_path / lost.path) for lost in retried.lost] == [(stage, path)]
    assert drain(settings, messages, job) == JobState.SUCCEEDED
    assert ran == again


def test_a_retry_keeps_outputs_that_are_whole(failed: tuple[Settings, int]) -> None:
    settings, job = failed
    messages = Messages()
    assert control.retry(settings, messages, job).lost == ()
    assert drain(settings, messages, job) == JobState.SUCCEEDED
    assert ran == ["evaluate"]


def test_a_store_that_is_away_has_not_lost_its_outputs(failed: tuple[Settings, int], tmp_path: Path) -> None:
    settings, job = failed
    settings.store_path.rename(tmp_path / "away")
    with pytest.raises(StoreMissing):
        control.retry(settings, Messages(), job)
    assert control.view(settings, job).job.state == JobState.FAILED
    assert not settings.store_path.exists()
    (tmp_path / "away").rename(settings.store_path)
    assert control.retry(settings, Messages(), job).lost == ()


def test_a_retrain_goes_on_after_it_lost_its_model_and_its_texts(shop: Settings, cli: Cli) -> None:
    messages = Messages()
    options = {"labels": LABELS, "backbone": "tabular", "baselines": ["tabular"], "margin": -1}
    job = enqueue(shop, messages, "retrain", options | {"backbone_options": {"rounds": "10", "min_users": "5"}}).job.id
    assert job is not None
    while stage_of(shop, steps := messages.take()) != "evaluate":
        for step_id in steps:
            run_step(shop, messages, step_id, "me")
    model = output(shop, job, "finetune")
    cli("jobs", "cancel", str(job))
    shutil.rmtree(shop.store_path / "work" / f"job-{job}")
    (model / "manifest.json").unlink()
    done = cli("jobs", "retry", str(job)).stdout
    assert "outputs are gone or damaged. Runs again: prepare, textualize, baselines, finetune, and every stage" in done
    reap(shop, messages)  # the command could reach no broker
    assert drain(shop, messages, job) == JobState.SUCCEEDED
    with reading(shop) as session:
        version = session.exec(select(ModelVersion).where(ModelVersion.job_id == job)).one()
    assert read_manifest(shop, Saved(version.folder, version.sha256)).job == job


def test_what_follows_a_publication_is_done_after_an_erasure(shop: Settings) -> None:
    users, messages = planted_users(shop), Messages()
    more_weeks(shop, users.head(30), range(14, 15))
    job = stopped_before(shop, {"monitor", "segment_profiles"}, messages)
    before = snapshot_of_job(shop, job)
    forget(shop, ["user-3"])
    more_weeks(shop, users.tail(30), range(16, 17), seed=2)
    assert control.retry(shop, messages, job).lost == (), "it is published, and nobody is scored again"
    assert drain(shop, messages, job) == JobState.SUCCEEDED
    with reading(shop) as session:
        report = session.exec(select(DriftReport).where(DriftReport.snapshot_id == before.id)).one()
        profiles = find_profiles(session, before)
    assert report.users > 0
    assert sum(profile.users for profile in profiles.values()) == 239
    profiles_are_of(shop, before, profiles)


def test_a_job_that_has_not_published_reads_the_store_anew_after_an_erasure(shop: Settings) -> None:
    users, messages = planted_users(shop), Messages()
    more_weeks(shop, users.head(30), range(14, 15))
    job = stopped_before(shop, {"score"}, messages)
    forget(shop, ["user-3"])
    more_weeks(shop, users.tail(30), range(16, 17), seed=2)
    lost = control.retry(shop, messages, job).lost
    assert {output.stage for output in lost} == {"prepare", "textualize"}
    assert ("prepare", "lake/events") in {(output.stage, output.path) for output in lost}
    assert drain(shop, messages, job) == JobState.SUCCEEDED
    snapshot = snapshot_of_job(shop, job)
    assert (snapshot.users, snapshot.as_of) == (239, after(latest_event(Lake.of(shop))))


def test_a_published_job_that_is_repeated_describes_its_own_snapshot(shop: Settings) -> None:
    users, messages = planted_users(shop), Messages()
    more_weeks(shop, users.head(30), range(14, 15))
    job = stopped_before(shop, {"segment_profiles"}, messages)
    snapshot = snapshot_of_job(shop, job)
    more_weeks(shop, users, range(15, 17), seed=2)
    control.retry(shop, messages, job, from_start=True)
    assert drain(shop, messages, job) == JobState.SUCCEEDED
    assert snapshot_of_job(shop, job) == snapshot
    with reading(shop) as session:
        profiles_are_of(shop, snapshot, find_profiles(session, snapshot))


def stopped_before(settings: Settings, stages: set[str], messages: Messages) -> int:
    """Return a refresh that was cancelled when these stages were next."""
    job = enqueue(settings, messages, "refresh", {"labels": LABELS}).job.id or 0
    while steps := [step for step in messages.take() if stage_of(settings, [step]) not in stages]:
        for step_id in steps:
            run_step(settings, messages, step_id, "me")
    control.cancel(settings, messages, job)
    messages.take()
    return job


def snapshot_of_job(settings: Settings, job: int) -> SegmentSnapshot:
    with reading(settings) as session:
        return session.exec(select(SegmentSnapshot).where(SegmentSnapshot.job_id == job)).one()


def profiles_are_of(settings: Settings, snapshot: SegmentSnapshot, profiles: Mapping[str, SegmentProfile]) -> None:
    """Check that profiles are of a snapshot, and of its window."""
    users = assignments(settings, snapshot.id or 0).select("bucket", "user_key", "segment").collect()
    with reading(settings) as session:
        window = manifest_of(session.get_one(ModelVersion, snapshot.model_version_id)).recipe.window(snapshot.as_of)
    assert _rounded(profiles) == _rounded(profile_segments(Lake.of(settings), users, window))


def _rounded(profiles: Mapping[str, SegmentProfile]) -> Any:
    """Return profiles as JSON; sums differ in their last digits with the order in which threads add."""
    facts = {segment: profile.model_dump(mode="json") for segment, profile in profiles.items()}
    return json.loads(json.dumps(facts), parse_float=lambda text: round(float(text), 9))


def stage_of(settings: Settings, step_ids: list[int]) -> str:
    with reading(settings) as session:
        return session.get_one(Step, step_ids[0]).stage
