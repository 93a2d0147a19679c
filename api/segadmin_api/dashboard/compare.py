"""The page that compares two versions: overall on the rows that both were tested on, and for each segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from segadmin.evaluation.comparison import Comparison
from segadmin.models.card import Auroc, ModelCard
from segadmin.storage.records import Evaluation
from segadmin_api.dashboard.intervals import IntervalChart, IntervalPoint, IntervalRow
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import served, text_of


@dataclass(frozen=True)
class SegmentPair:
    """How well both versions separate the users of one segment; ``None``: it is not known of a version."""

    segment: str
    aurocs: tuple[Auroc | None, Auroc | None]


@dataclass(frozen=True)
class VersionPair:
    """Two versions, and how they did."""

    cards: tuple[ModelCard, ModelCard]
    tested: tuple[Evaluation | None, Evaluation | None]
    comparison: Comparison | None
    problem: str = ""  #: why there is no comparison

    @property
    def names(self) -> tuple[str, str]:
        """The numbers of the versions."""
        return str(self.cards[0].version), str(self.cards[1].version)

    @property
    def better(self) -> int | None:
        """Which of the two is shown to be better; ``None``: the interval does not show it."""
        lead = self.comparison.lead if self.comparison else None
        if lead is None or lead.low is None or lead.high is None or lead.low <= 0 <= lead.high:
            return None
        return 0 if lead.value > 0 else 1

    def segments(self) -> Sequence[SegmentPair]:
        """Return the segments of both, in the order of the first."""
        qualities = [
            {one.segment: one.auroc for one in card.test.by_segment} if card.test else {} for card in self.cards
        ]
        names = dict.fromkeys(name for quality in qualities for name in quality)
        return [SegmentPair(name, (qualities[0].get(name), qualities[1].get(name))) for name in names]


def page(pair: VersionPair, reader: Reader) -> str:
    """Return the page of two versions."""
    one, other = pair.names
    title = text_of(reader, "models %(one)s and %(other)s compared", one=one, other=other)
    return served("compare.html", title, "/models", reader, pair=pair, charts=list(_charts(pair, reader)))


def _charts(pair: VersionPair, reader: Reader) -> list[IntervalChart]:
    names = [text_of(reader, "model %(number)s", number=name) for name in pair.names]
    charts = []
    if pair.comparison is not None:
        lead = pair.comparison.lead
        one, other = pair.names
        title = text_of(reader, "AUROC of version %(one)s minus that of version %(other)s", one=one, other=other)
        row = IntervalRow("", [IntervalPoint(lead.value, lead.low, lead.high)])
        charts.append(IntervalChart(title, [title], [row], zero=0.0, digits=4))
    rows = [IntervalRow(each.segment, [_point(auroc) for auroc in each.aurocs]) for each in pair.segments()]
    if rows:
        charts.append(IntervalChart(text_of(reader, "AUROC by segment"), names, rows))
    return charts


def _point(auroc: Auroc | None) -> IntervalPoint | None:
    if auroc is None or auroc.interval is None:
        return None
    return IntervalPoint(auroc.interval.value, auroc.interval.low, auroc.interval.high)
