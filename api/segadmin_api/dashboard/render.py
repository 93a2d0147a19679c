"""Renders the page templates: values are escaped, and an undefined name is an error."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, *, title: str, online: bool = False, refresh: bool = False, **content: object) -> str:
    """Return a page as a self-contained HTML file.

    Args:
        template: the file name under ``templates/``.
        title: the title of the page, in lower case.
        online: the page is served and may link to others; otherwise it is saved as a file.
        refresh: browsers reload the page after some seconds.
        content: the values of the template.
    """
    values = {"title": title, "online": online, "refresh": refresh, **content}
    return environment().get_template(template).render(values)


@cache
def environment() -> Environment:
    """Return the environment of all templates."""
    templates = Environment(
        loader=PackageLoader("segadmin_api.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    templates.filters["number"] = number
    return templates


def number(value: float | None, spec: str = ",") -> str:
    """Return a number formatted by ``spec`` as in an f-string; a dash for ``None``."""
    return "–" if value is None else format(value, spec)
