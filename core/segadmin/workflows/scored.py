"""What the stages find out that score users, and by which model they do it."""

from __future__ import annotations

from typing import Any, ClassVar

from segadmin.jobs.attempt import Attempt, StageOutput, StepFile
from segadmin.workflows.prepared import PreparedSegments


class ScoreOutput(StageOutput):
    """The segments of a range of buckets."""

    stage: ClassVar[str] = "score"

    buckets: tuple[int, int]  #: first and last
    scores: StepFile
    rescored: int
    carried: int  #: users whose text did not change
    unchanged: StepFile | None = None  #: ``user_key``, ``next_change``: users whose text was read and did not change
    remark: str = ""  #: what is worth knowing of how the model predicted here
    inference: dict[str, Any] = {}  #: how the model computed here: engine, precision, agreement, …


class GateOutput(StageOutput):
    """Whether a new model scores users from now on, and why."""

    stage: ClassVar[str] = "gate"

    promoted: bool
    reason: str
    model_version_id: int


def scoring_version(attempt: Attempt, prepared: PreparedSegments) -> int:
    """Return the number of the model version that scores: a given one, or the one that this job has trained."""
    return prepared.model_version_id or attempt.output(GateOutput).model_version_id
