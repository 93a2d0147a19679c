"""The profile as a page: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from html import escape

from segadmin.events.profile import Profile
from segadmin_api.dashboard.html import bars, document, section

_COLOURS = {"view": "#8fb8de", "cart": "#f2b266", "purchase": "#4f9d69", "rating": "#b48ead", "review": "#d0707a"}


def page(profile: Profile) -> str:
    """Return the profile as HTML."""
    facts = {
        "events": f"{profile.events:,}",
        "users": f"{profile.users:,}",
        "items": f"{profile.items:,}",
        "from": f"{profile.first}",
        "to": f"{profile.last}",
    }
    shown = "".join(f"<span><b>{value}</b>{name}</span>" for name, value in facts.items())
    parts = [
        f'<p class="facts">{shown}</p>',
        section("Events by day", _days(profile)),
        section("Events by kind", bars(profile.by_kind)),
        section("Users by number of events", bars(profile.by_history)),
        section("Top categories", bars(profile.top_categories) or "<p>No item has a category.</p>"),
        section("Fields that are filled", _filled(profile)),
        section("Items that are known, as a share of events", _shares(profile.items_known)),
        section("In quarantine", bars(profile.quarantine) or "<p>Nothing.</p>"),
        section("Late: older than the newest event there was, by up to", bars(profile.late) or "<p>None.</p>"),
    ]
    return document("data profile", parts)


def _shares(shares: Mapping[str, float]) -> str:
    rows = [f'<tr><td>{escape(name)}</td><td class="n">{share:.1%}</td></tr>' for name, share in shares.items()]
    return f"<table>{''.join(rows)}</table>"


def _filled(profile: Profile) -> str:
    kinds = list(profile.by_kind)
    head = "".join(f'<th class="n">{escape(kind)}</th>' for kind in kinds)
    rows = [
        f"<tr><td>{escape(name)}</td>"
        + "".join(f'<td class="n">{by.get(kind, 0):.0%}</td>' for kind in kinds)
        + "</tr>"
        for name, by in profile.filled.items()
    ]
    return f"<table><tr><th></th>{head}</tr>{''.join(rows)}</table>"


def _days(profile: Profile) -> str:
    """Return stacked bars of the days, or of weeks where there are very many."""
    spans = _spans(profile)
    most = max((sum(span.values()) for _, span in spans), default=1)
    width, height = 900 / max(1, len(spans)), 200
    bars = []
    for place, (first, counts) in enumerate(spans):
        top = float(height)
        for kind, colour in _COLOURS.items():
            tall = height * counts.get(kind, 0) / most
            top -= tall
            bars.append(
                f'<rect x="{place * width:.2f}" y="{top:.2f}" width="{width * 0.9:.2f}" height="{tall:.2f}" '
                f'fill="{colour}"><title>{first}: {kind} {counts.get(kind, 0):,}</title></rect>'
            )
    key = "".join(f'<span class="key" style="background:{colour}"></span>{kind}' for kind, colour in _COLOURS.items())
    return (
        f'<svg viewBox="0 0 900 220" role="img" aria-label="events by day">{"".join(bars)}'
        f'<text x="0" y="216" font-size="12">{profile.first}</text>'
        f'<text x="900" y="216" font-size="12" text-anchor="end">{profile.last}</text></svg><p>{key}</p>'
    )


def _spans(profile: Profile) -> Sequence[tuple[date, Mapping[str, int]]]:
    days = (profile.last - profile.first).days + 1
    length = 1 if days <= 200 else 7 if days <= 1_400 else 30  # what fits the width
    spans: list[tuple[date, dict[str, int]]] = [(profile.first + timedelta(days=n), {}) for n in range(0, days, length)]
    for day, counts in profile.by_day.items():
        span = spans[(day - profile.first).days // length][1]
        for kind, count in counts.items():
            span[kind] = span.get(kind, 0) + count
    return spans
