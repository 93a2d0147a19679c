"""How well the probabilities of one segment match how often users were truly in it, on a model's test rows."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

import polars as pl

from segadmin.errors import DataError
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from segadmin.storage.predictions import predictions_of
from segadmin.storage.records import ModelVersion

_BINS = 10
_Z = 1.959964  #: of a 95 % interval
#: The calibrations that were computed last: reading the predictions takes most of the time of a segment's page.
_recent: OrderedDict[tuple[str, int | None, str, str, int | None], SegmentCalibration | None] = OrderedDict()
_MOST = 100


@dataclass(frozen=True)
class CalibrationBin:
    """Test rows whose probability of a segment lies in one bin."""

    low: float
    high: float
    rows: int
    predicted: float  #: mean probability
    observed: float  #: fraction of the rows that are truly in the segment
    observed_low: float  #: its 95 % interval
    observed_high: float


@dataclass(frozen=True)
class SegmentCalibration:
    """The calibration of a model for one segment."""

    rows: int
    error: float  #: mean difference between ``predicted`` and ``observed``, weighted by rows
    bins: tuple[CalibrationBin, ...]  #: those with rows


def segment_calibration(settings: Settings, version: ModelVersion, segment: str) -> SegmentCalibration | None:
    """Return the calibration of a version for a segment; from memory, unless predictions were added or users erased.

    Returns:
        ``None`` without test rows, or if the version has no such segment.
    """
    key = (str(settings.store_path), version.id, version.sha256, segment, Lake.of(settings).version("predictions"))
    if key not in _recent:
        try:
            rows = predictions_of(settings, version).rows
        except DataError:
            return None
        _recent[key] = _calibration(version, segment, rows)
    while len(_recent) > _MOST:
        _recent.popitem(last=False)
    return _recent.get(key)


def _calibration(version: ModelVersion, segment: str, rows: pl.DataFrame) -> SegmentCalibration | None:
    if segment not in version.segments or rows.is_empty():
        return None
    place = version.segments.index(segment)
    probability = pl.col("probabilities").list.get(place).cast(pl.Float64)
    bins = (
        rows.select(probability=probability, is_inside=pl.col("target") == place)
        .group_by(bin=(pl.col("probability") * _BINS).floor().clip(0, _BINS - 1).cast(pl.Int64))
        .agg(rows=pl.len(), predicted=pl.col("probability").mean(), observed=pl.col("is_inside").mean())
        .sort("bin")
    )
    measured = tuple(_bin(**row) for row in bins.iter_rows(named=True))
    error = sum(each.rows * abs(each.predicted - each.observed) for each in measured) / rows.height
    return SegmentCalibration(rows.height, error, measured)


def _bin(*, bin: int, rows: int, predicted: float, observed: float) -> CalibrationBin:  # noqa: A002  (a column)
    return CalibrationBin(bin / _BINS, (bin + 1) / _BINS, rows, predicted, observed, *wilson(observed, rows))


def wilson(fraction: float, rows: int) -> tuple[float, float]:
    """Return the 95 % interval of a fraction of ``rows``.

    Wilson: Probable Inference, the Law of Succession, and Statistical Inference, 1927. It holds for few rows too.
    """
    square = _Z**2 / rows
    centre, margin = fraction + square / 2, _Z * math.sqrt(fraction * (1 - fraction) / rows + square / (4 * rows))
    return max((centre - margin) / (1 + square), 0.0), min((centre + margin) / (1 + square), 1.0)
