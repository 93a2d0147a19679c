"""What pages are made of: each is one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

STYLE = """
body{font:15px/1.5 system-ui,"PingFang SC","Noto Sans SC",sans-serif;max-width:960px;margin:2rem auto;padding:0 1rem;
color:#222}h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse}
td,th{padding:.15rem .8rem .15rem 0;text-align:left}
td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.bar{background:#4f9d69;height:.8rem;border-radius:2px}.facts span{display:inline-block;margin-right:2rem}
.facts b{font-size:1.4rem;display:block}
.key{display:inline-block;width:.8rem;height:.8rem;margin:0 .3rem 0 .8rem;border-radius:2px}svg{width:100%;height:auto}
nav a{margin-right:1.2rem}a{color:#2a6f97}
.charts{display:flex;flex-wrap:wrap;gap:1rem 2rem}figure{margin:0;width:26rem;max-width:100%}figcaption{font-weight:600}
small{display:block;font-weight:400;color:#666}.bad{color:#b03030}.whole{width:8rem;background:#e4e8ec;border-radius:2px}
"""


class Html(str):
    """Text that is HTML already, and is not escaped again."""

    __slots__ = ()


def link(to: str, text: str) -> Html:
    """Return a link."""
    return Html(f'<a href="{escape(to)}">{escape(text)}</a>')


def document(title: str, parts: Iterable[str], *, head: str = "", above: str = "") -> str:
    """Return a page that needs no other file: its title, and ``parts`` one after the other.

    ``head`` is more HTML for its head, ``above`` is what stands over the title, links to other pages say.
    """
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"{head}<title>segadmin: {escape(title)}</title><style>{STYLE}</style>"
        f"{above}<h1>{escape(title[:1].upper() + title[1:])}</h1>{''.join(parts)}</html>\n"
    )


def section(title: str, body: str) -> str:
    """Return a part of a page under its heading."""
    return f"<h2>{escape(title)}</h2>{body}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; columns whose title begins with ``>`` are numbers, and so on the right. The head may be empty."""
    width = len(head) or max(map(len, rows), default=0)
    kind = [" class=n" if head and head[n].startswith(">") else "" for n in range(width)]
    titles = "".join(f"<th{of}>{escape(one.lstrip('>'))}</th>" for of, one in zip(kind, head, strict=False))
    body = ("".join(f"<td{of}>{_cell(cell)}</td>" for of, cell in zip(kind, row, strict=True)) for row in rows)
    return f"<table><tr>{titles}</tr>{''.join(f'<tr>{row}</tr>' for row in body)}</table>"


def _cell(text: str) -> str:
    return text if isinstance(text, Html) else escape(text)


def bars(counts: Mapping[str, float], form: str = ",") -> str:
    """Return a bar for each of ``counts``, with its number."""
    most = max(counts.values(), default=1)
    rows = [
        f'<tr><td>{escape(name)}</td><td class="n">{count:{form}}</td>'
        f'<td style="width:60%">{_bar(count / most)}</td></tr>'
        for name, count in counts.items()
    ]
    return f'<table style="width:100%">{"".join(rows)}</table>' if rows else ""


def bar(share: float) -> Html:
    """Return a bar of a fixed width that is filled by ``share``, 0 to 1."""
    return Html(f'<div class="whole">{_bar(share)}</div>')


def _bar(share: float) -> str:
    return f'<div class="bar" style="width:{100 * share:.1f}%"></div>'


_COLOURS = ("#4f9d69", "#8fb8de", "#f2b266", "#b48ead")
_WIDE, _HIGH = 360, 150
_LEAST_SPAN = 0.01  #: of what a chart shows, as a share of it


def lines(title: str, series: Mapping[str, Sequence[tuple[float, float]]], best: str = "") -> str:
    """Return a chart of ``(x, y)`` points, a line for each of ``series``, the first one in front.

    Of the first series the lowest point is marked where ``best`` is ``"min"``, the highest where it is ``"max"``.
    """
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    left, right, low, high = min(xs), max(xs), min(ys), max(ys)
    if high - low < _LEAST_SPAN * abs(high):  # what hardly moves shall not look as if it fell
        low, high = (high + low - _LEAST_SPAN * abs(high)) / 2, (high + low + _LEAST_SPAN * abs(high)) / 2

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - left) / (right - left) if right > left else 0.5
        up = (y - low) / (high - low) if high > low else 0.5
        return 5 + (_WIDE - 10) * across, 5 + (_HIGH - 10) * (1 - up)

    drawn: list[str] = []
    key: list[str] = []
    for colour, (name, points) in reversed(list(zip(_COLOURS, series.items(), strict=False))):
        path = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in points)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y in points:
            at = "cx={:.1f} cy={:.1f}".format(*place(x, y))
            drawn.append(f'<circle {at} r="2.5" fill="{colour}"><title>{escape(name)} {x:g}: {y:.4f}</title></circle>')
        key.insert(0, f'<span class="key" style="background:{colour}"></span>{escape(name)}')
    said = ""
    if best:
        first = next(iter(series.values()))
        x, y = (min if best == "min" else max)(first, key=lambda point: point[1])
        drawn.append('<circle cx={:.1f} cy={:.1f} r="6" fill="none" stroke="#444"/>'.format(*place(x, y)))
        said = f" <small>best {y:.4f} at {x:g}, last {first[-1][1]:.4f}</small>"
    text = '<text font-size="11" fill="#666"'
    return (
        f"<figure><figcaption>{escape(title)}{said}</figcaption>"
        f'<svg viewBox="-52 -2 {_WIDE + 56} {_HIGH + 20}" role="img" aria-label="{escape(title)}">'
        f'<path d="M0 0V{_HIGH}H{_WIDE}" fill="none" stroke="#ccc"/>{"".join(drawn)}'
        f'{text} x="-5" y="10" text-anchor="end">{high:.4f}</text>'
        f'{text} x="-5" y="{_HIGH}" text-anchor="end">{low:.4f}</text>'
        f'{text} x="0" y="{_HIGH + 15}">{left:g}</text>'
        f'{text} x="{_WIDE}" y="{_HIGH + 15}" text-anchor="end">step {right:g}</text></svg>{"".join(key)}</figure>'
    )
