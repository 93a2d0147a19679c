"""The pages of canaries: all of them, and each with its comparison so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segadmin.models.champion_changes import ChampionChange
from segadmin.monitoring.canary import CanaryComparison, Pair
from segadmin.storage.records import Canary, CanaryState
from segadmin_api.dashboard.intervals import IntervalChart, IntervalPoint, IntervalRow
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import served, text_of

#: Titles of metrics.
METRICS = {"auroc": "AUROC", "macro_f1": "macro F1", "accuracy": "accuracy"}


@dataclass(frozen=True)
class PairLine:
    """A number of both versions in the table of a comparison."""

    name: str
    pair: Pair
    is_share: bool


@dataclass(frozen=True)
class Refused:
    """A form that could not be done: shown again, with what was written in it."""

    action: str  #: ``promote`` or ``stop``
    problem: str
    reason: str = ""


def list_page(canaries: Sequence[Canary], reader: Reader, *, newest: bool = True, full: bool = False) -> str:
    """Return the page of canaries, newest first; as in :func:`segadmin_api.dashboard.models.list_page`."""
    return served(
        "canaries.html",
        text_of(reader, "canaries"),
        "/models",
        reader,
        canaries=canaries,
        newest=newest,
        older=canaries[-1].id if full else None,
    )


def page(canary: Canary, champion: ChampionChange | None, reader: Reader, refused: Refused | None = None) -> str:
    """Return the page of a canary.

    Args:
        canary: to show.
        champion: of its label set.
        reader: who reads it.
        refused: the form that could not be done.
    """
    comparison = CanaryComparison.model_validate(canary.comparison) if canary.comparison else None
    shares, metrics = ([], []) if comparison is None else (_shares(comparison, reader), _metrics(comparison, reader))
    return served(
        "canary.html",
        text_of(reader, "canary %(number)s", number=canary.id),
        "/models",
        reader,
        canary=canary,
        champion=champion,
        running=canary.state == CanaryState.RUNNING,
        refused=refused,
        comparison=comparison,
        tables=[table for table in (shares, metrics) if table],
        charts=[chart for chart in (_chart(shares, reader), _chart(metrics, reader)) if chart],
    )


def _shares(comparison: CanaryComparison, reader: Reader) -> list[PairLine]:
    shares: Mapping[str, Any] = comparison.segments
    lines = [
        PairLine(text_of(reader, "share of %(segment)s", segment=name), pair, is_share=True)
        for name, pair in shares.items()
    ]
    if comparison.confidence is not None:
        lines.append(PairLine(text_of(reader, "mean confidence"), comparison.confidence, is_share=True))
    return lines


def _metrics(comparison: CanaryComparison, reader: Reader) -> list[PairLine]:
    lines = [
        PairLine(text_of(reader, "estimated %(metric)s", metric=text_of(reader, METRICS[name])), pair, is_share=False)
        for name, pair in comparison.estimated.items()
    ]
    measured = comparison.measured.metrics if comparison.measured else {}
    return lines + [
        PairLine(text_of(reader, "measured %(metric)s", metric=text_of(reader, METRICS[name])), pair, is_share=False)
        for name, pair in measured.items()
    ]


def _chart(lines: Sequence[PairLine], reader: Reader) -> IntervalChart | None:
    """Return the challenger's numbers minus the champion's; ``None`` without any."""
    if not lines:
        return None
    title = text_of(reader, "Challenger minus champion, with 95 % intervals")
    rows = [
        IntervalRow(line.name, [IntervalPoint(line.pair.difference, line.pair.low, line.pair.high)]) for line in lines
    ]
    return IntervalChart(title, [title], rows, zero=0.0)
