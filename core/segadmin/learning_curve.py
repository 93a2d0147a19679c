"""A curve: the figures of a running fit, few enough to be kept on its step and drawn while it runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Points that a curve keeps at most.
MOST = 200
Points = list[list[Any]]  #: ``[step, {figure: value}]`` each, JSON only


@dataclass
class Curve:
    """What a fit logged, thinned: evenly, but always with the first and the newest point.

    A fit that begins again, or goes on from an older checkpoint, takes back what came after that step.
    """

    _series: dict[tuple[str, ...], _Series] = field(default_factory=dict)

    @classmethod
    def of(cls, points: Sequence[Sequence[Any]]) -> Curve:
        """Return the curve that has ``points``."""
        curve = cls()
        for step, figures in points:
            curve.add(step, figures)
        return curve

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Add a point; figures that are not finite are left out."""
        figures = finite(figures)
        if not figures:
            return
        # Those with other figures are thinned apart: few points of one model survive the many of another.
        self._series.setdefault(tuple(sorted(figures)), _Series()).add(step, figures)
        while sum(len(one.kept) for one in self._series.values()) > MOST:
            name, longest = max(self._series.items(), key=lambda item: len(item[1].kept))
            if len(longest.kept) > 2:
                longest.halve()
            else:
                del self._series[name]

    @property
    def points(self) -> Points:
        """The points, those with the same figures together, in the order of their steps."""
        return [[one.step, dict(one.figures)] for series in self._series.values() for one in series.kept]


def finite(figures: Mapping[str, float]) -> dict[str, float]:
    """Return the figures that are numbers: JSON and the services of trackers know no others."""
    return {name: float(value) for name, value in figures.items() if math.isfinite(value)}


@dataclass(frozen=True)
class _Point:
    number: int  #: of those with the same figures, from 0 on
    step: int
    figures: Mapping[str, float]


@dataclass
class _Series:
    """Every ``stride``-th point, and the newest."""

    kept: list[_Point] = field(default_factory=list)
    stride: int = 1
    seen: int = 0

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        self.kept = [one for one in self.kept if one.step < step]
        if self.kept and self.kept[-1].number % self.stride:
            self.kept.pop()
        self.kept.append(_Point(self.seen, step, figures))
        self.seen += 1

    def halve(self) -> None:
        self.stride *= 2
        *older, newest = self.kept
        self.kept = [*(one for one in older if one.number % self.stride == 0), newest]
