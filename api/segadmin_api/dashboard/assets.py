"""The files that pages load: scripts and styles, each under a path that changes with its content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markupsafe import Markup

FOLDER = Path(__file__).parent / "static"
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Assets:
    """What a page loads besides the style and the script of all pages."""

    styles: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()


NO_ASSETS = Assets()
#: For charts over time, and for charts of other kinds.
UPLOT = Assets(("vendor/uplot.min.css",), ("vendor/uplot.min.js", "charts.js"))
ECHARTS = Assets((), ("vendor/echarts.min.js", "charts.js"))


@cache
def asset(name: str) -> str:
    """Return the path under which a file of ``static/`` is served; browsers keep it until its content changes."""
    return f"/static/{_digest(name)}/{name}"


@cache
def _digest(name: str) -> str:
    return hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()[:12]


def style() -> Markup:
    """Return the style of all pages, for a page that is one file."""
    return Markup((FOLDER / "app.css").read_text(encoding="utf-8"))  # noqa: S704  (our own file)


def file_of(name: str) -> Path | None:
    """Return the file of ``static/`` of this name, ``None`` if there is none that pages may load."""
    try:
        path = (FOLDER / name).resolve()
        is_served = path.is_relative_to(FOLDER.resolve()) and path.is_file() and path.suffix in TYPES
    except (ValueError, OSError):  # a NUL character, or a name that is too long for any file
        return None
    return path if is_served else None
