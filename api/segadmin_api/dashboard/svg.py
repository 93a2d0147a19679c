"""The parts of pictures: SVG that is readable in a page, dark or light, and as a file by itself."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Literal

from markupsafe import Markup

Anchor = Literal["start", "middle", "end"]
Tone = Literal["ink", "soft"]
#: Colours of text and lines where no style sheet gives others; those of pages do, for dark ones.
TONES: dict[str, str] = {"ink": "#1d2329", "soft": "#5a6570"}
LINE = "#d8dde2"
_FONT = "system-ui, 'PingFang SC', 'Microsoft YaHei', 'Noto Sans SC', 'Noto Sans CJK SC', sans-serif"
#: Width of a character as a fraction of the size of the font: of Chinese, of wide letters, of capitals, and of others.
_CHINESE, _WIDE, _CAPITAL, _USUAL = 1.0, 0.95, 0.7, 0.58


def picture(title: str, description: str, size: tuple[float, float], marks: Iterable[Markup]) -> Markup:
    """Return a picture of ``size`` units with a title and a description for screen readers."""
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0:g} {1:g}" width="{0:g}" height="{1:g}" role="img" '
        'font-family="{2}"><title>{3}</title><desc>{4}</desc>{5}</svg>'
    ).format(*size, _FONT, title, description, Markup("").join(marks))


def as_file(drawn: Markup) -> str:
    """Return a :func:`picture` as a file: on white, whatever is behind it."""
    head, _, rest = drawn.partition("</desc>")
    white = '<rect width="100%" height="100%" fill="#ffffff"/>'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}</desc>{white}{rest}\n'


def label(
    x: float,
    y: float,
    text: str,
    *,
    anchor: Anchor = "start",
    tone: Tone = "ink",
    size: float = 13,
    bold: bool = False,
    room: float = math.inf,
    suffix: str = "",
) -> Markup:
    """Return a line of text whose base line begins, or is centred or ends, at a point.

    Args:
        x: of the point.
        y: of the base line.
        text: what is written.
        anchor: what of the text is at the point.
        tone: of the text.
        size: of the font.
        bold: whether it is.
        room: a wider text is shortened; browsers show it whole when the mouse is over it.
        suffix: is written after the text, and never shortened.
    """
    short, title = shortened(text, room - width_of(suffix, size), size), text if room < math.inf else ""
    weight = Markup(' font-weight="600"') if bold else Markup("")
    return Markup(
        '<text x="{:.1f}" y="{:.1f}" class="{}" fill="{}" font-size="{:g}" text-anchor="{}"{}>{}{}{}</text>'
    ).format(x, y, tone, TONES[tone], size, anchor, weight, tooltip(title), short, suffix)


def bar(x: float, y: float, size: tuple[float, float], colour: str, title: str = "") -> Markup:
    """Return a rectangle of a width and a height, whose upper left corner is at a point."""
    width, height = size
    return Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="2" fill="{}">{}</rect>').format(
        x, y, max(width, 0), height, colour, tooltip(title)
    )


def dot(x: float, y: float, colour: str, title: str = "") -> Markup:
    """Return a point of a line."""
    return Markup('<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="{}">{}</circle>').format(x, y, colour, tooltip(title))


def rule(x1: float, y1: float, x2: float, y2: float, *, dashed: bool = False) -> Markup:
    """Return a line of a grid or an axis, or a ``dashed`` one that marks a value."""
    drawn = Markup('<path d="M{:.1f} {:.1f}L{:.1f} {:.1f}" class="{}" fill="none" stroke="{}"{}/>')
    form = ("mark", TONES["ink"], Markup(' stroke-dasharray="4"')) if dashed else ("line", LINE, "")
    return drawn.format(x1, y1, x2, y2, *form)


def polyline(points: Sequence[tuple[float, float]], colour: str) -> Markup:
    """Return a line through points."""
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="2.5"/>').format(places, colour)


def ribbon(start: tuple[float, float], end: tuple[float, float], height: float, colour: str, title: str) -> Markup:
    """Return a band of ``height`` from one upper left corner to an upper right one."""
    (x1, y1), (x2, y2) = start, end
    middle = (x1 + x2) / 2
    outline = (
        f"M{x1:.1f} {y1:.1f}C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {x2:.1f} {y2:.1f}V{y2 + height:.1f}"
        f"C{middle:.1f} {y2 + height:.1f} {middle:.1f} {y1 + height:.1f} {x1:.1f} {y1 + height:.1f}Z"
    )
    return Markup('<path d="{}" fill="{}" opacity="0.4">{}</path>').format(outline, colour, tooltip(title))


def tooltip(text: str) -> Markup:
    """Return the title of a mark, which browsers show over it; nothing for no text."""
    return Markup("<title>{}</title>").format(text) if text else Markup("")


def width_of(text: str, size: float = 13) -> float:
    """Return the width of a text in units, about."""
    return size * sum(map(_width_of, text))


def _width_of(character: str) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return _CHINESE
    if character in "mwMW@%":
        return _WIDE
    return _CAPITAL if character.isupper() or character == "&" else _USUAL


def shortened(text: str, width: float, size: float = 13) -> str:
    """Return a text that fits into ``width`` units, with an ellipsis where something was left out."""
    if width_of(text, size) <= width:
        return text
    while text and width_of(f"{text}…", size) > width:
        text = text[:-1]
    return f"{text}…"
