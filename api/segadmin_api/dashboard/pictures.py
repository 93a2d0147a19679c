"""Pictures for reports: bars, lines and a Sankey diagram, with every number written at its mark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from segadmin_api.dashboard.svg import Anchor, bar, dot, label, picture, polyline, ribbon, rule, width_of

#: Width of pictures in units: of those for screens and paper, and of those for telephones, whose text would be tiny.
WIDTH, NARROW = 640.0, 350.0
#: Height of a row of bars, of the bar in it, and of a name that stands over it because it is long.
_ROW, _BAR, _OVER = 30.0, 18.0, 18.0
#: Most of the width that names may take, at one side.
_NAMES = 0.31
#: Most of the width that the names at the ends of lines may take.
_ENDS = 0.38
#: Least height of the plot of lines, and the room above it and below it.
_PLOT, _TOP, _BOTTOM = 220.0, 12.0, 26.0
#: Distance between the base lines of labels, so that they do not overlap.
_LINE_HEIGHT = 16.0
#: Height of all users in a Sankey diagram, the gap between its segments, and the width of their marks.
_FLOW, _GAP, _NODE = 300.0, 10.0, 14.0
#: Dates under a plot, at most.
_DATES = 6


@dataclass(frozen=True)
class Bar:
    """A bar with its name and the number that is written at its end."""

    name: str
    value: float
    text: str
    colour: str


@dataclass(frozen=True)
class Line:
    """Values at the moments of a plot; ``None``: there is none."""

    name: str
    values: Sequence[float | None]
    texts: Sequence[str]  #: the values as text
    colour: str


def bars(
    title: str,
    rows: Sequence[Bar],
    *,
    most: float | None = None,
    mark: tuple[float, str] | None = None,
    width: float = WIDTH,
) -> Markup:
    """Return horizontal bars; their names stand over them if one is too long to stand beside its bar.

    Args:
        title: of the picture.
        rows: from top to bottom.
        most: the value of a bar of the whole width; ``None``: the highest one.
        mark: a value at which a dashed line stands, and what is written there.
        width: of the picture.
    """
    longest = max((width_of(row.name) for row in rows), default=0) + 20
    over = _OVER if longest > _NAMES * width else 0.0
    names = 0.0 if over else longest
    texts = 1.1 * max((width_of(row.text) for row in rows), default=0) + 12
    room = width - names - texts
    highest = most or max((*(row.value for row in rows), *([mark[0]] if mark else []), 0)) or 1
    foot = 22 if mark else 0
    marks = []
    for n, row in enumerate(rows):
        top = n * (_ROW + over) + over + (_ROW - _BAR) / 2
        length = max(room * min(max(row.value / highest, 0), 1), 1)
        if over:
            marks.append(label(0, top - 5, row.name, room=width))
        else:
            marks.append(label(names - 8, top + 14, row.name, anchor="end", room=names - 10))
        marks += [
            bar(names, top, (length, _BAR), row.colour, f"{row.name}: {row.text}"),
            label(names + length + 6, top + 14, row.text, bold=True),
        ]
    height = len(rows) * (_ROW + over)
    if mark:
        x = names + room * min(mark[0] / highest, 1)
        end: Anchor = "middle" if width_of(mark[1], 12) / 2 < min(x, width - x) else "end" if x > width / 2 else "start"
        marks += [rule(x, 0, x, height, dashed=True), label(x, height + 15, mark[1], anchor=end, tone="soft", size=12)]
    spoken = "; ".join(f"{row.name}: {row.text}" for row in rows)
    return picture(title, spoken, (width, height + foot), marks)


def lines(
    title: str, dates: Sequence[str], moments: Sequence[float], series: Sequence[Line], width: float = WIDTH
) -> Markup:
    """Return lines over time, each with its name at its end.

    Args:
        title: of the picture.
        dates: of the moments, as text.
        moments: in seconds, ascending; at least one.
        series: a value for each moment.
        width: of the picture.
    """
    known = [value for line in series for value in line.values if value is not None]
    ticks = ticks_to(max(known, default=0))
    left = max(*(width_of(f"{tick:,g}", 12) for tick in ticks), width_of(dates[0], 12) / 2 - 6) + 10
    ends = [(line, _last(line)) for line in series if _last(line) is not None]
    right = min(max((width_of(_end_text(line)) for line, _ in ends), default=0) + 26, _ENDS * width)
    tall = max(_PLOT, _LINE_HEIGHT * len(ends))
    room, span = width - left - right, (moments[-1] - moments[0]) or 1

    def place(moment: float, value: float) -> tuple[float, float]:
        across = (moment - moments[0]) / span if len(moments) > 1 else 0.5
        return left + room * across, _TOP + tall * (1 - value / ticks[-1])

    marks = []
    for tick in ticks:
        y = place(moments[0], tick)[1]
        marks += [
            rule(left, y, left + room, y),
            label(left - 6, y + 4, f"{tick:,g}", anchor="end", tone="soft", size=12),
        ]
    marks += _dates(dates, [place(moment, 0)[0] for moment in moments], _TOP + tall + 18)
    for line in series:
        points = [
            place(at, value) if value is not None else None for at, value in zip(moments, line.values, strict=True)
        ]
        marks += [polyline(run, line.colour) for run in _runs(points)]
        marks += [
            dot(*point, line.colour, f"{line.name}, {date}: {text}")
            for point, date, text in zip(points, dates, line.texts, strict=True)
            if point is not None and (len(moments) <= 30 or point == points[-1])
        ]
    heights = _apart([place(moments[0], value or 0)[1] for _, value in ends], _TOP + 6, _TOP + tall)
    for (line, _), y in zip(ends, heights, strict=True):
        marks += [
            bar(left + room + 8, y - 5, (8, 8), line.colour),
            label(left + room + 20, y + 4, line.name, suffix=f" {line.texts[-1]}", room=right - 20),
        ]
    spoken = "; ".join(_spoken(line, dates) for line in series)
    return picture(title, spoken, (width, _TOP + tall + _BOTTOM), marks)


def sankey(
    title: str,
    befores: Sequence[tuple[str, str]],
    afters: Sequence[tuple[str, str]],
    flows: Mapping[tuple[int, int], tuple[int, str]],
    width: float = WIDTH,
) -> Markup:
    """Return who went from which segment to which, as bands whose heights are numbers of users.

    Args:
        title: of the picture.
        befores: name and colour of each segment on the left.
        afters: the same on the right.
        flows: place on the left and on the right → users, and the number as text.
        width: of the picture.
    """
    total = sum(users for users, _ in flows.values()) or 1
    scale = _FLOW / total
    sides = (befores, afters)
    sums = [
        [sum(users for places, (users, _) in flows.items() if places[side] == n) for n in range(len(sides[side]))]
        for side in (0, 1)
    ]
    names = min(max(width_of(name) for side in sides for name, _ in side) + 70, _NAMES * width)
    xs = (names, width - names - _NODE)
    tops = [_stacked([users * scale for users in side]) for side in sums]
    spare = [list(side) for side in tops]
    marks = []
    for (before, after), (users, text) in sorted(flows.items()):
        ends = f"{befores[before][0]} → {afters[after][0]}: {text}"
        start, end = (xs[0] + _NODE, spare[0][before]), (xs[1], spare[1][after])
        marks.append(ribbon(start, end, max(users * scale, 0.5), befores[before][1], ends))
        spare[0][before] += users * scale
        spare[1][after] += users * scale
    for side, (x, text_x) in enumerate(((xs[0], xs[0] - 8), (xs[1], xs[1] + _NODE + 8))):
        anchor: Anchor = "start" if side else "end"
        middles = [top + users * scale / 2 for top, users in zip(tops[side], sums[side], strict=True)]
        for (name, colour), top, users, middle in zip(
            sides[side], tops[side], sums[side], _apart(middles, 8, math.inf), strict=True
        ):
            marks += [
                bar(x, top, (_NODE, max(users * scale, 1)), colour, f"{name}: {users:,}"),
                label(text_x, middle + 4, name, suffix=f" · {users:,}", anchor=anchor, room=names - 10),
            ]
    height = max(_FLOW + _GAP * max(len(befores), len(afters)), _LINE_HEIGHT * max(len(befores), len(afters)) + 16)
    spoken = "; ".join(
        f"{befores[before][0]} → {afters[after][0]}: {text}" for (before, after), (_, text) in sorted(flows.items())
    )
    return picture(title, spoken, (width, height), marks)


def ticks_to(highest: float) -> list[float]:
    """Return round numbers from 0 to at least ``highest``, about five."""
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / 4
    power: float = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    return [n * step for n in range(math.ceil(highest / step - 1e-9) + 1)]


def _dates(dates: Sequence[str], xs: Sequence[float], y: float) -> list[Markup]:
    """Return the dates under a plot: the last one, and of the others as many as there is room for."""
    widest = max((width_of(date, 12) for date in dates), default=0) + 12
    most = min(_DATES, max(1, int((xs[-1] - xs[0]) / widest)))
    every = math.ceil(len(dates) / most)
    shown = list(range(len(dates) - 1, -1, -every))
    room = [n for n in shown if n == len(dates) - 1 or xs[-1] - xs[n] > width_of(dates[n], 12)]
    return [label(xs[n], y, dates[n], anchor="middle", tone="soft", size=12) for n in room]


def _runs(points: Sequence[tuple[float, float] | None]) -> list[list[tuple[float, float]]]:
    """Return the stretches without a gap."""
    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(point)
    return [run for run in runs if len(run) > 1]


def _last(line: Line) -> float | None:
    return line.values[-1] if line.values else None


def _end_text(line: Line) -> str:
    return f"{line.name} {line.texts[-1]}"


def _spoken(line: Line, dates: Sequence[str]) -> str:
    known = [n for n, value in enumerate(line.values) if value is not None]
    ends = sorted({known[0], known[-1]}) if known else []
    return f"{line.name}: {', '.join(f'{dates[n]} {line.texts[n]}' for n in ends)}"


def _stacked(heights: Sequence[float]) -> list[float]:
    """Return the upper edge of each of some heights, one below the other."""
    tops, top = [], 0.0
    for height in heights:
        tops.append(top)
        top += height + _GAP
    return tops


def _apart(heights: Sequence[float], low: float, high: float) -> list[float]:
    """Return heights moved as little as is simple, so that labels at them do not overlap."""
    order = sorted(range(len(heights)), key=lambda n: heights[n])
    moved = {n: max(heights[n], low) for n in order}
    for above, below in pairwise(order):
        moved[below] = max(moved[below], moved[above] + _LINE_HEIGHT)
    if order and (over := moved[order[-1]] - high) > 0:
        moved[order[-1]] -= over
        for below, above in pairwise(order[::-1]):
            moved[above] = min(moved[above], moved[below] - _LINE_HEIGHT)
    return [moved[n] for n in range(len(heights))]
