"""The stages of a job as a graph: where each stands, and what it comes after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from segadmin_api.formatting import StageLine

#: Sizes in units of the picture: of a stage, and between two.
_WIDTH, _HEIGHT, _ACROSS, _DOWN, _EDGE = 108, 46, 22, 14, 6


@dataclass(frozen=True)
class Node:
    """A stage in the picture."""

    stage: StageLine
    x: float
    y: float
    width: float = _WIDTH
    height: float = _HEIGHT


@dataclass(frozen=True)
class Graph:
    """The picture: stages from left to right, each to the right of those that it comes after."""

    nodes: tuple[Node, ...]
    edges: tuple[str, ...]  #: paths of SVG
    width: float
    height: float


def stage_graph(stages: Sequence[StageLine]) -> Graph:
    """Return the picture of the stages of a job, which are in the order of the plan."""
    columns: dict[str, int] = {}
    for stage in stages:
        columns[stage.name] = 1 + max((columns.get(name, -1) for name in stage.after), default=-1)
    rows: dict[int, int] = {}
    nodes: dict[str, Node] = {}
    for stage in stages:
        column = columns[stage.name]
        row = rows[column] = rows.get(column, -1) + 1
        x, y = _EDGE + column * (_WIDTH + _ACROSS), _EDGE + row * (_HEIGHT + _DOWN)
        nodes[stage.name] = Node(stage, x, y)
    edges = tuple(_edge(nodes[name], node) for node in nodes.values() for name in node.stage.after if name in nodes)
    right = max((node.x + node.width for node in nodes.values()), default=0.0)
    bottom = max((node.y + node.height for node in nodes.values()), default=0.0)
    return Graph(tuple(nodes.values()), edges, right + _EDGE, bottom + _EDGE)


def _edge(before: Node, after: Node) -> str:
    """Return the curve from the right side of a stage to the left side of another."""
    x1, y1, x2, y2 = before.x + before.width, before.y + before.height / 2, after.x, after.y + after.height / 2
    bend = (x2 - x1) / 2
    return f"M{x1:g} {y1:g}C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}"
