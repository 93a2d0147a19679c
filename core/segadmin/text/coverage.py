"""How much of what users did is in their texts, and how much was left out, in a line for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from segadmin.counts import counted
from segadmin.storage.records import Step


def coverage(steps: Iterable[Step]) -> str:
    """Return what a job's textualize steps report, added up; nothing where none is done."""
    total: Counter[str] = Counter()
    for step in steps:
        if step.stage == "textualize":
            total.update(step.result.get("report", {}))
    if not total["users"]:
        return ""
    said = [
        f"{counted(total['users'], 'text')}, {total['users_without_events']:,} of them of users without events",
        f"{total['phrases'] / total['users']:.1f} phrases each of {total['events'] / total['users']:.1f} events",
        f"{1 - total['distinct_phrases'] / total['phrases']:.0%} of the phrases are said more than once",
    ]
    if total["users_capped"]:
        made = total["phrases"] + total["phrases_dropped"]
        said.append(f"{total['users_capped']:,} had too many: {total['phrases_dropped'] / made:.1%} left out")
    if total["augmented"]:
        said.append(f"{counted(total['augmented'], 'copy', 'copies')} to train on")
    return " · ".join(said)
