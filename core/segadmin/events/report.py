"""The profile as a page: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from html import escape

from segadmin.events.profile import Profile

_COLOURS = {"view": "#8fb8de", "cart": "#f2b266", "purchase": "#4f9d69", "rating": "#b48ead", "review": "#d0707a"}
STYLE = """
body{font:15px/1.5 system-ui,"PingFang SC","Noto Sans SC",sans-serif;max-width:960px;margin:2rem auto;padding:0 1rem;
color:#222}h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse}td,th{padding:.15rem
.8rem .15rem 0;text-align:left}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.bar{background:#4f9d69;
height:.8rem;border-radius:2px}.facts span{display:inline-block;margin-right:2rem}.facts b{font-size:1.4rem;
display:block}
.key{display:inline-block;width:.8rem;height:.8rem;margin:0 .3rem 0 .8rem;border-radius:2px}svg{width:100%;height:auto}
"""


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


def document(title: str, parts: Iterable[str]) -> str:
    """Return a page that needs no other file: its title, and ``parts`` one after the other."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>segadmin: {escape(title)}</title><style>{STYLE}</style>"
        f"<h1>{escape(title[:1].upper() + title[1:])}</h1>{''.join(parts)}</html>\n"
    )


def section(title: str, body: str) -> str:
    """Return a part of a page under its heading."""
    return f"<h2>{escape(title)}</h2>{body}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose columns but the first are numbers, and so on the right; all are words without a head."""
    kind = [" class=n" if n and head else "" for n in range(len(head) or max(map(len, rows), default=0))]
    titles = "".join(f"<th{of}>{escape(one)}</th>" for of, one in zip(kind, head, strict=False))
    body = ("".join(f"<td{of}>{escape(cell)}</td>" for of, cell in zip(kind, row, strict=True)) for row in rows)
    return f"<table><tr>{titles}</tr>{''.join(f'<tr>{row}</tr>' for row in body)}</table>"


def bars(counts: Mapping[str, float], form: str = ",") -> str:
    """Return a bar for each of ``counts``, with its number."""
    most = max(counts.values(), default=1)
    rows = [
        f'<tr><td>{escape(name)}</td><td class="n">{count:{form}}</td>'
        f'<td style="width:60%"><div class="bar" style="width:{100 * count / most:.1f}%"></div></td></tr>'
        for name, count in counts.items()
    ]
    return f'<table style="width:100%">{"".join(rows)}</table>' if rows else ""


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
