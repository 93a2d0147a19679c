"""The gate: a new model becomes champion only if it beats the baselines and is not worse than the champion."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from operator import itemgetter

import polars as pl

from segadmin.contracts.backbone import Examples
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError, PluginError, StorageError
from segadmin.evaluation.comparison import compare_predictions, probabilities_of
from segadmin.evaluation.metrics import measure
from segadmin.inference.predictor import Predictor, load_predictor
from segadmin.labels.parts import Part, SplitBy
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
#: Maximum loss of test AUROC against the champion, so that retraining can adapt to drift.
TOLERANCE = 0.005
#: Minimum number of test rows that the champion was not trained on, for a comparison.
LEAST_FAIR = 50


@dataclass(frozen=True)
class Verdict:
    """Whether the new model becomes champion, and why."""

    promoted: bool
    reason: str


def nobody_is_placed(manifest: ModelManifest) -> Verdict | None:
    """Refuse a model whose thresholds would leave all users unassigned; ``None`` for any other model."""
    thresholds = manifest.thresholds
    if not thresholds or any(threshold is not None for threshold in thresholds):
        return None
    return Verdict(
        promoted=False,
        reason=f"no segment reaches a precision of {manifest.precision:.0%} on validation at any threshold, so all "
        "users would stay unassigned. Choose a lower --min-precision",
    )


def against_baselines(own: pl.DataFrame, baselines: Mapping[str, pl.DataFrame], margin: float) -> Verdict:
    """Return whether the new model's test AUROC is above that of every baseline by at least ``margin``.

    Args:
        own: the new model's predictions of the test rows.
        baselines: the predictions of each baseline, by its name.
        margin: minimum difference of AUROC.
    """
    leads: list[tuple[float, str]] = []  # over each baseline, and in words
    for name, predictions in baselines.items():
        if (comparison := compare_predictions(own, predictions)) is not None:
            scores = f"test AUROC {comparison.other:.4f}, the new model {comparison.one:.4f}: {comparison.lead}"
            leads.append((comparison.lead.value, f"the baseline {name} has {scores}"))
    if not leads:
        return Verdict(promoted=True, reason="there was no baseline to beat")
    lead, reason = min(leads, key=itemgetter(0))
    if lead >= margin:
        return Verdict(promoted=True, reason="; ".join(words for _, words in leads))
    required = f" It must lead by {margin:g}." if margin > 0 else f" It may be worse by {-margin:g}." if margin else ""
    fix = (
        f"Try --backbone stacked, which uses both, or accept a lower AUROC: --margin {math.floor(lead * 1000) / 1000:g}"
    )
    return Verdict(promoted=False, reason=f"{reason}.{required} {fix}")


def against_champion(
    context: RunContext,
    champion: ModelVersion | None,
    own: pl.DataFrame,
    *,
    segments: tuple[str, ...],
    plan: TextPlan,
    by: SplitBy,
    split: Callable[[], pl.DataFrame],
    texts: Callable[[], list[pl.DataFrame]],
) -> Verdict:
    """Return whether the new model is at least as good as the champion, on rows that neither was trained on.

    Args:
        context: receives progress.
        champion: the current champion, if any.
        own: the new model's predictions of the test rows.
        segments: of the new model.
        plan: the plan of the job's texts.
        by: what separates test rows from training rows.
        split: returns the split, see :func:`segadmin.labels.equal_texts.separate_equal_texts`.
        texts: returns the job's texts at the training windows.
    """
    if champion is None:
        return Verdict(promoted=True, reason="there was no champion")
    if tuple(champion.segments) != segments:
        return Verdict(promoted=True, reason=f"the champion, version {champion.id}, has other segments")
    try:
        predictor = _load(context, champion)
    except (ConfigurationError, StorageError, PluginError) as error:
        log.warning(
            "the champion cannot be used", extra={"action": "gate", "version": champion.id, "error": str(error)}
        )
        return Verdict(promoted=True, reason=f"the champion cannot be used any more: {error}")
    context.progress(0.4, f"evaluating version {champion.id}")
    rows = split()
    test = champion_rows(context, predictor, plan, rows, texts)
    fair = unseen_by(context.settings, champion, test, rows if by == SplitBy.USER else rows.clear())
    if len(fair) < min(LEAST_FAIR, len(test)):
        manifest = manifest_of(champion)
        return Verdict(
            promoted=False,
            reason=f"the champion (version {champion.id}) was trained on all but {len(fair):,} of {len(test):,} "
            f"test rows, so they cannot be compared. Hold out the same users: --seed {manifest.seed} "
            f"--held-out {manifest.held_out}",
        )
    tested = fair.frame.select("user_key", "as_of").join(own, on=["user_key", "as_of"], maintain_order="left")
    own_probabilities, champion_probabilities = probabilities_of(tested["probabilities"]), predictor.probabilities(fair)
    return compare_auroc(
        measure(own_probabilities.astype(float), fair.targets, segments)["auroc"],
        measure(champion_probabilities, fair.targets, segments)["auroc"],
        f"the champion (version {champion.id})",
    )


def compare_auroc(challenger: float | None, rival: float | None, name: str) -> Verdict:
    """Return whether a test AUROC is good enough against that of the champion, which the reason calls ``name``."""
    if challenger is None or rival is None:
        return Verdict(promoted=False, reason="the test rows are all in one segment, so nothing can be compared")
    reason = f"test AUROC {challenger:.4f}, and {name} has {rival:.4f} on the same rows"
    return Verdict(promoted=challenger >= rival - TOLERANCE, reason=reason)


def champion_rows(
    context: RunContext,
    predictor: Predictor,
    plan: TextPlan,
    split: pl.DataFrame,
    texts: Callable[[], list[pl.DataFrame]],
) -> Examples:
    """Return the test rows with texts of the recipe of ``predictor``."""
    rows = split.filter(pl.col("part") == Part.TEST)
    if predictor.manifest.recipe == plan.recipe:
        return labelled(texts(), rows, predictor.segments, predictor.features)
    cutoffs = set(rows["as_of"])
    windows = tuple(window for window in plan.training if window.as_of in cutoffs)
    own_plan = TextPlan(recipe=predictor.manifest.recipe, training=windows, lake=plan.lake)
    buckets = range(open_store(context.settings).buckets)
    read = read_buckets(context.settings, own_plan, buckets, wanted=rows, progress=context.progress)
    return labelled(read.training, rows, predictor.segments, predictor.features)


def unseen_by(settings: Settings, rival: ModelVersion, test: Examples, split: pl.DataFrame) -> Examples:
    """Return the test rows that ``rival`` was not trained on; with another seed it held out other users.

    Nor do those count whose text is that of a row of ``split`` that it was trained on.
    """
    users = Lake.of(settings).scan("trainings").filter(pl.col("job_id") == rival.job_id)
    trained_users = users.select("user_key").unique().collect()["user_key"]
    cutoffs = list(manifest_of(rival).data.cutoffs_of(Part.TRAIN))
    trained_on = pl.col("user_key").is_in(trained_users.implode()) & pl.col("as_of").is_in(cutoffs)
    trained_texts = split.filter(trained_on)["text"].drop_nulls()
    has_trained_text = pl.col("text").is_in(trained_texts.implode()).fill_null(value=False)
    return replace(test, frame=test.frame.filter(~trained_on, ~has_trained_text))


def _load(context: RunContext, version: ModelVersion) -> Predictor:
    plugins = load_plugins(context.settings)
    context.progress(0.1, f"loading version {version.id}")
    predictor = load_predictor(context.settings, plugins, version)
    check_recipe(plugins, predictor.manifest.recipe, f"Model version {version.id}")
    return predictor
