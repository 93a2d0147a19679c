"""The stages that score users: by the challenger of a canary first, and then by the model of everybody else.

They are apart, so that a challenger that kills its process, or never ends, costs its users the challenger and nobody a
segment: the model of the others scores them too.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlmodel import Session, col, select

from segadmin.contracts.plugins import load_plugins
from segadmin.jobs.attempt import Attempt, Json, StageResult
from segadmin.jobs.plugin_guard import calling
from segadmin.jobs.registry import Stage
from segadmin.models.canary import CanaryShare, end_canary
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.records import Canary, CanaryState, Job, ModelVersion, Step, StepState
from segadmin.workflows.prepared import PreparedSegments
from segadmin.workflows.scored import ChallengerOutput, ScoreOutput, scoring_of
from segadmin.workflows.textualize import texts_to_score

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import polars as pl

    from segadmin.contracts.backbone import Classifier
    from segadmin.inference.predictor import Predictor
    from segadmin.workflows.scoring_groups import GroupTexts, ScoringGroup

log = logging.getLogger(__name__)


def score_challenger(attempt: Attempt) -> StageResult:
    """Let the challenger of a canary read its users whose text changed.

    If it fails, or the canary was stopped meanwhile, :func:`score` lets the champion read them.
    """
    import polars as pl

    from segadmin.workflows.scoring_groups import MODEL_FAILURES, groups_of, texts_of_group

    prepared = attempt.output(PreparedSegments)
    buckets = (attempt.buckets.start, attempt.buckets.stop - 1)
    _, *challengers = groups_of(attempt.settings, prepared.text, scoring_of(attempt, prepared))
    if not challengers:
        return StageResult(ChallengerOutput(buckets=buckets))
    [group] = challengers
    if reason := _why_stopped(attempt.settings, group):
        return StageResult(ChallengerOutput(buckets=buckets, failure=f"the canary was stopped: {reason}"))
    texts = texts_of_group(attempt, prepared, group, texts_to_score(attempt, attempt.buckets))
    try:
        scored = _score_group(attempt, group, texts, 0, texts.users)
    except MODEL_FAILURES as error:
        log.warning("challenger failed", extra={"action": "canary", "version": group.version_id})
        return StageResult(ChallengerOutput(buckets=buckets, failure=str(error)))
    return StageResult(
        ChallengerOutput(
            buckets=buckets,
            scores=attempt.write(scored.scores, "scores"),
            unchanged=attempt.write(pl.concat(scored.unchanged), "unchanged") if scored.unchanged else None,
            read_users=scored.read,
            inference=scored.model.inference,
        )
    )


def score(attempt: Attempt) -> StageResult:
    """Let the model read the users whose text changed, but for those whom the challenger of a canary has read.

    Memory is bounded: the texts of some buckets are read at a time. If the challenger failed, the canary is stopped,
    and its users are read here.
    """
    import polars as pl

    from segadmin.workflows.scoring_groups import groups_of, texts_of_group

    prepared, own = attempt.output(PreparedSegments), texts_to_score(attempt, attempt.buckets)
    first, *challengers = groups_of(attempt.settings, prepared.text, scoring_of(attempt, prepared))
    challenged = _challenged(attempt) if challengers else None
    failure = challenged.failure if challenged is not None else ""
    groups = [first, *(group.scored_by(first) for group in challengers if failure)]
    texts = [texts_of_group(attempt, prepared, group, own) for group in groups]
    total, parts = sum(each.users for each in texts), list[_Scored]()
    for group, group_texts in zip(groups, texts, strict=True):
        parts.append(_score_group(attempt, group, group_texts, sum(part.read for part in parts), total))
    scores, unchanged = [part.scores for part in parts], [rows for part in parts for rows in part.unchanged]
    read = sum(part.read for part in parts)
    if challenged is not None and challenged.scores is not None:
        scores.append(attempt.read(challenged.scores))
        unchanged += [attempt.read(challenged.unchanged)] if challenged.unchanged else []
        read += challenged.read_users
    scored = pl.concat(scores)
    output = ScoreOutput(
        buckets=(attempt.buckets.start, attempt.buckets.stop - 1),
        scores=attempt.write(scored.sort("bucket", "user_key"), "scores"),
        rescored=scored.height,
        carried=read - scored.height,
        unchanged=attempt.write(pl.concat(unchanged), "unchanged") if unchanged else None,
        remark=parts[0].model.remark,
        inference=parts[0].model.inference,
        canary_inference=challenged.inference if challenged is not None else {},
        canary_failure=failure,
    )

    def commit(session: Session) -> Json:
        """Stop the canary if its challenger failed, so that the next job does not try it again."""
        _stop(session, attempt.job_id, challengers[0].canary, "the challenger failed while it scored users")
        return {}

    return StageResult(output, commit=commit if failure else None)


def _challenged(attempt: Attempt) -> ChallengerOutput:
    """Return what the challenger has found out of the buckets of a step, or that its own step failed.

    A job that an older release began has no such step.
    """
    buckets = (attempt.buckets.start, attempt.buckets.stop - 1)
    outputs = attempt.outputs(ChallengerOutput) if ChallengerOutput.stage in attempt.inputs else []
    failure = f"its step did not end well; why: segadmin jobs show {attempt.job_id}"
    return next(
        (output for output in outputs if output.buckets == buckets), ChallengerOutput(buckets=buckets, failure=failure)
    )


def _why_stopped(settings: Settings, group: ScoringGroup) -> str:
    """Return why the canary of a group does not run any more; empty if it does."""
    assert group.canary is not None
    with reading(settings) as session:
        canary = session.get_one(Canary, group.canary.canary_id)
        return "" if canary.state == CanaryState.RUNNING else canary.reason or "somebody stopped it"


def _stop(session: Session, job_id: int, share: CanaryShare | None, why: str) -> None:
    assert share is not None
    canary = session.get_one(Canary, share.canary_id)
    end_canary(session, canary, CanaryState.STOPPED, f"{why}: segadmin jobs show {job_id}", job=job_id)


def give_up_challenger(session: Session, job: Job, *, lost: bool) -> None:
    """Stop the canary of a job whose challenger could not score, or took its processes down: no job tries it again."""
    decided = select(Step.result).where(
        Step.job_id == job.id, col(Step.stage).in_(["gate", "prepare"]), Step.state == StepState.SUCCEEDED
    )
    shares = [result.get("canary") for result in session.exec(decided).all()]
    why = "the processes in which the challenger ran died" if lost else "the challenger failed while it scored users"
    for share in map(CanaryShare.model_validate, filter(None, shares)):
        _stop(session, job.id or 0, share, why)


@dataclass
class _Scored:
    """What the model of a group has done with its users."""

    model: _Model
    rows: list[pl.DataFrame] = field(default_factory=list)  #: with the columns of ``SCORES``
    unchanged: list[pl.DataFrame] = field(default_factory=list)  #: see :attr:`ScoreOutput.unchanged`
    read: int = 0  #: users

    @property
    def scores(self) -> pl.DataFrame:
        """The rows of all batches."""
        import polars as pl

        from segadmin.inference.scoring import SCORES

        return pl.concat([pl.DataFrame(schema=SCORES), *self.rows])


def _score_group(attempt: Attempt, group: ScoringGroup, texts: GroupTexts, before: int, total: int) -> _Scored:
    """Let the model of a group read its users.

    Args:
        attempt: of the step.
        group: the users and their model.
        texts: of the users.
        before: users who were read before, of ``total``.
        total: users to be read.
    """
    from segadmin.inference.scoring import scored_batches

    scored = _Scored(_Model(attempt, group.version_id))
    for users in texts.pieces:
        changed = _changed(attempt.settings, group, users)
        if group.goes_on and "next_change" in users.columns:  # otherwise an older release has read them
            same = users.join(changed, on="user_key", how="anti")
            scored.unchanged.append(same.select("user_key", "next_change"))
        if changed.height:
            call, skipped = scored.model.call, before + scored.read + users.height - changed.height
            scored.rows += scored_batches(
                changed,
                scored.model.predictor,
                group.version_id,
                call=call,
                progress=attempt.progress,
                before=skipped,
                total=total,
            )
        scored.read += users.height
    return scored


def _changed(settings: Settings, group: ScoringGroup, users: pl.DataFrame) -> pl.DataFrame:
    """Return those of ``users`` who are scored: without those whose text is the same although time passed."""
    from segadmin.snapshots.read import assignments
    from segadmin.snapshots.stale import to_score

    if group.refresh is None or group.refresh.everyone:
        return users
    buckets = users["bucket"].unique().to_list()
    return to_score(users, assignments(settings, group.refresh.snapshot_id, buckets=buckets))


class _Model:
    """The model of a scoring step, loaded when the first user is to be read."""

    def __init__(self, attempt: Attempt, version_id: int) -> None:
        self._attempt, self._version_id = attempt, version_id
        self._plugins = load_plugins(attempt.settings)

    @cached_property
    def _version(self) -> ModelVersion:
        with reading(self._attempt.settings) as session:
            return session.get_one(ModelVersion, self._version_id)

    def call(self, method: str = "predict") -> AbstractContextManager[None]:
        """Return the context in which the backbone is called."""
        return calling(self._attempt, self._plugins.find("backbone", self._version.backbone), method)

    @cached_property
    def predictor(self) -> Predictor:
        """The model."""
        from segadmin.inference.predictor import load_predictor

        self._attempt.progress(0.0, "loading the model")
        with self.call("load"):
            return load_predictor(self._attempt.settings, self._plugins, self._version)

    @property
    def _classifier(self) -> Classifier | None:
        """The backbone's classifier, if it was needed."""
        return self.predictor.classifier if "predictor" in vars(self) else None

    @property
    def remark(self) -> str:
        """What is worth knowing of how the model predicted."""
        return self._classifier.remark if self._classifier else ""

    @property
    def inference(self) -> dict[str, Any]:
        """How the model computed."""
        return dict(self._classifier.inference) if self._classifier else {}


SCORE_CHALLENGER = Stage(
    "score_challenger",
    score_challenger,
    "gpu",
    after=("textualize",),
    per_buckets=True,
    may_fail=True,
    failed=give_up_challenger,
)
SCORE = Stage("score", score, "gpu", after=("textualize", "score_challenger"), per_buckets=True, cost=10)
