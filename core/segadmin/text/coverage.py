"""Summarises in one line how many events the texts cover and how many phrases were dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from segadmin.counts import counted
from segadmin.storage.records import Step


def coverage(steps: Iterable[Step]) -> str:
    """Return the summed reports of a job's textualize steps as one line; empty if none is done."""
    total: Counter[str] = Counter()
    for step in steps:
        if step.stage == "textualize":
            total.update(step.result.get("report", {}))
    if not total["users"]:
        return ""
    parts = [
        f"{counted(total['users'], 'text')}, {total['users_without_events']:,} of them of users without events",
        f"{total['phrases'] / total['users']:.1f} phrases each of {total['events'] / total['users']:.1f} events",
        f"{1 - total['distinct_phrases'] / total['phrases']:.0%} of the phrases are repeated",
    ]
    if total["users_capped"]:
        phrases = total["phrases"] + total["phrases_dropped"]
        parts.append(f"{total['users_capped']:,} had too many: {total['phrases_dropped'] / phrases:.1%} left out")
    if total["augmented"]:
        parts.append(f"{counted(total['augmented'], 'copy', 'copies')} to train on")
    return " · ".join(parts)
