"""What the stages find out that score users, and by which model they do it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from segadmin.jobs.attempt import Attempt, StageOutput, StepFile
from segadmin.models.canary import CanaryShare
from segadmin.workflows.prepared import PreparedSegments, RefreshPlan


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
    canary_inference: dict[str, Any] = {}  #: how the challenger computed, where a canary is running
    canary_failure: str = ""  #: how the challenger failed: the champion has scored its users too


class ChallengerOutput(StageOutput):
    """What the challenger of a canary found out of its users of a range of buckets."""

    stage: ClassVar[str] = "score_challenger"

    buckets: tuple[int, int]  #: first and last
    scores: StepFile | None = None  #: ``None``: there is no challenger, or it failed
    unchanged: StepFile | None = None  #: see :class:`ScoreOutput`
    read_users: int = 0
    inference: dict[str, Any] = {}  #: how it computed
    failure: str = ""  #: why the champion must score these users


class GateOutput(StageOutput):
    """Whether a new model scores users from now on, and why."""

    stage: ClassVar[str] = "gate"

    promoted: bool
    reason: str
    model_version_id: int
    canary: CanaryShare | None = None  #: of the new version, if it became a canary and not champion
    refresh: RefreshPlan | None = None  #: with a canary: what holds for the users who are not scored


@dataclass(frozen=True)
class Scoring:
    """By which models a job scores whom."""

    version_id: int  #: of the snapshot: it scores all users, but for those of the canary
    canary: CanaryShare | None
    refresh: RefreshPlan | None

    @property
    def versions(self) -> list[int]:
        """The model versions that score, that of the snapshot first."""
        return [self.version_id] if self.canary is None else [self.version_id, self.canary.challenger_id]

    @property
    def reads_everyone(self) -> bool:
        """Whether the texts of all users are read at the scoring window."""
        return self.refresh is None or self.refresh.everyone or self.refresh.silent


def scoring_of(attempt: Attempt, prepared: PreparedSegments) -> Scoring:
    """Return which models score: a given one, or the one that this job has trained; and the canary."""
    if prepared.model_version_id is not None:
        return Scoring(prepared.model_version_id, prepared.canary, prepared.refresh)
    gate = attempt.output(GateOutput)
    version_id = gate.model_version_id if gate.canary is None else gate.canary.champion_id
    return Scoring(version_id, gate.canary, gate.refresh)
