"""Freshness in words, for the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segadmin.counts import counted
from segadmin.workflows.objectives import ObjectiveState


def seconds(value: float | None) -> str:
    """Return seconds such as ``3.2 s`` or ``2 h 10 min``; a dash if they are not known."""
    from segadmin_api.formatting import duration

    if value is None:
        return "–"
    return f"{value:.1f} s" if value < 60 else duration(value)


def freshness_line(freshness: Mapping[str, Any]) -> str:
    """Return one sentence about the freshness that is stored with a snapshot; empty if it is not known."""
    if not freshness:
        return ""
    words = []
    if freshness["events"]:
        events = counted(freshness["events"], "new event")
        times = ", ".join(f"{name} {seconds(freshness[name])}" for name in ("p50", "p95", "max"))
        words.append(f"freshness of {events}: {times}")
    if freshness["late"]:
        words.append(f"{counted(freshness['late'], 'event')} came late and not measured")
    if freshness["ahead"]:
        words.append(f"{counted(freshness['ahead'], 'event')} dated after the publication: check the clocks")
    return "; ".join(words) or "no new events"


def objective_line(state: ObjectiveState) -> str:
    """Return one sentence about a freshness objective."""
    words = [f"{state.schedule}: freshness p95 {seconds(state.p95)}"]
    if state.waiting:
        words.append(f"an event waits for {seconds(state.waiting)}")
    words.append(f"objective {seconds(state.objective)}")
    line = ", ".join(words)
    if state.missed:
        line += f" – missed: {state.cause}"
    if state.ahead:
        line += f"; {counted(state.ahead, 'event')} dated after the publication: check the clocks"
    return line


def objective_facts(state: ObjectiveState) -> dict[str, Any]:
    """Return a freshness objective as JSON."""
    names = ("schedule", "label_set", "objective", "snapshot_id", "p50", "p95", "late", "ahead", "waiting", "missed")
    newest = state.newest_event.isoformat() if state.newest_event else None
    facts = {name: getattr(state, name) for name in names}
    return {**facts, "waiting": round(state.waiting, 3), "newest_event": newest, "cause": state.cause, "fix": state.fix}
