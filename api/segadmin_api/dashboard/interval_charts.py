"""Charts of segments: values with their intervals, hours of the day, and how sure the model is.

Each is the picture alone: the page puts it in a figure with its table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from segadmin.snapshots.segment_calibration import SegmentCalibration
from segadmin_api.dashboard.plots import BAR_WIDTH, Plot, axes, axis_label, circle, column, draw, legend

_COLOUR, _OTHER = "#4f9d69", "#8fb8de"
#: Width of plots, so that their text is readable on a telephone; height of a row, and of the name at its top.
_PLOT, _ROW, _NAME = 320, 38, 18
#: Room around plots whose names are in them, for the text at their ends.
_EDGE = 12


@dataclass(frozen=True)
class Bar:
    """A named value with its interval, if it is known."""

    name: str
    value: float
    low: float | None
    high: float | None


def interval_chart(title: str, bars: Sequence[Bar], description: str, reference: float = 1.0) -> Markup:
    """Return a row for each value: a dot on its interval, and a dashed line at ``reference``."""
    ends = [each for bar in bars for each in (bar.value, bar.low, bar.high) if each is not None]
    low, high = min([reference, *ends]), max([reference, *ends])
    span = (high - low) or 1.0
    plot = Plot(_PLOT, _ROW * len(bars), (low - 0.05 * span, high + 0.05 * span), (0, len(bars)))
    across, marks = plot.place(reference, 0)[0], []
    for n, bar in enumerate(bars):
        y = _ROW * n + (_ROW + _NAME) / 2
        marks.append(_line(across, _ROW * n + _NAME, across, _ROW * (n + 1), dashed=True))
        if bar.low is not None and bar.high is not None:
            marks.append(_line(plot.place(bar.low, 0)[0], y, plot.place(bar.high, 0)[0], y))
        marks.append(circle((plot.place(bar.value, 0)[0], y), 4, _COLOUR, title=_bar_text(bar)))
        marks.append(_name_label(bar.name, n))
    marks.append(axis_label(across, plot.height + 15, f"{reference:g}", "start"))
    return _close(draw(plot, title, description, marks), plot)


def hours_chart(title: str, hours: Sequence[tuple[str, float, float]], names: tuple[str, str]) -> Markup:
    """Return two bars for each hour: the share of the segment's events, and of everybody's.

    Args:
        title: of the picture.
        hours: the hour as text, and both shares.
        names: of both.
    """
    highest = max((share for _, *shares in hours for share in shares), default=1.0) or 1.0
    plot = Plot(_PLOT, 150, (0, len(hours)), (0, highest))
    marks = []
    for n, (hour, own, other) in enumerate(hours):
        marks.append(column(plot, (n + 0.05, n + 0.5), (0, own), _COLOUR, f"{hour} {names[0]} {own:.1%}"))
        marks.append(column(plot, (n + 0.5, n + 0.95), (0, other), _OTHER, f"{hour} {names[1]} {other:.1%}"))
        if n % 4 == 0:
            marks.append(axis_label(plot.place(n, 0)[0], plot.height + 15, hour))
    marks.append(axis_label(-5, 10, f"{highest:.0%}", "end"))
    picture = draw(plot, title, ", ".join(names), [*marks, axes(plot)])
    return Markup("{}{}").format(picture, legend(zip(names, (_COLOUR, _OTHER), strict=True)))


def histogram(title: str, users: Sequence[int], description: str) -> Markup:
    """Return a bar for each bin of probability from 0 to 1, as high as it has users."""
    plot = Plot(_PLOT, 150, (0, 1), (0, max(users, default=0) or 1))
    width = 1 / max(len(users), 1)
    marks = [
        column(plot, (n * width, (n + 1) * width), (0, count), _COLOUR, f"{n * width:.0%}: {count:,}")
        for n, count in enumerate(users)
    ]
    labels = [
        axis_label(-5, 10, f"{max(users, default=0):,}", "end"),
        axis_label(0, plot.height + 15, "0%"),
        axis_label(plot.width, plot.height + 15, "100%", "end"),
    ]
    return draw(plot, title, description, [*marks, axes(plot), *labels])


def calibration_chart(title: str, calibration: SegmentCalibration, description: str) -> Markup:
    """Return how often users were in the segment by the probability of it; on the dashed line both are equal."""
    plot = Plot(260, 260, (0, 1), (0, 1), inset=5)
    marks = [Markup('<path d="M5 255L255 5" stroke="#888" stroke-dasharray="4"/>')]
    for each in calibration.bins:
        x, low = plot.place(each.predicted, each.observed_low)
        _, high = plot.place(each.predicted, each.observed_high)
        marks.append(_line(x, low, x, high))
        text = f"{each.predicted:.0%}: {each.observed:.1%} [{each.observed_low:.1%}, {each.observed_high:.1%}]"
        marks.append(circle(plot.place(each.predicted, each.observed), 4, _COLOUR, title=text))
    labels = [
        axis_label(0, plot.height + 15, "0%"),
        axis_label(plot.width, plot.height + 15, "100%", "end"),
        axis_label(-5, 10, "100%", "end"),
    ]
    return draw(plot, title, description, [*marks, axes(plot), *labels])


def segments_chart(title: str, runs: Sequence[tuple[str, float, float, str]], ends: tuple[str, str]) -> Markup:
    """Return a row for each segment, with a bar for every time that the user was in it.

    Args:
        title: of the picture.
        runs: segment, and from where to where, as fractions of the whole width; and the same in words.
        ends: the beginning and the end of the time.
    """
    rows = list(dict.fromkeys(segment for segment, *_ in runs))
    plot = Plot(_PLOT, _ROW * len(rows), (0, 1), (0, _ROW * len(rows)))
    marks = []
    for segment, begin, end, text in runs:
        low = _ROW * (len(rows) - 1 - rows.index(segment)) + 3
        whole = max(end - begin, 0.01) / BAR_WIDTH  # one run joins the next
        marks.append(column(plot, (begin, begin + whole), (low, low + _ROW - _NAME - 5), _COLOUR, text))
    marks += [_name_label(name, n) for n, name in enumerate(rows)]
    marks += [axis_label(0, plot.height + 15, ends[0]), axis_label(plot.width, plot.height + 15, ends[1], "end")]
    return _close(draw(plot, title, ", ".join(text for *_, text in runs), [*marks, axes(plot)]), plot)


def _name_label(name: str, row: int) -> Markup:
    """Return a name at the top of a row; of a very long one the beginning is seen."""
    box = Markup('<svg x="0" y="{:g}" width="{:g}" height="{:g}"><text x="3" y="14" font-size="12">{}</text></svg>')
    return box.format(_ROW * row, _PLOT + _EDGE, _NAME + 2, name)


def _bar_text(bar: Bar) -> str:
    interval = "" if bar.low is None or bar.high is None else f" [{bar.low:.2f}, {bar.high:.2f}]"
    return f"{bar.name}: {bar.value:.2f}{interval}"


def _line(x: float, y: float, to_x: float, to_y: float, *, dashed: bool = False) -> Markup:
    dash = Markup(' stroke-dasharray="4"') if dashed else ""
    return Markup('<path d="M{:.1f} {:.1f}L{:.1f} {:.1f}" stroke="#888" stroke-width="2"{}/>').format(
        x, y, to_x, to_y, dash
    )


def _close(picture: Markup, plot: Plot) -> Markup:
    """Return a picture without room for labels to the left of its plot."""
    width, height = plot.width + 2 * _EDGE, plot.height + 24
    box = Markup('<svg viewBox="{:g} -4 {:g} {:g}" width="{:g}"').format(-_EDGE, width, height, width)
    return box + picture[picture.index(" role=") :]
