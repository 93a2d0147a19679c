"""Charts that browsers draw: the data of uPlot and ECharts, each beside a table of the same numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from segadmin.snapshots.diff import SnapshotDiff
from segadmin.snapshots.trend import Trend

#: Colours of segments, in their order: distinguishable with every common colour vision (Okabe and Ito 2008).
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a900", "#8a8f94")
_NOBODY = "#8a8f94"  #: of users who are in one of two snapshots only


def trend_data(trend: Trend, segments: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Return the data of a line for each segment; ``None`` if all snapshots are as of the same moment."""
    trend = trend.by_moment()
    if len(trend.as_of) < 2:
        return None
    names = list(trend.users) if segments is None else list(segments)
    return time_series(trend.as_of, {name: trend.users.get(name, []) for name in names})


def time_series(moments: Sequence[datetime], series: Mapping[str, Sequence[float | None]]) -> dict[str, Any]:
    """Return the data of one line for each of ``series``."""
    names = list(series)
    return {
        "names": names,
        "colours": [COLOURS[n % len(COLOURS)] for n in range(len(names))],
        "data": [[moment.timestamp() for moment in moments], *(list(series[name]) for name in names)],
    }


def sankey(compared: SnapshotDiff, names: Mapping[str | None, str]) -> dict[str, Any]:
    """Return an ECharts option: who went from which segment to which.

    Args:
        compared: the difference of two snapshots.
        names: what ``None`` is called before (``""``) and after: the users who are in one snapshot only.
    """
    colour = {segment: COLOURS[n % len(COLOURS)] for n, segment in enumerate(compared.segments)}
    matrix = {cell: users for cell, users in compared.matrix.items() if users}
    befores = [segment for segment in (*compared.segments, None) if any(cell[0] == segment for cell in matrix)]
    afters = [segment for segment in (*compared.segments, None) if any(cell[1] == segment for cell in matrix)]
    # A node needs a name of its own: that of a segment is on both sides.
    sides = {
        0: {before: f"0:{names[''] if before is None else before}" for before in befores},
        1: {after: f"1:{names[None] if after is None else after}" for after in afters},
    }
    nodes = [
        {"name": name, "depth": side, "itemStyle": {"color": colour.get(segment or "", _NOBODY)}}
        for side, ends in sides.items()
        for segment, name in ends.items()
    ]
    links = [
        {"source": sides[0][before], "target": sides[1][after], "value": users}
        for (before, after), users in matrix.items()
    ]
    return {"kind": "sankey", "nodes": nodes, "links": links}
