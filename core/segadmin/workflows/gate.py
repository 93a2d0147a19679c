"""The ``gate`` stage: a new model scores users only if it beats simple baselines, and the one that does now."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import polars as pl
from sqlmodel import Session

from segadmin.contracts.backbone import Examples
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError, PluginError, StorageError
from segadmin.evaluation.comparison import compare as rows_compared
from segadmin.evaluation.comparison import probabilities_of
from segadmin.evaluation.metrics import measure
from segadmin.jobs.attempt import Attempt, StageResult
from segadmin.models.aliases import champion, point, pointed
from segadmin.models.artifact import LoadedModel, load_artifact
from segadmin.storage.database import now, transaction
from segadmin.storage.lake import Lake
from segadmin.storage.predictions import predictions_of
from segadmin.storage.records import ModelState, ModelVersion
from segadmin.training.dataset import join, read_split
from segadmin.workflows.prepare_training import check_recipe
from segadmin.workflows.prepared import Prepared, held_out_of

log = logging.getLogger(__name__)
#: A test AUROC that is lower by no more than this is not worse: retraining must be able to follow the shop.
TOLERANCE = 0.005
#: Fewer test rows that the champion did not learn from show nothing.
LEAST_FAIR = 50


@dataclass(frozen=True)
class Verdict:
    """Whether the new model scores users from now on, and why."""

    promoted: bool
    reason: str


def gate(attempt: Attempt) -> StageResult:
    """Promote the new model version, or keep it as a challenger and score nobody."""
    prepared = Prepared.model_validate(attempt.input("prepare"))
    version_id: int = attempt.input("evaluate")["model_version_id"]
    with transaction(attempt.settings) as session:
        before = pointed(session, champion(prepared.label_set))
        rival = None if before in {None, version_id} else session.get_one(ModelVersion, before)
    verdict = _somebody_is_placed(attempt) or beside_baselines(attempt, prepared)
    if verdict.promoted:
        verdict = _judge(attempt, prepared, rival)
    promoted: list[ModelVersion] = []

    def commit(session: Session) -> dict[str, Any]:
        version = session.get_one(ModelVersion, version_id)
        if verdict.promoted:
            promote(session, version, expected=before)
            promoted.append(version)
        else:
            version.state = ModelState.CHALLENGER
            session.add(version)
        return {}

    def after() -> None:
        for version in promoted:
            load_plugins(attempt.settings).announce("model_promoted", version=version)

    result = {"promoted": verdict.promoted, "reason": verdict.reason, "model_version_id": version_id}
    return StageResult(result, commit=commit, after=after, skip=() if verdict.promoted else ("score", "publish"))


def _somebody_is_placed(attempt: Attempt) -> Verdict | None:
    """Refuse a model that is sure enough of nobody."""
    thresholds = attempt.input("finetune").get("manifest", {}).get("thresholds") or []
    if not thresholds or any(one is not None for one in thresholds):
        return None
    precision = attempt.input("finetune")["manifest"]["precision"]
    return Verdict(
        promoted=False,
        reason=f"of no segment are validation users right in {precision:.0%} of the cases, however sure the model is, "
        "so nobody would be put in any. Ask less of it: a lower --min-precision",
    )


def beside_baselines(attempt: Attempt, prepared: Prepared) -> Verdict:
    """Return whether the new model's test AUROC is above that of every baseline by at least the job's margin."""
    mine = _own_predictions(attempt)
    told = []
    for name, written in attempt.input("baselines")["predictions"].items():
        pair = rows_compared(mine, attempt.read(written))
        if pair is None:
            continue
        said = f"the baseline {name} has test AUROC {pair.other:.4f}, the new model {pair.one:.4f}: {pair.lead} (95 %)"
        if pair.lead.value < prepared.margin:
            wanted = f" It must lead by {prepared.margin:g}" if prepared.margin else ""
            mend = "Try --backbone stacked, which uses both, or say how much less will do: --margin -0.005"
            return Verdict(promoted=False, reason=f"{said}.{wanted} {mend}".replace("  ", " "))
        told.append(said)
    return Verdict(promoted=True, reason="; ".join(told) or "there was no baseline to beat")


def _own_predictions(attempt: Attempt) -> pl.DataFrame:
    """Return what the new version said of the test rows."""
    with transaction(attempt.settings) as session:
        version = session.get_one(ModelVersion, attempt.input("evaluate")["model_version_id"])
    return predictions_of(attempt.settings, version).rows


def promote(session: Session, version: ModelVersion, *, expected: int | None) -> None:
    """Make ``version`` the champion of its label set, if ``expected`` still is.

    Raises:
        StorageError: another version was promoted meanwhile; nothing was written.
    """
    assert version.id is not None
    point(session, champion(version.label_set), expected=expected, target=version.id)
    if expected not in {None, version.id}:
        retired = session.get_one(ModelVersion, expected)
        retired.state = ModelState.RETIRED
        session.add(retired)
    version.state, version.promoted_at = ModelState.CHAMPION, now(session)
    session.add(version)


def _judge(attempt: Attempt, prepared: Prepared, rival: ModelVersion | None) -> Verdict:
    if rival is None:
        return Verdict(promoted=True, reason="there was no champion")
    if tuple(rival.segments) != prepared.segments:
        return Verdict(promoted=True, reason=f"the champion, version {rival.id}, knows other segments")
    try:
        model = _load(attempt, rival)
    except (ConfigurationError, StorageError, PluginError) as error:
        log.warning("the champion cannot be used", extra={"action": "gate", "version": rival.id, "error": str(error)})
        return Verdict(promoted=True, reason=f"the champion cannot be used any more: {error}")
    attempt.progress(0.4, f"evaluating version {rival.id}")
    test = rows_to_test(attempt, prepared, model)
    fair = _not_learnt_by(attempt, rival, test)
    if len(fair) < min(LEAST_FAIR, len(test)):
        return Verdict(
            promoted=False,
            reason=f"the champion (version {rival.id}) learnt from all but {len(fair):,} of {len(test):,} test rows, "
            f"so nothing is shown. Hold out the same users: --seed {rival.manifest['seed']} "
            f"--held-out {held_out_of(rival.manifest)}",
        )
    mine = _own_predictions(attempt)
    mine = fair.frame.select("user_key", "as_of").join(mine, on=["user_key", "as_of"], maintain_order="left")
    own, its = probabilities_of(mine["probabilities"]), model.predict(fair)
    return compare(
        measure(own.astype(float), fair.targets, prepared.segments)["auroc"],
        measure(its, fair.targets, prepared.segments)["auroc"],
        f"the champion (version {rival.id})",
    )


def _not_learnt_by(attempt: Attempt, rival: ModelVersion, test: Examples) -> Examples:
    """Return the test rows that ``rival`` did not learn from: with another seed, other users are held out."""
    users = Lake.of(attempt.settings).scan("trainings").filter(pl.col("job_id") == rival.job_id)
    learnt = users.select("user_key").unique().collect()["user_key"]
    cutoffs = [datetime.fromisoformat(one) for one in rival.manifest["data"]["cutoffs"].get("train", ())]
    known = pl.col("user_key").is_in(learnt.implode()) & pl.col("as_of").is_in(cutoffs)
    return replace(test, frame=test.frame.filter(~known))


def compare(challenger: float | None, rival: float | None, whose: str) -> Verdict:
    """Return whether a test AUROC is good enough beside that of the champion, called ``whose``."""
    if challenger is None or rival is None:
        return Verdict(promoted=False, reason="the test rows are all in one segment, so nothing can be compared")
    reason = f"test AUROC {challenger:.4f}; {whose} has {rival:.4f} on the same rows"
    return Verdict(promoted=challenger >= rival - TOLERANCE, reason=reason)


def _load(attempt: Attempt, rival: ModelVersion) -> LoadedModel:
    plugins = load_plugins(attempt.settings)
    attempt.progress(0.1, f"loading version {rival.id}")
    model = load_artifact(attempt.settings, plugins, rival)
    check_recipe(plugins, model.recipe, f"Model version {rival.id}")
    return model


def rows_to_test(attempt: Attempt, prepared: Prepared, model: LoadedModel) -> Examples:
    """Return the test rows of this job as ``model`` must read them: in the text of its own recipe."""
    texts = attempt.inputs["textualize"]
    split = read_split(attempt, prepared)
    if model.recipe != prepared.recipe:
        cutoffs = set(split.filter(split["part"] == "test")["as_of"])
        windows = tuple(window for window in prepared.training if window.as_of in cutoffs)
        update = {"recipe": model.recipe, "training": windows, "scoring": None, "augment": 0}
        prepared = prepared.model_copy(update=update)
        texts = [_textualized(attempt, prepared, *one["buckets"]) for one in texts]
    frames = [attempt.read(one["training"]) for one in texts if one["training"]]
    return join(frames, split, "test", prepared)


def _textualized(attempt: Attempt, prepared: Prepared, first: int, last: int) -> dict[str, Any]:
    from segadmin.workflows.textualize import textualize

    inputs = {"prepare": [prepared.model_dump(mode="json")]}
    return textualize(replace(attempt, buckets=range(first, last + 1), inputs=inputs)).result
