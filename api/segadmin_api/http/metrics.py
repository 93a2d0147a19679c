"""``GET /metrics``: freshness objectives in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fastapi import APIRouter, Depends, Request
from fastapi.responses import PlainTextResponse

from segadmin.storage.records import Scope
from segadmin.workflows.objectives import ObjectiveState, objectives
from segadmin_api.http.security import RequiresPages

router = APIRouter(include_in_schema=False, dependencies=[Depends(RequiresPages(Scope.PAGES))])
_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Metric → its help text.
_HELP = {
    "freshness_seconds": "Time from an event to the first snapshot that it is in, of the last snapshot.",
    "freshness_waiting_seconds": "Time that the oldest event waits that is in no snapshot; 0 if none waits.",
    "freshness_objective_seconds": "Freshness objective of the schedule.",
    "freshness_missed": "1 if the freshness objective is missed.",
    "freshness_late_events": "Events of the last snapshot that were old when they came; not measured.",
    "freshness_ahead_events": "Events of the last snapshot that are dated after its publication; not measured.",
    "newest_event_timestamp_seconds": "Time of the newest event in the last snapshot.",
}
_Sample = tuple[str, dict[str, str], float]


@router.get("/metrics")
def metrics(request: Request) -> PlainTextResponse:
    """Return the metrics of every schedule with a freshness objective."""
    states = objectives(request.app.state.settings)
    return PlainTextResponse(exposition(sample for state in states for sample in _samples(state)), media_type=_TYPE)


def exposition(samples: Iterable[_Sample]) -> str:
    """Return samples (metric, labels, value) in the text format of Prometheus, those of a metric together."""
    by_metric: dict[str, list[str]] = {}
    for name, labels, value in samples:
        pairs = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        by_metric.setdefault(name, []).append(f"segadmin_{name}{{{pairs}}} {value}")
    lines: list[str] = []
    for name, rows in by_metric.items():
        lines += [f"# HELP segadmin_{name} {_HELP[name]}", f"# TYPE segadmin_{name} gauge", *rows]
    return "".join(f"{line}\n" for line in lines)


def _samples(state: ObjectiveState) -> Iterator[_Sample]:
    labels = {"schedule": state.schedule, "label_set": state.label_set}
    for quantile, value in (("0.5", state.p50), ("0.95", state.p95)):
        if value is not None:
            yield "freshness_seconds", {**labels, "quantile": quantile}, value
    yield "freshness_waiting_seconds", labels, round(state.waiting, 3)
    yield "freshness_objective_seconds", labels, state.objective
    yield "freshness_missed", labels, int(state.missed)
    if state.snapshot_id is not None:
        yield "freshness_late_events", labels, state.late
        yield "freshness_ahead_events", labels, state.ahead
    if state.newest_event is not None:
        yield "newest_event_timestamp_seconds", labels, state.newest_event.timestamp()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
