"""The learning curves of a step as charts."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from markupsafe import Markup

from segadmin_api.dashboard.charts import Series, line_chart
from segadmin_api.dashboard.reader import ENGLISH, Reader
from segadmin_api.dashboard.render import name_of, text_of

#: The charts of a fit: title, metrics in one chart with their labels, and whether the lowest or highest is best.
_CHARTS: tuple[tuple[str, dict[str, str], Literal["min", "max"]], ...] = (
    ("loss", {"validation_log_loss": "validation log-loss", "training_loss": "training loss"}, "min"),
    ("AUROC", {"validation_auroc": "validation AUROC"}, "max"),
)
#: Their texts, to be translated.
TEXTS = frozenset(text for title, labels, _ in _CHARTS for text in (title, *labels.values())) | {"step"}


class HasCurve(Protocol):
    """A step, as a record or as the API describes it."""

    stage: str
    curve: Any


def learning_curves(step: HasCurve, reader: Reader = ENGLISH) -> list[Markup]:
    """Return the learning curves of a step as charts, grouped by model."""
    models: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for number, metrics in step.curve:
        for name, value in metrics.items():
            model, _, metric = name.rpartition("/")
            models.setdefault(model, {}).setdefault(metric, []).append((number, value))
    charts = []
    for model, curves in models.items():
        for title, metrics, best in _CHARTS:
            known = [name for name in metrics if name in curves]
            series = [Series(text_of(reader, metrics[name]), curves[name]) for name in known]
            if series:
                name = " · ".join(filter(None, (name_of(reader, step.stage, "stage"), model, text_of(reader, title))))
                marked = best if known[0].startswith("validation") else ""
                charts.append(line_chart(name, series, best=marked, unit=text_of(reader, "step"), reader=reader))
    return charts
