"""The stages of a job as a graph: where each stands, and what it comes after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from segadmin_api.dashboard.reader import ENGLISH, Reader
from segadmin_api.dashboard.render import name_of
from segadmin_api.dashboard.svg import shortened, width_of
from segadmin_api.formatting import StageLine

#: Sizes in units of the picture: of a stage, and between two.
_HEIGHT, _ACROSS, _DOWN, _EDGE = 46, 22, 14, 6
#: Least and most width of a stage, the room at both sides of its name, and the size of a font as wide as its bold one.
_LEAST, _MOST, _PADDING, _FONT = 108, 230, 18, 14


@dataclass(frozen=True)
class Node:
    """A stage in the picture."""

    stage: StageLine
    name: str  #: as people read it
    label: str  #: as much of the name as there is room for
    x: float
    y: float
    width: float
    height: float = _HEIGHT


@dataclass(frozen=True)
class Graph:
    """The picture: stages from left to right, each to the right of those that it comes after."""

    nodes: tuple[Node, ...]
    edges: tuple[str, ...]  #: paths of SVG
    width: float
    height: float


def stage_graph(stages: Sequence[StageLine], reader: Reader = ENGLISH) -> Graph:
    """Return the picture of the stages of a job, which are in the order of the plan.

    All are as wide as the longest name needs, up to a limit.
    """
    names = {stage.name: name_of(reader, stage.name, "stage") for stage in stages}
    needed = max((width_of(name, _FONT) for name in names.values()), default=0) + _PADDING
    width = min(max(needed, _LEAST), _MOST)
    columns: dict[str, int] = {}
    for stage in stages:
        columns[stage.name] = 1 + max((columns.get(name, -1) for name in stage.after), default=-1)
    rows: dict[int, int] = {}
    nodes: dict[str, Node] = {}
    for stage in stages:
        column = columns[stage.name]
        row = rows[column] = rows.get(column, -1) + 1
        x, y = _EDGE + column * (width + _ACROSS), _EDGE + row * (_HEIGHT + _DOWN)
        name = names[stage.name]
        nodes[stage.name] = Node(stage, name, shortened(name, width - _PADDING, _FONT), x, y, width)
    edges = tuple(_edge(nodes[name], node) for node in nodes.values() for name in node.stage.after if name in nodes)
    right = max((node.x + node.width for node in nodes.values()), default=0.0)
    bottom = max((node.y + node.height for node in nodes.values()), default=0.0)
    return Graph(tuple(nodes.values()), edges, right + _EDGE, bottom + _EDGE)


def _edge(before: Node, after: Node) -> str:
    """Return the curve from the right side of a stage to the left side of another."""
    x1, y1, x2, y2 = before.x + before.width, before.y + before.height / 2, after.x, after.y + after.height / 2
    bend = (x2 - x1) / 2
    return f"M{x1:g} {y1:g}C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}"
