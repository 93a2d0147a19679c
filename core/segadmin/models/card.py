"""The model card (Mitchell et al. 2019) as data: training data, quality and limits of a version."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

from segadmin.errors import DataError
from segadmin.evaluation.abstention import HISTORIES, assigned_mask
from segadmin.evaluation.bootstrap import LEAST_USERS, Interval, Resamples
from segadmin.evaluation.comparison import probabilities_of
from segadmin.evaluation.membership import MembershipAttack
from segadmin.evaluation.metrics import ReliabilityBin, expected_calibration_error, reliability_curve
from segadmin.labels.parts import EqualTexts, Part, SplitBy
from segadmin.models.manifest import ModelManifest, manifest_of
from segadmin.models.versions import evaluations_of, find_version
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.lake import Lake
from segadmin.storage.predictions import Predictions, predictions_of
from segadmin.storage.records import Evaluation, ModelState, ModelVersion

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    Probabilities = NDArray[np.float32]

#: A segment with fewer training rows is listed among the limits.
_MIN_TRAINING_ROWS = 100
#: Number of bins of the reliability diagram.
_BINS = 10


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True)


class ModelMetrics(_Section):
    """The metrics of the version, or of a baseline of its job, on one split; ``None`` if undefined."""

    name: str
    split: str
    rows: int
    auroc: float | None
    macro_f1: float | None
    log_loss: float | None
    ece: float | None


class Undefined(StrEnum):
    """Why an AUROC is undefined."""

    TOO_FEW_USERS = "too few users"
    ONE_SEGMENT = "all rows in one segment"


class Auroc(_Section):
    """The AUROC on some test rows, with its 95 % bootstrap interval over users."""

    rows: int
    users: int
    interval: Interval | None = None
    undefined: Undefined | None = None  #: why there is no interval


class SegmentQuality(_Section):
    """How well the users of one segment are separated from all others."""

    segment: str
    rows: int  #: test rows that are truly in the segment
    auroc: Auroc


class HistoryQuality(_Section):
    """How good the version is for users with a history of one length, in events of the window."""

    shortest: int
    longest: int | None  #: ``None``: no limit
    rows: int
    answer: str  #: where the probabilities come from: ``model``, or ``prior`` (how common each segment is)
    accuracy: float
    auroc: Auroc


class SegmentThreshold(_Section):
    """The minimum probability for assignment to one segment, and its effect on the test rows."""

    segment: str
    threshold: float | None  #: ``None``: no user is ever assigned
    rows: int  #: assigned
    coverage: float  #: fraction of the rows whose most probable segment this is
    precision: float | None


class Abstention(_Section):
    """Abstention: the thresholds that were fitted for the requested minimum precision."""

    min_precision: float
    coverage: float  #: fraction of the test rows that are assigned
    segments: tuple[SegmentThreshold, ...]


class Calibration(_Section):
    """How well probabilities match observed frequencies."""

    ece: float  #: expected calibration error
    bins: tuple[ReliabilityBin, ...]


class PredictionQuality(_Section):
    """Quality computed from the predictions for single test rows, without users erased since."""

    rows: int
    erased: int
    unseen: int  #: of users without a training row, and with a text that no training row has
    without_events: int
    by_segment: tuple[SegmentQuality, ...]
    by_history: tuple[HistoryQuality, ...]
    abstention: Abstention | None  #: ``None``: all users are assigned to the most probable segment
    calibration: Calibration


class Cascade(_Section):
    """How a version of the backbone ``cascade`` divides its users, on validation rows."""

    threshold: float  #: probability from which the fast models decide; above 1: never
    language_model_fraction: float  #: of the users, whom the language model reads
    agreement: float  #: required fraction of the users with the language model's segment


class Origin(_Section):
    """The data and the software that a version was trained with."""

    labeler: str
    rows: int
    users: int
    latest_event: date | None
    split: SplitBy
    held_out: float
    seed: int
    parts: dict[str, int]  #: part of the split → rows
    equal_texts: EqualTexts | None = None  #: ``None``: trained by a release that did not look for them
    training_keys_sha256: str
    textualizer_version: str
    modality: str = ""  #: what turns vectors of items into words; empty: nothing
    language: str
    window_days: float
    features: int
    sha256: str
    versions: dict[str, str]  #: package → version
    rare_segments: tuple[str, ...]  #: with fewer than 100 training rows
    cascade: Cascade | None = None


class ModelCard(_Section):
    """Everything that a model card shows."""

    version: int
    label_set: str
    segments: tuple[str, ...]
    backbone: str
    textualizer: str
    state: ModelState
    promoted_at: datetime | None
    metrics: tuple[ModelMetrics, ...]
    test: PredictionQuality | None
    test_missing: str = ""  #: why there is no ``test``
    membership: MembershipAttack | None = None  #: ``None``: of an older release, or nobody was held out
    origin: Origin


def card_of(settings: Settings, model: str, label_set: str | None = None) -> ModelCard:
    """Return the card of a version, or of the champion of ``label_set``.

    Raises:
        ModelNotFound: there is no such version.
        DataError: it was pretrained only, or there is no champion.
    """
    with reading(settings) as session:
        version = find_version(session, model, label_set)
        manifest = manifest_of(version)
        if manifest.pretrained is not None:
            raise DataError(
                f"Version {version.id} was only pretrained and never tested, so there is no card. Fine-tune it: "
                f"segadmin enqueue retrain --from {version.id}"
            )
        evaluations = evaluations_of(session, version)
    test, missing = None, ""
    try:
        test = _test_quality(settings, version)
    except DataError as error:
        missing = str(error)
    return ModelCard(
        version=version.id or 0,
        label_set=version.label_set,
        segments=tuple(version.segments),
        backbone=version.backbone,
        textualizer=version.textualizer,
        state=version.state,
        promoted_at=version.promoted_at,
        metrics=tuple(map(_metrics, evaluations)),
        test=test,
        test_missing=missing,
        membership=manifest.membership,
        origin=_origin(version, manifest),
    )


def _metrics(row: Evaluation) -> ModelMetrics:
    names = ("auroc", "macro_f1", "log_loss", "ece")
    return ModelMetrics(
        name=row.name, split=row.split, rows=row.rows, **{name: row.metrics.get(name) for name in names}
    )


#: The qualities that were computed last: the bootstrap takes a fifth of a second.
_qualities: OrderedDict[tuple[str, int | None, str, int | None], PredictionQuality] = OrderedDict()
_MOST_QUALITIES = 100


def _test_quality(settings: Settings, version: ModelVersion) -> PredictionQuality:
    """Return how good a version is on its test rows; from memory, unless predictions were added or users erased."""
    key = (str(settings.store_path), version.id, version.sha256, Lake.of(settings).version("predictions"))
    quality = _qualities.get(key)
    if quality is None:
        quality = _qualities[key] = _quality(manifest_of(version), predictions_of(settings, version))
    while len(_qualities) > _MOST_QUALITIES:
        _qualities.popitem(last=False)
    return quality


def _quality(manifest: ModelManifest, predictions: Predictions) -> PredictionQuality:
    rows = predictions.rows
    probabilities, targets = probabilities_of(rows["probabilities"]), rows["target"].to_numpy()
    return PredictionQuality(
        rows=rows.height,
        erased=predictions.erased,
        unseen=rows.filter("unseen").height,
        without_events=rows.filter(rows["events"] == 0).height,
        by_segment=tuple(_by_segment(manifest.segments, rows)),
        by_history=tuple(_by_history(manifest, rows)),
        abstention=_abstention(manifest, rows),
        calibration=Calibration(
            ece=expected_calibration_error(probabilities, targets),
            bins=tuple(reliability_curve(probabilities, targets, _BINS)),
        ),
    )


def _auroc(rows: pl.DataFrame, probabilities: Probabilities, resamples: Resamples | None = None) -> Auroc:
    """Return the AUROC of ``probabilities``, ``(n_rows, n_segments)``, for the ``target`` of ``rows``."""
    users = rows["user_key"].n_unique()
    if users < LEAST_USERS:
        return Auroc(rows=rows.height, users=users, undefined=Undefined.TOO_FEW_USERS)
    draws = (resamples or Resamples(rows["user_key"].to_numpy())).auroc(probabilities, rows["target"].to_numpy())
    if not np.isfinite(draws[0]):
        return Auroc(rows=rows.height, users=users, undefined=Undefined.ONE_SEGMENT)
    return Auroc(rows=rows.height, users=users, interval=Interval.of(float(draws[0]), draws[1:]))


def _by_segment(segments: Sequence[str], rows: pl.DataFrame) -> list[SegmentQuality]:
    probabilities, resamples = probabilities_of(rows["probabilities"]), Resamples(rows["user_key"].to_numpy())
    qualities = []
    for n, segment in enumerate(segments):
        inside = (rows["target"] == n).cast(int)
        one_vs_rest = np.stack([1 - probabilities[:, n], probabilities[:, n]], axis=1)
        auroc = _auroc(rows.with_columns(inside.alias("target")), one_vs_rest, resamples)
        qualities.append(SegmentQuality(segment=segment, rows=int(inside.sum()), auroc=auroc))
    return qualities


def _by_history(manifest: ModelManifest, rows: pl.DataFrame) -> list[HistoryQuality]:
    bounds = [*HISTORIES, None]
    answers = (manifest.policy.answers if manifest.policy else ()) or ("model",) * len(bounds)
    qualities = []
    for below, longest, answer in zip([-1, *HISTORIES], bounds, answers, strict=True):
        within = rows.filter(rows["events"] > below, True if longest is None else rows["events"] <= longest)
        if within.is_empty():
            continue
        probabilities = probabilities_of(within["probabilities"])
        qualities.append(
            HistoryQuality(
                shortest=below + 1,
                longest=longest,
                rows=within.height,
                answer=answer,
                accuracy=float((probabilities.argmax(axis=1) == within["target"].to_numpy()).mean()),
                auroc=_auroc(within, probabilities),
            )
        )
    return qualities


def _abstention(manifest: ModelManifest, rows: pl.DataFrame) -> Abstention | None:
    thresholds = manifest.thresholds
    if not thresholds:
        return None
    probabilities, targets = probabilities_of(rows["probabilities"]), rows["target"].to_numpy()
    assigned = assigned_mask(probabilities, rows["events"].to_numpy(), thresholds)
    most_probable = probabilities.argmax(axis=1)
    segments = []
    for n, segment in enumerate(manifest.segments):
        in_segment = assigned & (most_probable == n)
        segments.append(
            SegmentThreshold(
                segment=segment,
                threshold=thresholds[n],
                rows=int(in_segment.sum()),
                coverage=float(in_segment.sum() / max((most_probable == n).sum(), 1)),
                precision=float((targets[in_segment] == n).mean()) if in_segment.any() else None,
            )
        )
    return Abstention(
        min_precision=manifest.precision or 0.0, coverage=float(assigned.mean()), segments=tuple(segments)
    )


def cascade_of(manifest: ModelManifest) -> Cascade | None:
    """Return what a version of the backbone ``cascade`` reported; ``None`` for other backbones."""
    if manifest.backbone != "cascade" or "language_model_fraction" not in manifest.report:
        return None
    return Cascade.model_validate({name: manifest.report[name] for name in Cascade.model_fields})


def _origin(version: ModelVersion, manifest: ModelManifest) -> Origin:
    data, recipe = manifest.data, manifest.recipe
    rare = (rows for rows in data.segments if rows.part == Part.TRAIN and rows.rows < _MIN_TRAINING_ROWS)
    return Origin(
        labeler=data.labeler,
        rows=data.rows,
        users=data.users,
        latest_event=data.latest_event.date() if data.latest_event else None,
        split=manifest.split,
        held_out=manifest.held_out,
        seed=manifest.seed,
        parts=data.parts,
        equal_texts=data.equal_texts,
        training_keys_sha256=data.training_keys_sha256,
        textualizer_version=recipe.textualizer_version,
        modality=recipe.modality.name if recipe.modality else "",
        language=recipe.language,
        window_days=recipe.window_days,
        features=len(manifest.features),
        sha256=version.sha256,
        versions=manifest.versions,
        rare_segments=tuple(rows.segment for rows in rare),
        cascade=cascade_of(manifest),
    )
