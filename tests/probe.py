"""A tiny job kind for testing the engine: real stages, real files, no learning.

``python -m celery -A tests.probe worker`` runs a worker that knows it.
"""

from __future__ import annotations

import gc
import os
import signal
import time
from pathlib import Path

from pydantic import ConfigDict

from segadmin.jobs.attempt import Attempt, StageOutput, StageResult
from segadmin.jobs.registry import Request, Stage, Workflow, register


class Facts(StageOutput):
    """Whatever a stage found out."""

    model_config = ConfigDict(frozen=True, extra="allow")


def begin(attempt: Attempt) -> StageResult:
    """Fail as often as the options say, then succeed."""
    _note(attempt, "begin")
    (attempt.checkpoints / f"attempt-{attempt.number}").touch()
    if attempt.number <= attempt.options.get("failures", 0):
        raise RuntimeError(f"failure {attempt.number}")
    return StageResult(Facts(began=attempt.number, frozen=gc.get_freeze_count()))


def work(attempt: Attempt) -> StageResult:
    """Take a while, in small pieces; on request, kill this very process in the first attempt."""
    _note(attempt, "work")
    if attempt.options.get("suicide") == attempt.buckets.start and attempt.number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    pieces = int(attempt.options.get("pieces", 1))
    for piece in range(pieces):
        attempt.progress(piece / pieces, f"piece {piece}")
        time.sleep(attempt.options.get("sleep", 0.0))
    return StageResult(Facts(buckets=[attempt.buckets.start, attempt.buckets.stop - 1], sum=sum(attempt.buckets)))


def collect(attempt: Attempt) -> StageResult:
    """Add up what the steps before found."""
    _note(attempt, "collect")
    return StageResult(Facts(sum=sum(facts["sum"] for facts in attempt.inputs["textualize"])))


def _note(attempt: Attempt, what: str) -> None:
    """Leave a line that the test can read: which attempt of which step ran, and where."""
    diary = Path(attempt.settings.root) / "diary.txt"
    diary.parent.mkdir(exist_ok=True)
    with diary.open("a") as file:
        file.write(f"{time.time():.3f} {what} {attempt.step_id} {attempt.number} {os.getpid()}\n")


register(
    Workflow(
        "probe",
        Request,
        (
            Stage("prepare", begin, holds="probe"),
            Stage("textualize", work, after=("prepare",), per_buckets=True),
            Stage("publish", collect, after=("textualize",)),
        ),
    )
)

from segadmin_worker.app import app  # noqa: E402, F401  (after the registration, for Celery's -A)
