"""Makes the drift report of a snapshot: distributions, estimated metrics, earlier outcomes and missing events."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from segadmin.contracts.backbone import Examples, TokenCounts, no_progress
from segadmin.errors import DataError
from segadmin.evaluation.comparison import probabilities_of
from segadmin.monitoring.drift import Finding, find_drift
from segadmin.monitoring.estimate import LEAST_USERS, Estimate, estimate_performance
from segadmin.monitoring.histogram import Histogram
from segadmin.monitoring.profile import NEW_PHRASES, OUT_OF_RANGE, Calibration, ScoredUsers, increase
from segadmin.monitoring.reports import newest_outcomes, reference_report
from segadmin.monitoring.volume import Volume, missing_volumes, recent_volumes
from segadmin.settings import Settings
from segadmin.snapshots.read import assignments
from segadmin.storage.database import reading
from segadmin.storage.predictions import predictions_of
from segadmin.storage.records import DriftReport, ModelVersion, SegmentSnapshot
from segadmin.storage.store import open_store
from segadmin.text.features import feature_names
from segadmin.text.plan import TextPlan
from segadmin.text.read_buckets import GivenUsers, read_buckets

#: Users that are looked at, about; and how many where their texts must be read from the store first, which takes time.
#: A bucket is a random sample of the users, so the first buckets are one, and so are those of the lowest keys.
SAMPLE_USERS, READ_USERS = 10_000, 2_000
#: Growth of the share of users unlike those of the reference from which on metrics cannot be estimated.
_UNLIKE = 0.05
_MOSTLY_NEW = range(7, 12)  #: bins of :data:`NEW_PHRASES` with a share above one half
_OUT_OF_RANGE = range(1, 5)  #: bins of :data:`OUT_OF_RANGE` with any feature
_NAMED = 3

Call = Callable[[], AbstractContextManager[None]]
Progress = Callable[[float, str], None]
Texts = Callable[[range], pl.DataFrame | None]
Count = Callable[[pl.Series], TokenCounts | None]


def make_report(
    settings: Settings,
    snapshot_id: int,
    plan: TextPlan,
    *,
    texts: Texts | None = None,
    count: Count | None = None,
    call: Call = nullcontext,
    progress: Progress = no_progress,
) -> DriftReport:
    """Return the report of a published snapshot, not stored yet.

    Args:
        settings: location of the store and the database.
        snapshot_id: its number.
        plan: how and until when its users were read.
        texts: returns the texts of a range of buckets that were read already, of all users or of some; ``None``: none
            are left.
        count: returns how the tokenizer of the model reads texts, see ``Backbone.count_tokens``.
        call: returns a context in which the textualizer is called.
        progress: called with the fraction done and a short note.

    Raises:
        PluginError: the textualizer failed.
    """
    with reading(settings) as session:
        snapshot = session.get_one(SegmentSnapshot, snapshot_id)
        version = session.get_one(ModelVersion, snapshot.model_version_id)
        reference, outcomes = reference_report(session, snapshot), newest_outcomes(session, snapshot)
        before = None if snapshot.previous_id is None else session.get(SegmentSnapshot, snapshot.previous_id)
    users, probabilities = sampled_users(settings, snapshot, version, plan, texts=texts, call=call, progress=progress)
    if count is not None and (counts := count(users.examples.frame["phrases"])) is not None:
        users = replace(users, tokens=pl.DataFrame(asdict(counts)))
    progress(0.6, "comparing distributions")
    calibration = Calibration.of(users) if reference is None else Calibration.model_validate(reference.calibration)
    profile = calibration.profile(users)
    known = {} if reference is None else {n: Histogram.model_validate(each) for n, each in reference.profile.items()}
    findings = find_drift(known, profile)
    progress(0.8, "estimating the metrics")
    estimate, unknown = _estimate(settings, version, probabilities)
    unlike = _unlike(known, profile, findings)
    estimate, unknown = _without_broken(estimate, [*unknown, *unlike], outcomes, all_of_them=bool(unlike))
    volumes = recent_volumes(settings, plan.lake, before.as_of if before else None)
    return DriftReport(
        snapshot_id=snapshot_id,
        reference_id=None if reference is None else reference.snapshot_id,
        users=len(users.examples),
        drifted=sum(finding.drifted for finding in findings),
        alarms=_alarms(findings, unlike, outcomes, volumes),
        findings=[finding.model_dump(mode="json") for finding in findings],
        estimate=estimate.model_dump(mode="json") if estimate else {},
        unknown=unknown,
        outcomes=outcomes,
        volumes=[volume.model_dump(mode="json") for volume in volumes],
        profile={name: histogram.model_dump(mode="json") for name, histogram in profile.items()},
        calibration=calibration.model_dump(mode="json") if reference is None else {},
    )


def sampled_users(
    settings: Settings,
    snapshot: SegmentSnapshot,
    version: ModelVersion,
    plan: TextPlan,
    *,
    texts: Texts | None = None,
    call: Call = nullcontext,
    progress: Progress = no_progress,
) -> tuple[ScoredUsers, Any]:
    """Return some users of a snapshot with their texts and features, and their probabilities.

    While a canary is running, these are users whom ``version`` scored, not those of the challenger.

    If ``texts`` are not those of all of them, because a job read only the users that changed, fewer users are read
    from the store.
    """
    assert snapshot.id is not None
    buckets = _first_buckets(settings, snapshot, SAMPLE_USERS)
    columns = ("bucket", "user_key", "segment", "probability", "probabilities")
    rows = assignments(settings, snapshot.id, buckets=list(buckets))
    if snapshot.canary_id is not None:
        rows = rows.filter(pl.col("model_version_id") == version.id)
    scores = rows.select(columns).collect()
    known = None if texts is None else texts(buckets)
    if known is None or known.height < scores.height:
        known = _read_some(settings, snapshot, plan, scores, call=call, progress=progress)
    frame = known.join(scores.drop("bucket"), on="user_key").sort("user_key")
    examples = Examples(frame, tuple(version.segments), feature_names(plan.recipe))
    width = pl.Array(pl.Float32, len(version.segments))
    return ScoredUsers(examples, plan.recipe.max_phrases), frame["probabilities"].cast(width).to_numpy()


def _read_some(
    settings: Settings,
    snapshot: SegmentSnapshot,
    plan: TextPlan,
    scores: pl.DataFrame,
    *,
    call: Call,
    progress: Progress,
) -> pl.DataFrame:
    """Return the texts of some of the users of ``scores``, read from the store."""
    buckets = _first_buckets(settings, snapshot, READ_USERS)
    in_these = scores.filter(pl.col("bucket").is_in(list(buckets))).sort("user_key").head(READ_USERS)
    chosen = GivenUsers(in_these.select("bucket", "user_key", cause=pl.lit(None, pl.String)))
    only_scoring = TextPlan(recipe=plan.recipe, scoring=plan.scoring, lake=plan.lake)
    reading_progress = partial(_part_of, progress)
    texts = read_buckets(settings, only_scoring, buckets, scored=chosen, call=call, progress=reading_progress)
    return pl.concat(texts.scoring).drop("cause")


def _first_buckets(settings: Settings, snapshot: SegmentSnapshot, users: int) -> range:
    """Return the first buckets, as many as have about so many users of a snapshot."""
    total = open_store(settings).buckets
    return range(min(total, math.ceil(total * users / max(snapshot.users, 1))))


def _part_of(progress: Progress, fraction: float, note: str = "") -> None:
    progress(0.6 * fraction, note)


def _estimate(settings: Settings, version: ModelVersion, probabilities: Any) -> tuple[Estimate | None, list[str]]:
    """Return the estimated metrics, or why there are none."""
    try:
        rows = predictions_of(settings, version).rows
    except DataError as error:
        return None, [str(error)]
    reference = (
        probabilities_of(rows["probabilities"]).astype(np.float64),
        rows["target"].to_numpy(),
        rows["user_key"].to_numpy(),
    )
    estimate = estimate_performance(reference, probabilities.astype(np.float64), version.segments)
    if estimate is None:
        return None, [f"Metrics are estimated from {LEAST_USERS} users and {LEAST_USERS} labelled test users on."]
    return estimate, []


def _unlike(
    reference: Mapping[str, Histogram], current: Mapping[str, Histogram], findings: Sequence[Finding]
) -> list[str]:
    """Return in which ways too many users are unlike any of the reference (covariate shift beyond its support)."""
    drifted = {finding.name for finding in findings if finding.drifted}
    reasons = {
        OUT_OF_RANGE: (_OUT_OF_RANGE, "have features outside the range that was seen"),
        NEW_PHRASES: (_MOSTLY_NEW, "have texts that are new for the most part"),
    }
    return [
        f"{grown:.0%} more of the users than in the reference {words}."
        for name, (bins, words) in reasons.items()
        if name in drifted and (grown := increase(reference, current, name, bins)) > _UNLIKE
    ]


def _without_broken(
    estimate: Estimate | None, unknown: list[str], outcomes: Sequence[Mapping[str, Any]], *, all_of_them: bool
) -> tuple[Estimate | None, list[str]]:
    """Return the estimate without the metrics whose assumptions fail, and the reasons."""
    broken = {outcome["metric"] for outcome in outcomes if outcome["contradicts"]}
    reasons = unknown + [_contradiction(outcome) for outcome in outcomes if outcome["contradicts"]]
    if estimate is None or all_of_them:
        return None, reasons
    metrics = {name: value for name, value in estimate.metrics.items() if name not in broken}
    segments = {} if broken else estimate.segments
    return estimate.model_copy(update={"metrics": metrics, "segments": segments}), reasons


def _contradiction(outcome: Mapping[str, Any]) -> str:
    return (
        f"The {outcome['metric']} of snapshot {outcome['snapshot']} was estimated as {outcome['value']:.4f} "
        f"[{outcome['low']:.4f}, {outcome['high']:.4f}] and measured as {outcome['measured']:.4f}: users with the same "
        "behaviour no longer do the same."
    )


def _alarms(
    findings: Sequence[Finding],
    unlike: Sequence[str],
    outcomes: Sequence[Mapping[str, Any]],
    volumes: Sequence[Volume],
) -> list[str]:
    """Return what somebody should look at, one sentence each."""
    drifted = [finding for finding in findings if finding.drifted]
    alarms = []
    if drifted:
        names = ", ".join(finding.name for finding in drifted[:_NAMED])
        end = ", …" if len(drifted) > _NAMED else "."
        alarms.append(f"{len(drifted)} of {len(findings)} distributions drifted: {names}{end}")
    alarms += unlike
    alarms += [_contradiction(outcome) for outcome in outcomes if outcome["contradicts"]]
    alarms += [
        f"{volume.period.replace('the', 'The')} has {volume.events:,} of {volume.expected:,.0f} "
        f"expected events ({volume.kind})."
        for volume in missing_volumes(volumes)
    ]
    return alarms
