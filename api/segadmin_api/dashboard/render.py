"""Renders the templates of the pages: what is put into one is escaped, and a name that is missing is an error."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, *, title: str, online: bool = False, refresh: bool = False, **content: object) -> str:
    """Return a page, one HTML file that needs no other.

    Args:
        template: its file name under ``templates/``.
        title: of the page, in lower case.
        online: the page is served, so that it may link to others; else it is kept as a file.
        refresh: a browser loads the page again after some seconds.
        content: what the template shows.
    """
    shown = {"title": title, "online": online, "refresh": refresh, **content}
    return environment().get_template(template).render(shown)


@cache
def environment() -> Environment:
    """Return the environment of all templates."""
    made = Environment(
        loader=PackageLoader("segadmin_api.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters["number"] = number
    return made


def number(value: float | None, spec: str = ",") -> str:
    """Return a number formatted by ``spec`` as in an f-string; a dash where there is none."""
    return "–" if value is None else format(value, spec)
