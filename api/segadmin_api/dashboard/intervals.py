"""Charts of values with their intervals, one line for each: who is better, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from segadmin_api.dashboard.figures import COLOURS

#: Units of the picture: its width, the margin at both sides, and the heights of a name, of a line and of the axis.
WIDTH, _MARGIN = 480, 12
_NAME, _LINE, _GAP, _AXIS = 16, 16, 8, 22


@dataclass(frozen=True)
class IntervalPoint:
    """A value with its interval, of the series that the chart's legend names at the same position."""

    value: float
    low: float | None = None  #: ``None``: no interval is known
    high: float | None = None


@dataclass(frozen=True)
class IntervalRow:
    """The values of one thing, one for each series; ``None``: not known."""

    name: str
    points: Sequence[IntervalPoint | None]


@dataclass(frozen=True)
class Drawn:
    """A point with its place in the picture."""

    point: IntervalPoint
    series: str
    colour: str
    x: float
    y: float
    left: float
    right: float


@dataclass(frozen=True)
class IntervalChart:
    """A chart of some rows."""

    title: str
    series: Sequence[str]  #: names; the legend is shown if there are several
    rows: Sequence[IntervalRow]
    zero: float | None = None  #: where a line is drawn, such as at no difference
    digits: int = 3

    @property
    def colours(self) -> Sequence[str]:
        """The colour of each series."""
        return [COLOURS[n % len(COLOURS)] for n in range(len(self.series))]

    @cached_property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value on the axis."""
        values = [self.zero] if self.zero is not None else []
        for row in self.rows:
            for point in filter(None, row.points):
                values += [point.value, *(bound for bound in (point.low, point.high) if bound is not None)]
        low, high = min(values, default=0.0), max(values, default=1.0)
        spare = (high - low) * 0.04 or 0.01
        return low - spare, high + spare

    @property
    def height(self) -> int:
        """The height of the picture."""
        return len(self.rows) * self._row_height + _AXIS

    @property
    def axis(self) -> int:
        """Where the axis is, from the top."""
        return self.height - _AXIS

    @property
    def _row_height(self) -> int:
        return _NAME + _LINE * len(self.series) + _GAP

    def x_of(self, value: float) -> float:
        """Return where a value is, from the left."""
        low, high = self.ends
        return round(_MARGIN + (value - low) / (high - low) * (WIDTH - 2 * _MARGIN), 1)

    def names(self) -> Iterator[tuple[str, int]]:
        """Yield the name of each row, and where its text stands."""
        for number, row in enumerate(self.rows):
            yield row.name, number * self._row_height + _NAME - 3

    def drawn(self) -> Iterator[Drawn]:
        """Yield every point with its place."""
        for number, row in enumerate(self.rows):
            for n, (name, point) in enumerate(zip(self.series, row.points, strict=True)):
                if point is not None:
                    y = number * self._row_height + _NAME + _LINE * n + _LINE // 2
                    left = self.x_of(point.value if point.low is None else point.low)
                    right = self.x_of(point.value if point.high is None else point.high)
                    yield Drawn(point, name, self.colours[n], self.x_of(point.value), y, left, right)
