"""A search as a page: what was best, what mattered, and every trial."""

from __future__ import annotations

from html import escape
from typing import Any

from segadmin_api.dashboard.html import bars, document, section, table

Json = dict[str, Any]
_WIDE, _HIGH = 600, 200


def page(job: int, found: Json) -> str:
    """Return the page of what :func:`segadmin.workflows.tune.summary` found."""
    return document(f"search of job {job}", sections(found))


def sections(found: Json) -> list[str]:
    """Return the parts of that page."""
    best = found["best"]
    told = "No trial came to its end yet."
    if best is not None:
        told = f"Trial {best['trial']} of {len(found['trials'])} was best: validation log-loss {best['value']:.4f}."
    return [
        f"<p>{escape(told)}</p>",
        section("What mattered (share of what makes trials differ, fANOVA)", _importance(found["importance"])),
        section("How the best became better", _history(found["trials"])),
        section("Trials", _trials(found["trials"])),
    ]


def _importance(shares: dict[str, float]) -> str:
    return bars(shares, ".1%") or "<p>Told when the search is over, if there were trials enough that differ.</p>"


def _history(trials: list[Json]) -> str:
    """Return each whole trial as a dot, and the best so far as a line."""
    whole = [one for one in trials if one["value"] is not None]
    if not whole:
        return "<p>No trial came to its end yet.</p>"
    values = [one["value"] for one in whole]
    low, high = min(values), max(values)

    def place(number: int, value: float) -> tuple[float, float]:
        return number * _WIDE / len(trials), 5 + (_HIGH - 10) * (high - value) / max(high - low, 1e-9)

    dots, line, best = [], [], high
    for one in whole:
        x, y = place(one["trial"], one["value"])
        best = min(best, one["value"])
        line.append(f"{x:.1f},{place(one['trial'], best)[1]:.1f}")
        title = f"trial {one['trial']}: {one['value']:.4f}"
        dots.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#8fb8de"><title>{title}</title></circle>')
    return (
        f'<svg viewBox="-60 -5 {_WIDE + 80} {_HIGH + 30}" style="max-width:42rem" role="img" aria-label="history">'
        f'<polyline points="{" ".join(line)}" fill="none" stroke="#4f9d69" stroke-width="2"/>{"".join(dots)}'
        f'<text x="-8" y="10" font-size="12" text-anchor="end">{high:.4f}</text>'
        f'<text x="-8" y="{_HIGH}" font-size="12" text-anchor="end">{low:.4f}</text>'
        f'<text x="{_WIDE}" y="{_HIGH + 20}" font-size="12" text-anchor="end">trial {len(trials)}</text></svg>'
    )


def _trials(trials: list[Json]) -> str:
    names = list(dict.fromkeys(name for one in trials for name in one["options"]))
    rows = [
        (
            str(one["trial"]),
            one["state"] + (f" ({one['why']})" if one["why"] else ""),
            "" if one["value"] is None else f"{one['value']:.4f}",
            *(shown(one["options"].get(name, "")) for name in names),
        )
        for one in trials
    ]
    return table([">trial", "state", ">log-loss", *(f">{name}" for name in names)], rows)


def shown(value: Any) -> str:
    """Return a value of an option in a few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
