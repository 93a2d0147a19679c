"""The charts of the web pages: SVG without scripts, each in a figure with a title and a description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

from markupsafe import Markup

from segadmin_api.dashboard.plots import Plot, Range, axes, axis_label, circle, column, draw, legend
from segadmin_api.dashboard.reader import ENGLISH, Reader
from segadmin_api.dashboard.render import counted_of, text_of

if TYPE_CHECKING:
    from segadmin.evaluation.metrics import ReliabilityBin
    from segadmin.events.profile import Profile
    from segadmin.training.study import Trial

Points = Sequence[tuple[float, float]]
#: The colours of the series of a line chart, in order.
_SERIES_COLOURS = ("#4f9d69", "#8fb8de", "#f2b266", "#b48ead")
#: The kinds of events, with their colours.
KIND_COLOURS = {"view": "#8fb8de", "cart": "#f2b266", "purchase": "#4f9d69", "rating": "#b48ead", "review": "#d0707a"}
_BIN_COLOUR = "#8fb8de"
#: Width of charts that a page has one of, so that their text is readable on a telephone.
_WIDTH = 400
#: The y axis spans at least this fraction of its highest value, so that noise does not look like a trend.
_MINIMUM_SPAN = 0.01
#: Radius of a dot on a line, and of a dot without a line.
_DOT, _LONE_DOT = 2.5, 4.0


@dataclass(frozen=True)
class Series:
    """Named points ``(x, y)``, drawn as a line, as dots, or both."""

    name: str
    points: Points
    line: bool = True
    dots: bool = True


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    best: Literal["", "min", "max"] = "",
    unit: str = "step",
    x: Range | None = None,
    ends: tuple[str, str] | None = None,
    size: tuple[float, float] = (360, 150),
    reader: Reader = ENGLISH,
) -> Markup:
    """Return a chart of ``series``, the first one in front.

    Args:
        title: of the figure.
        series: each with at least one point.
        best: mark the lowest or the highest point of the first series.
        unit: of the x axis.
        x: what the x axis shows; ``None``: from the first point to the last.
        ends: what is written at both ends of the x axis; ``None``: the numbers.
        size: of the plot, in units of the picture.
        reader: whose language the words have that are added; ``title``, ``unit`` and the names have it already.
    """
    xs, ys = zip(*(point for line in series for point in line.points), strict=True)
    plot = Plot(*size, x or (min(xs), max(xs)), _padded(min(ys), max(ys)), inset=5)
    coloured = list(zip(_SERIES_COLOURS, series, strict=False))
    marks = [_series(plot, colour, line) for colour, line in reversed(coloured)]
    summary = ""
    if best:
        points = series[0].points
        where, value = (min if best == "min" else max)(points, key=lambda point: point[1])
        marks.append(circle(plot.place(where, value), 6, stroke="#444"))
        values = {"value": f"{value:.4f}", "where": f"{where:g}", "last": f"{points[-1][1]:.4f}"}
        summary = text_of(reader, "best %(value)s at %(where)s, last %(last)s", **values)
    (left, right), (low, high) = plot.x, plot.y
    first, last = ends or (f"{left:g}", f"{unit} {right:g}")
    marks += [
        axis_label(-5, 10, f"{high:.4f}", "end"),
        axis_label(-5, plot.height, f"{low:.4f}", "end"),
        axis_label(0, plot.height + 15, first),
        axis_label(plot.width, plot.height + 15, last, "end"),
    ]
    facts = {"names": ", ".join(line.name for line in series), "low": f"{low:.4f}", "high": f"{high:.4f}"}
    description = text_of(reader, "%(names)s by %(unit)s, %(low)s to %(high)s", unit=unit, **facts)
    picture = draw(plot, title, description, [axes(plot), *marks])
    caption = Markup("<figcaption>{}{}</figcaption>").format(
        title, Markup(" <small>{}</small>").format(summary) if summary else ""
    )
    return _figure(Markup("{}{}{}").format(caption, picture, legend((line.name, colour) for colour, line in coloured)))


def search_chart(trials: Sequence[Trial], reader: Reader = ENGLISH) -> Markup:
    """Return each complete trial as a dot and the best so far as a line; empty if no trial is complete."""
    points = [(float(trial.trial), trial.value) for trial in trials if trial.value is not None]
    if not points:
        return Markup("")
    numbers, values = zip(*points, strict=True)
    best = list(zip(numbers, accumulate(values, min), strict=True))
    trial, title = text_of(reader, "trial"), text_of(reader, "Validation log-loss")
    series = [Series(text_of(reader, "best so far"), best, dots=False), Series(trial, points, line=False)]
    return line_chart(title, series, unit=trial, x=(1, len(trials)), size=(_WIDTH, 200), reader=reader)


def reliability_diagram(bins: Sequence[ReliabilityBin], reader: Reader = ENGLISH) -> Markup:
    """Return the accuracy of the most probable segment, one bar per probability bin."""
    plot = Plot(300, 300, (0, 1), (0, 1))
    bars = [
        column(plot, (bin_.low, bin_.high), (0, bin_.accuracy), _BIN_COLOUR, _bin_title(bin_, reader)) for bin_ in bins
    ]
    diagonal = Markup('<path d="M0 {0}L{0} 0" stroke="#888" stroke-dasharray="4"/>').format(plot.height)
    labels = [
        axis_label(0, plot.height + 15, text_of(reader, "probability 0 %")),
        axis_label(plot.width, plot.height + 15, "100 %", "end"),
        axis_label(-5, 10, "1", "end"),
    ]
    description = text_of(
        reader, "Accuracy by the probability of the most probable segment; on the dashed line both are equal"
    )
    return _figure(draw(plot, text_of(reader, "Reliability"), description, [*bars, diagonal, axes(plot), *labels]))


def _bin_title(of: ReliabilityBin, reader: Reader) -> str:
    values = {
        "users": counted_of(reader, of.rows, "user"),
        "probability": f"{(of.low + of.high) / 2:.0%}",
        "accuracy": f"{of.accuracy:.1%}",
    }
    return text_of(reader, "%(users)s, probability about %(probability)s, accuracy %(accuracy)s", **values)


def events_by_day(profile: Profile, reader: Reader = ENGLISH) -> Markup:
    """Return a stacked bar chart of events per day by kind; per week or 30 days for long periods."""
    spans = _spans(profile)
    highest = max((sum(counts.values()) for _, counts in spans), default=1)
    plot = Plot(_WIDTH, 200, (0, len(spans)), (0, highest))
    bars = [bar for n, (first, counts) in enumerate(spans) for bar in _stack(plot, n, (first, counts), reader)]
    labels = [
        axis_label(-5, 10, f"{highest:,}", "end"),
        axis_label(0, plot.height + 15, f"{profile.first}"),
        axis_label(plot.width, plot.height + 15, f"{profile.last}", "end"),
    ]
    values = {"first": profile.first, "last": profile.last, "most": f"{highest:,}"}
    description = text_of(reader, "From %(first)s to %(last)s, at most %(most)s events in one bar", **values)
    picture = draw(plot, text_of(reader, "Events by day"), description, [*bars, axes(plot), *labels])
    kinds = [(text_of(reader, kind), colour) for kind, colour in KIND_COLOURS.items()]
    return _figure(Markup("{}{}").format(picture, legend(kinds)))


def _stack(plot: Plot, n: int, span: tuple[date, Mapping[str, int]], reader: Reader) -> list[Markup]:
    (first, counts), bars, below = span, list[Markup](), 0
    for kind, colour in KIND_COLOURS.items():
        above = below + counts.get(kind, 0)
        bars.append(
            column(plot, (n, n + 1), (below, above), colour, f"{first}: {text_of(reader, kind)} {above - below:,}")
        )
        below = above
    return bars


def _spans(profile: Profile) -> list[tuple[date, dict[str, int]]]:
    """Return the first day and the events by kind of each bar; a bar spans 1, 7 or 30 days."""
    days = (profile.last - profile.first).days + 1
    length = 1 if days <= 200 else 7 if days <= 1_400 else 30
    spans: list[tuple[date, dict[str, int]]] = [(profile.first + timedelta(days=n), {}) for n in range(0, days, length)]
    for day, counts in profile.by_day.items():
        span = spans[(day - profile.first).days // length][1]
        for kind, count in counts.items():
            span[kind] = span.get(kind, 0) + count
    return spans


def _padded(low: float, high: float) -> Range:
    minimum = _MINIMUM_SPAN * abs(high)
    if high - low >= minimum:
        return low, high
    return (high + low - minimum) / 2, (high + low + minimum) / 2


def _series(plot: Plot, colour: str, series: Series) -> Markup:
    positions = [plot.place(*point) for point in series.points]
    line = Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="2"/>').format(
        " ".join(f"{x:.1f},{y:.1f}" for x, y in positions), colour
    )
    dots = [
        circle(position, _DOT if series.line else _LONE_DOT, colour, title=f"{series.name} {x:g}: {y:.4f}")
        for position, (x, y) in zip(positions, series.points, strict=True)
    ]
    return Markup("").join([*([line] if series.line else []), *(dots if series.dots else [])])


def _figure(content: Markup) -> Markup:
    return Markup("<figure>{}</figure>").format(content)
