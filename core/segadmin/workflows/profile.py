"""``profile``: counts what the lake holds, for the page that shows it: too long for a web server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from sqlmodel import col, select

from segadmin.jobs.attempt import Attempt, StageOutput, StageResult
from segadmin.jobs.registry import Request, Stage, Workflow, register
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.records import Job, JobState, Step


class ProfileRequest(Request):
    """Options of ``profile``: none."""


class ProfileOutput(StageOutput):
    """A :class:`segadmin.events.profile.Profile`."""

    stage: ClassVar[str] = "profile"

    profile: dict[str, Any]


@dataclass(frozen=True)
class StoredProfile:
    """The newest profile that a job has made."""

    job_id: int
    at: datetime  #: when it was made
    profile: dict[str, Any]


def profile(attempt: Attempt) -> StageResult:
    """Count events, users and items."""
    from segadmin.events.profile import profile as profile_lake

    return StageResult(ProfileOutput(profile=profile_lake(attempt.settings).model_dump(mode="json")))


def latest_profile(settings: Settings) -> StoredProfile | None:
    """Return the newest profile; ``None`` if no job has made one."""
    jobs = select(Job).where(Job.kind == "profile", Job.state == JobState.SUCCEEDED)
    with reading(settings) as session:
        job = session.exec(jobs.order_by(col(Job.id).desc()).limit(1)).first()
        if job is None:
            return None
        step = session.exec(select(Step).where(Step.job_id == job.id)).one()
    assert job.id is not None
    return StoredProfile(job.id, job.finished_at or job.created_at, ProfileOutput.read(step.result).profile)


def pending_profile(settings: Settings) -> int | None:
    """Return the job that is making a profile; ``None`` if there is none."""
    going_on = [state for state in JobState if not state.over]
    with reading(settings) as session:
        return session.exec(select(Job.id).where(Job.kind == "profile", col(Job.state).in_(going_on)).limit(1)).first()


register(
    Workflow(
        "profile",
        ProfileRequest,
        (Stage("profile", profile),),
        "Count what the lake holds, for the page of the profile.",
    )
)
