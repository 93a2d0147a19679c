"""Lets both models of a canary read the same users, and compares them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from sqlmodel import col, select

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import DataError, PluginError
from segadmin.evaluation.comparison import probabilities_of
from segadmin.evaluation.evaluated_on import EvaluatedOn
from segadmin.hashing import bucket_of
from segadmin.inference.predictor import load_predictor
from segadmin.jobs.attempt import Attempt
from segadmin.jobs.plugin_guard import calling
from segadmin.labels.labeling import labeler_of
from segadmin.models.canary import CanaryShare
from segadmin.monitoring.canary import CanaryComparison, MeasuredPair, ReadUsers, compare_outcomes, compare_users
from segadmin.monitoring.canary_estimate import estimate_pairs
from segadmin.settings import Settings
from segadmin.snapshots.outcomes import outcome_name, outcomes_of, probabilities_and_targets
from segadmin.storage.database import reading
from segadmin.storage.lake import Lake
from segadmin.storage.predictions import predictions_of
from segadmin.storage.records import Canary, Evaluation, LabelSet, ModelVersion, SegmentSnapshot, SnapshotState
from segadmin.storage.store import open_store
from segadmin.text.read_buckets import GivenUsers, read_buckets
from segadmin.workflows.prepared import PreparedSegments
from segadmin.workflows.published import still_there
from segadmin.workflows.scored import Scoring
from segadmin.workflows.scoring_groups import MODEL_FAILURES, ScoringGroup, groups_of

if TYPE_CHECKING:
    from segadmin.monitoring.canary_estimate import Reference

#: Users of the canary who are read by both models.
READ_USERS = 2_000


class ChallengerFailed(PluginError):
    """The model of a canary, or its textualizer, failed."""


def compare(attempt: Attempt, canary: Canary, prepared: PreparedSegments) -> CanaryComparison:
    """Return the comparison of a canary's challenger with the champion, as of the moment that the job scores at.

    Raises:
        ChallengerFailed: the challenger or its textualizer failed.
        PluginError: the champion or its textualizer did.
    """
    settings, share = attempt.settings, CanaryShare.of(canary)
    text = still_there(settings, prepared.text)
    groups = groups_of(settings, text, Scoring(canary.champion_id, share, None))
    with reading(settings) as session:
        versions = [session.get_one(ModelVersion, group.version_id) for group in groups]
    users, number = _some_users(settings, share, Lake.of(settings, text.lake))
    read = [_read(attempt, groups[0], versions[0], users)]
    try:
        read.append(_read(attempt, groups[1], versions[1], users))
    except MODEL_FAILURES as error:
        raise ChallengerFailed(str(error)) from error
    segments = tuple(versions[0].segments)
    comparison = compare_users(prepared.window.as_of, number, read[0], read[1], segments)
    attempt.progress(0.7, "estimating the metrics")
    try:
        references = [_reference(settings, version) for version in versions]
        pairs = [(known, each.probabilities) for known, each in zip(references, read, strict=True)]
        estimated, unknown = estimate_pairs(pairs[0], pairs[1]), ""
    except DataError as error:
        estimated, unknown = {}, str(error)
    if not estimated and not unknown:
        unknown = "the users are too few to estimate metrics"
    facts = {"estimated": estimated, "unknown": unknown, "measured": _measured(settings, canary, share)}
    return comparison.model_copy(update=facts)


def _some_users(settings: Settings, share: CanaryShare, lake: Lake) -> tuple[pl.DataFrame, int]:
    """Return ``user_key`` and ``bucket`` of users of the canary, and the number of all of them."""
    from segadmin.labels.split import draw

    keys = lake.scan("users").select("user_key").unique().collect()
    users = keys.filter(share.contains(keys["user_key"]))
    drawn = pl.Series(draw(users["user_key"].to_numpy(), share.salt), dtype=pl.Float64)
    some = users.with_columns(drawn=drawn, bucket=bucket_of(pl.col("user_key"), open_store(settings).buckets))
    return some.sort("drawn", "user_key").head(READ_USERS).drop("drawn"), users.height


def _read(attempt: Attempt, group: ScoringGroup, version: ModelVersion, users: pl.DataFrame) -> ReadUsers:
    """Return what the model of a group says of ``users``, in the order of their keys."""
    plugins = load_plugins(attempt.settings)
    textualizer = plugins.find("textualizer", group.plan.recipe.textualizer)
    backbone = plugins.find("backbone", version.backbone)
    if users.is_empty():
        return ReadUsers(pl.Series([], dtype=pl.String), np.empty((0, len(version.segments))))
    attempt.progress(0.1, f"version {version.id} reads the users of the canary")
    call = partial(calling, attempt, textualizer, "phrases")
    chosen = GivenUsers(users.with_columns(cause=pl.lit(None, pl.String)))
    buckets = users["bucket"].unique().sort().to_list()
    texts = read_buckets(attempt.settings, group.plan, buckets, scored=chosen, call=call)
    frame = pl.concat(texts.scoring).sort("user_key")
    with calling(attempt, backbone, "load"):
        predictor = load_predictor(attempt.settings, plugins, version)
    with calling(attempt, backbone, "predict"):
        segments = predictor.segment(frame)
    return ReadUsers(segments["segment"], probabilities_of(segments["probabilities"]).astype(np.float64))


def _reference(settings: Settings, version: ModelVersion) -> Reference:
    """Return the labelled test rows of a version.

    Raises:
        DataError: they are not kept any more.
    """
    rows = predictions_of(settings, version).rows
    probabilities = probabilities_of(rows["probabilities"]).astype(np.float64)
    return probabilities, rows["target"].to_numpy(), rows["user_key"].to_numpy()


def _measured(settings: Settings, canary: Canary, share: CanaryShare) -> MeasuredPair | None:
    """Return the measured metrics of the newest snapshot of the canary whose outcomes are known, if there is one."""
    with reading(settings) as session:
        published = (SegmentSnapshot.canary_id == canary.id, SegmentSnapshot.state == SnapshotState.PUBLISHED)
        snapshots = session.exec(select(SegmentSnapshot).where(*published).order_by(col(SegmentSnapshot.id).desc()))
        names = set(session.exec(select(Evaluation.name).where(Evaluation.split == EvaluatedOn.OUTCOME.value)).all())
        snapshot = next((each for each in snapshots.all() if outcome_name(each.id) in names), None)
        label_set = session.get(LabelSet, canary.label_set)
    labeler = labeler_of(settings, label_set)
    if snapshot is None or snapshot.id is None or label_set is None or labeler is None:
        return None
    users = outcomes_of(settings, labeler, label_set, snapshot)
    if users is None:
        return None
    is_canary = pl.col("model_version_id") == share.challenger_id
    groups = users.filter(~is_canary), users.filter(is_canary)
    if any(group.is_empty() for group in groups):
        return None
    champion, challenger = (probabilities_and_targets(group) for group in groups)
    return compare_outcomes(snapshot.id, champion, challenger, tuple(label_set.segments))
