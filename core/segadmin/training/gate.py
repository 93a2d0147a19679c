"""The gate: a new model scores users only if it beats simple baselines, and the champion of now."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import polars as pl

from segadmin.contracts.backbone import Examples
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError, PluginError, StorageError
from segadmin.evaluation.comparison import compare_predictions, probabilities_of
from segadmin.evaluation.metrics import measure
from segadmin.inference.predictor import Predictor, load_predictor
from segadmin.labels.parts import Part
from segadmin.models.manifest import ModelManifest, manifest_of
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from segadmin.storage.records import ModelVersion
from segadmin.storage.store import open_store
from segadmin.text.plan import TextPlan
from segadmin.text.read_buckets import read_buckets
from segadmin.text.recipes import check_recipe
from segadmin.training.context import RunContext
from segadmin.training.dataset import labelled

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


def nobody_is_placed(manifest: ModelManifest) -> Verdict | None:
    """Refuse a model that is sure enough of nobody; ``None`` where it is sure of somebody."""
    thresholds = manifest.thresholds
    if not thresholds or any(each is not None for each in thresholds):
        return None
    return Verdict(
        promoted=False,
        reason=f"of no segment are validation users right in {manifest.precision:.0%} of the cases, however sure the "
        "model is, so nobody would be put in any. Ask less of it: a lower --min-precision",
    )


def against_baselines(own: pl.DataFrame, baselines: Mapping[str, pl.DataFrame], margin: float) -> Verdict:
    """Return whether the new model's test AUROC is above that of every baseline by at least ``margin``.

    Args:
        own: the new model's predictions of the test rows.
        baselines: those of each baseline, by its name.
        margin: of AUROC.
    """
    reasons = []
    for name, predictions in baselines.items():
        pair = compare_predictions(own, predictions)
        if pair is None:
            continue
        reason = f"the baseline {name} has test AUROC {pair.other:.4f}, the new model {pair.one:.4f}: {pair.lead}"
        if pair.lead.value < margin:
            wanted = f" It must lead by {margin:g}." if margin else ""
            fix = "Try --backbone stacked, which uses both, or say how much less will do: --margin -0.005"
            return Verdict(promoted=False, reason=f"{reason}.{wanted} {fix}")
        reasons.append(reason)
    return Verdict(promoted=True, reason="; ".join(reasons) or "there was no baseline to beat")


def against_champion(
    context: RunContext,
    champion: ModelVersion | None,
    own: pl.DataFrame,
    *,
    segments: tuple[str, ...],
    plan: TextPlan,
    split: pl.DataFrame,
    texts: Callable[[], list[pl.DataFrame]],
) -> Verdict:
    """Return whether the new model is good enough beside the champion of now, on rows that neither learnt from.

    Args:
        context: whose progress is reported.
        champion: the version that scores users now; ``None`` where there is none.
        own: the new model's predictions of the test rows.
        segments: of the new model.
        plan: what the job read, and how.
        split: of the labelled rows.
        texts: returns those of the training windows, as the job read them.
    """
    if champion is None:
        return Verdict(promoted=True, reason="there was no champion")
    if tuple(champion.segments) != segments:
        return Verdict(promoted=True, reason=f"the champion, version {champion.id}, knows other segments")
    try:
        predictor = _load(context, champion)
    except (ConfigurationError, StorageError, PluginError) as error:
        log.warning(
            "the champion cannot be used", extra={"action": "gate", "version": champion.id, "error": str(error)}
        )
        return Verdict(promoted=True, reason=f"the champion cannot be used any more: {error}")
    context.progress(0.4, f"evaluating version {champion.id}")
    test = champion_rows(context, predictor, plan, split, texts)
    fair = _not_learnt_by(context.settings, champion, test)
    if len(fair) < min(LEAST_FAIR, len(test)):
        manifest = manifest_of(champion)
        return Verdict(
            promoted=False,
            reason=f"the champion (version {champion.id}) learnt from all but {len(fair):,} of {len(test):,} test "
            f"rows, so nothing is shown. Hold out the same users: --seed {manifest.seed} "
            f"--held-out {manifest.held_out}",
        )
    rows = fair.frame.select("user_key", "as_of").join(own, on=["user_key", "as_of"], maintain_order="left")
    mine, its = probabilities_of(rows["probabilities"]), predictor.probabilities(fair)
    return compare_auroc(
        measure(mine.astype(float), fair.targets, segments)["auroc"],
        measure(its, fair.targets, segments)["auroc"],
        f"the champion (version {champion.id})",
    )


def compare_auroc(challenger: float | None, rival: float | None, whose: str) -> Verdict:
    """Return whether a test AUROC is good enough beside that of the champion, called ``whose``."""
    if challenger is None or rival is None:
        return Verdict(promoted=False, reason="the test rows are all in one segment, so nothing can be compared")
    reason = f"test AUROC {challenger:.4f}; {whose} has {rival:.4f} on the same rows"
    return Verdict(promoted=challenger >= rival - TOLERANCE, reason=reason)


def champion_rows(
    context: RunContext,
    predictor: Predictor,
    plan: TextPlan,
    split: pl.DataFrame,
    texts: Callable[[], list[pl.DataFrame]],
) -> Examples:
    """Return the test rows as ``predictor`` must read them: in the text of its own recipe."""
    rows = split.filter(pl.col("part") == Part.TEST)
    if predictor.manifest.recipe == plan.recipe:
        return labelled(texts(), rows, predictor.segments, predictor.features)
    cutoffs = set(rows["as_of"])
    windows = tuple(window for window in plan.training if window.as_of in cutoffs)
    own = TextPlan(recipe=predictor.manifest.recipe, training=windows, lake=plan.lake)
    buckets = range(open_store(context.settings).buckets)
    read = read_buckets(context.settings, own, buckets, wanted=rows, progress=context.progress)
    return labelled(read.training, rows, predictor.segments, predictor.features)


def _not_learnt_by(settings: Settings, rival: ModelVersion, test: Examples) -> Examples:
    """Return the test rows that ``rival`` did not learn from: with another seed, other users are held out."""
    users = Lake.of(settings).scan("trainings").filter(pl.col("job_id") == rival.job_id)
    learnt = users.select("user_key").unique().collect()["user_key"]
    cutoffs = list(manifest_of(rival).data.cutoffs_of(Part.TRAIN))
    known = pl.col("user_key").is_in(learnt.implode()) & pl.col("as_of").is_in(cutoffs)
    return replace(test, frame=test.frame.filter(~known))


def _load(context: RunContext, version: ModelVersion) -> Predictor:
    plugins = load_plugins(context.settings)
    context.progress(0.1, f"loading version {version.id}")
    predictor = load_predictor(context.settings, plugins, version)
    check_recipe(plugins, predictor.manifest.recipe, f"Model version {version.id}")
    return predictor
