"""Learning curves: the metrics of a running fit, thinned so that they can be stored with its step and plotted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Maximum number of points of a curve.
MOST = 200
Points = list[list[Any]]  #: a list of ``[step, {metric: value}]``, as JSON


@dataclass
class Curve:
    """The metrics that a fit logged, thinned evenly; the first and the newest point are always kept.

    If a fit restarts, or resumes from an older checkpoint, the points after that step are removed.
    """

    _series: dict[tuple[str, ...], _Series] = field(default_factory=dict)

    @classmethod
    def of(cls, points: Sequence[Sequence[Any]]) -> Curve:
        """Return a curve with ``points``."""
        curve = cls()
        for step, metrics in points:
            curve.add(step, metrics)
        return curve

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add a point; values that are not finite are dropped."""
        metrics = finite(metrics)
        if not metrics:
            return
        # Points with other metrics are thinned separately, so that the many of one model do not displace the few of
        # another.
        self._series.setdefault(tuple(sorted(metrics)), _Series()).add(step, metrics)
        while sum(len(series.kept) for series in self._series.values()) > MOST:
            name, longest = max(self._series.items(), key=lambda item: len(item[1].kept))
            if len(longest.kept) > 2:
                longest.halve()
            else:
                del self._series[name]

    @property
    def points(self) -> Points:
        """The points in the order of their steps, grouped by their metrics."""
        return [[point.step, dict(point.metrics)] for series in self._series.values() for point in series.kept]


def finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics with finite values: JSON and tracking services do not support others."""
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}


@dataclass(frozen=True)
class _Point:
    number: int  #: index among the points with the same metrics, from 0
    step: int
    metrics: Mapping[str, float]


@dataclass
class _Series:
    """Every ``stride``-th point, and the newest."""

    kept: list[_Point] = field(default_factory=list)
    stride: int = 1
    seen: int = 0

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        self.kept = [point for point in self.kept if point.step < step]
        if self.kept and self.kept[-1].number % self.stride:
            self.kept.pop()
        self.kept.append(_Point(self.seen, step, metrics))
        self.seen += 1

    def halve(self) -> None:
        self.stride *= 2
        *older, newest = self.kept
        self.kept = [*(point for point in older if point.number % self.stride == 0), newest]
