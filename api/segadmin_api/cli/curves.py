"""Learning curves as one line of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 24
#: The metric that is drawn; it may have a prefix: ``text/validation_log_loss``.
_METRIC = "validation_log_loss"


def drawn(curve: Sequence[Sequence[Any]]) -> list[str]:
    """Return the validation log-loss of each fit in ``curve``, such as ``▇▆▄▂▁ .7012 → .6893``."""
    series: dict[str, list[float]] = {}
    for _, metrics in curve:
        for name, value in metrics.items():
            if name.endswith(_METRIC):
                series.setdefault(name.removesuffix(_METRIC).rstrip("/"), []).append(value)
    return [f"{name} {_line(values)}".strip() for name, values in series.items()]


def _line(values: Sequence[float]) -> str:
    if len(values) == 1:
        return _short(values[0])
    return f"{sparkline(values)} {_short(values[0])} → {_short(values[-1])}"


def sparkline(values: Sequence[float], width: int = _WIDTH) -> str:
    """Return ``values`` as at most ``width`` block characters, low to high; the last one shows the newest value."""
    if len(values) > width:
        values = [values[round(n * (len(values) - 1) / (width - 1))] for n in range(width)]
    low, span = min(values), max(values) - min(values)
    return "".join(_BLOCKS[round((value - low) / span * (len(_BLOCKS) - 1)) if span else 0] for value in values)


def _short(value: float) -> str:
    return f"{value:.4f}".removeprefix("0") if value >= 0 else f"{value:.4f}"
