"""Renders the page templates: values are escaped, and an undefined name is an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from functools import cache, lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from babel.dates import format_datetime
from babel.numbers import format_decimal, format_percent
from jinja2 import Environment, PackageLoader, StrictUndefined

from segadmin_api.dashboard.assets import NO_ASSETS, Assets, asset, style
from segadmin_api.dashboard.reader import ENGLISH, LANGUAGES, Reader
from segadmin_api.dashboard.translations import translations

#: Values of each filter whose texts are kept: Babel takes most of the time of a page with many numbers.
_FORMATTED = 5_000


def render(
    template: str,
    *,
    title: str,
    online: bool = False,
    refresh: bool = False,
    reader: Reader = ENGLISH,
    here: str = "",
    assets: Assets = NO_ASSETS,
    **content: object,
) -> str:
    """Return a page.

    Args:
        template: the file name under ``templates/``.
        title: the title of the page, in lower case, in the language of the reader.
        online: the page is served and may link to others; otherwise it is saved as one self-contained file.
        refresh: browsers reload the page after some seconds.
        reader: whose language and time zone it has.
        here: the path of the entry of the navigation that it belongs to.
        assets: what it loads besides the usual.
        content: the values of the template.
    """
    frame = {"online": online, "refresh": refresh, "reader": reader, "here": here, "assets": assets}
    values = {"title": title, **frame, **content}
    return environment(reader.language, reader.zone).get_template(template).render(values)


def served(template: str, title: str, here: str, reader: Reader, **content: Any) -> str:
    """Return a page of the web application; arguments as in :func:`render`."""
    return render(template, title=title, online=True, reader=reader, here=here, **content)


@cache
def environment(language: str = "en", zone: str = "UTC") -> Environment:
    """Return the environment of all templates for a language and a time zone."""
    templates = Environment(
        loader=PackageLoader("segadmin_api.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        extensions=["jinja2.ext.i18n"],
    )
    templates.install_gettext_translations(translations(language), newstyle=True)  # type: ignore[attr-defined]
    templates.globals |= {"asset": asset, "style": style, "languages": LANGUAGES}
    templates.filters |= _filters(language, zone)
    return templates


def _filters(language: str, zone: str) -> dict[str, Callable[..., object]]:
    """Return the filters that write values in the form of a language and a time zone."""

    @lru_cache(_FORMATTED)
    def count(value: float | None) -> str:
        return "–" if value is None else format_decimal(value, locale=language)

    @lru_cache(_FORMATTED)
    def share(value: float | None, digits: int = 1) -> str:
        pattern = "#,##0" + ("." + "0" * digits if digits else "") + "%"
        return "–" if value is None else format_percent(value, pattern, locale=language)

    @lru_cache(_FORMATTED)
    def moment(value: datetime | None) -> str:
        if value is None:
            return "–"
        text = format_datetime(value.astimezone(ZoneInfo(zone)), "short", locale=language)
        return f"{text} UTC" if zone == "UTC" else text

    return {
        "text": translations(language).gettext,
        "number": number,
        "count": count,
        "share": share,
        "moment": moment,
        "iso": datetime.fromisoformat,
        "json": lambda value: json.dumps(value, ensure_ascii=False),
    }


def text_of(reader: Reader, text: str, **values: object) -> str:
    """Return an English text of a page, with ``values`` for its ``%(name)s``, in the language of the reader."""
    translated = translations(reader.language).gettext(text)
    return translated % values if values else translated


def number(value: float | None, spec: str = ",") -> str:
    """Return a number formatted by ``spec`` as in an f-string; a dash for ``None``."""
    return "–" if value is None else format(value, spec)
