"""Plots as SVG: an area that shows values, its axes, and the marks on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from segadmin_api.dashboard.svg import tooltip

Range = tuple[float, float]
#: Margins around the plot for axis labels: left, top, right, bottom.
_MARGIN = (56, 4, 8, 20)
#: Width of a bar as a fraction of its slot.
BAR_WIDTH = 0.9


@dataclass(frozen=True)
class Plot:
    """An area of ``width`` times ``height`` units that shows the values ``x`` and ``y``, y upwards."""

    width: float
    height: float
    x: Range
    y: Range
    inset: float = 0  #: units between the outermost values and the edge

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return the position of a point, from the upper left corner."""
        across, up = _fraction(x, self.x), _fraction(y, self.y)
        wide, high = self.width - 2 * self.inset, self.height - 2 * self.inset
        return self.inset + wide * across, self.inset + high * (1 - up)


def circle(
    position: tuple[float, float], radius: float, fill: str = "none", stroke: str = "none", title: str = ""
) -> Markup:
    """Return a circle at a place of the picture."""
    return Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{:g}" fill="{}" stroke="{}">{}</circle>').format(
        *position, radius, fill, stroke, tooltip(title)
    )


def column(plot: Plot, across: Range, up: Range, colour: str, title: str) -> Markup:
    """Return a bar over the values ``across``, from the lower to the higher of ``up``."""
    left, bottom = plot.place(across[0], up[0])
    right, top = plot.place(across[1], up[1])
    return Markup('<rect x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}" fill="{}">{}</rect>').format(
        left, top, (right - left) * BAR_WIDTH, bottom - top, colour, tooltip(title)
    )


def axes(plot: Plot) -> Markup:
    """Return both axes."""
    return Markup('<path d="M0 0V{0:g}H{1:g}" fill="none" stroke="#ccc"/>').format(plot.height, plot.width)


def axis_label(x: float, y: float, text: str, anchor: Literal["start", "end"] = "start") -> Markup:
    """Return a text beside an axis."""
    return Markup('<text x="{:g}" y="{:g}" font-size="12" fill="#666" text-anchor="{}">{}</text>').format(
        x, y, anchor, text
    )


def draw(plot: Plot, title: str, description: str, marks: Iterable[Markup]) -> Markup:
    """Return the picture of a plot with room for its labels, and a title and a description for screen readers."""
    left, top, right, bottom = _MARGIN
    width, height = plot.width + left + right, plot.height + top + bottom
    return Markup('<svg viewBox="{:g} {:g} {:g} {:g}" width="{:g}" role="img">{}<desc>{}</desc>{}</svg>').format(
        -left, -top, width, height, width, tooltip(title), description, Markup("").join(marks)
    )


def legend(colours: Iterable[tuple[str, str]]) -> Markup:
    """Return the legend: names with their colours."""
    entry = Markup('<span class="key"><svg viewBox="0 0 8 8" aria-hidden="true">{}</svg>{}</span>')
    square = Markup('<path d="M0 0h8v8H0z" fill="{}"/>')
    entries = [entry.format(square.format(colour), name) for name, colour in colours]
    return Markup("<p>{}</p>").format(Markup(" ").join(entries))


def _fraction(value: float, axis: Range) -> float:
    low, high = axis
    return (value - low) / (high - low) if high > low else 0.5
