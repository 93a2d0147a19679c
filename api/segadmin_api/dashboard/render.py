"""Renders the page templates: values are escaped, and an undefined name is an error."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from functools import cache, lru_cache, partial
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined

from segadmin_api.dashboard.assets import NO_ASSETS, Assets, asset, style
from segadmin_api.dashboard.formats import Formats
from segadmin_api.dashboard.messages import message_text
from segadmin_api.dashboard.names import name_text
from segadmin_api.dashboard.reader import ENGLISH, LANGUAGES, Reader
from segadmin_api.dashboard.translations import translations
from segadmin_api.request_forms import title_of
from segadmin_api.sentences import Sentence, counted_sentence

#: The end of a table or a figure. What pages quote is escaped, so only templates write it.
_ENDS = re.compile(r"</(?P<of>table|figure)>")

#: Code in a text, as docstrings have it.
_CODE = re.compile(r"(`+)(.+?)\1")

#: Values of each filter whose texts are kept: Babel takes most of the time of a page with many numbers.
_FORMATTED = 5_000


def render(
    template: str,
    *,
    title: str,
    online: bool = False,
    refresh: bool = False,
    events: str = "",
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
        refresh: browsers load the page again after some seconds, or when something happens.
        events: the path of server-sent events; at each the page has changed. Empty: it is looked at now and then.
        reader: whose language and time zone it has.
        here: the path of the entry of the navigation that it belongs to.
        assets: what it loads besides the usual.
        content: the values of the template.
    """
    frame = {"online": online, "refresh": refresh, "events": events, "reader": reader, "here": here, "assets": assets}
    values = {"title": title, **frame, **content}
    templates = environment(reader.formats)
    html = templates.get_template(template).render(values)
    return _with_downloads(html, templates, reader) if online and not reader.plain else html


def served(template: str, title: str, here: str, reader: Reader, **content: Any) -> str:
    """Return a page of the web application; arguments as in :func:`render`."""
    return render(template, title=title, online=True, reader=reader, here=here, **content)


@cache
def environment(formats: Formats = ENGLISH.formats) -> Environment:
    """Return the environment of all templates, which write values in some form."""
    templates = Environment(
        loader=PackageLoader("segadmin_api.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        extensions=["jinja2.ext.i18n"],
    )
    templates.install_gettext_translations(translations(formats.language), newstyle=True)  # type: ignore[attr-defined]
    templates.globals |= {"asset": asset, "style": style, "languages": LANGUAGES}
    templates.filters |= _filters(formats)
    return templates


def _with_downloads(html: str, templates: Environment, reader: Reader) -> str:
    """Return a page with a link to a file under each table, and buttons that save the picture in each figure."""
    macros: Any = templates.get_template("macros.html").module
    path, _, query = reader.path.partition("?")
    kept = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name != "csv"]
    numbers = count(1)

    def offer(end: re.Match[str]) -> str:
        if end["of"] == "figure":
            return f"{macros.save_buttons()}{end[0]}"
        address = f"{path}?{urlencode([*kept, ('csv', next(numbers))])}"
        return f"{end[0]}{macros.csv_link(address)}"

    return _ENDS.sub(offer, html)


def _filters(formats: Formats) -> dict[str, Callable[..., object]]:
    """Return the filters that translate, and write values in the form of a language and a time zone."""
    kept = lru_cache(_FORMATTED)
    return {
        "text": translations(formats.language).gettext,
        "option_title": title_of,
        "name": lambda identifier, context: name_text(formats.language, identifier, context),
        "code_parts": _code_parts,
        "message": lambda message: message_text(formats.language, message),
        "number": formats.number,
        "count": kept(formats.count),
        "counted": partial(_counted, formats),
        "share": kept(formats.share),
        "decimal": kept(formats.decimal),
        "change": formats.change,
        "moment": kept(formats.moment),
        "day": formats.day,
        "iso": datetime.fromisoformat,
        "json": lambda value: json.dumps(value, ensure_ascii=False),
    }


def _code_parts(text: str) -> list[str]:
    """Return the parts of a text; every second one was between backticks and is code."""
    return _CODE.sub(r"\0\2\0", text.replace("\0", "")).split("\0")


def text_of(reader: Reader, text: str, **values: object) -> str:
    """Return an English text of a page, with ``values`` for its ``%(name)s``, in the language of the reader."""
    translated = translations(reader.language).gettext(text)
    return translated % values if values else translated


def counted_of(reader: Reader, number: int, noun: str) -> str:
    """Return a number with its noun in the language of the reader."""
    return _counted(reader.formats, number, noun)


def _counted(formats: Formats, number: int, noun: str) -> str:
    return counted_sentence(number, noun, formats.count(number)).translated(translations(formats.language).gettext)


def name_of(reader: Reader, identifier: str, context: str) -> str:
    """Return the name of a kind of jobs, a stage or the like in the language of the reader."""
    return name_text(reader.language, identifier, context)


def sentence_of(reader: Reader, text: Sentence) -> str:
    """Return a sentence of the program in the language of the reader."""
    return text.translated(translations(reader.language).gettext, partial(message_text, reader.language))


def number(value: float | None, spec: str = ",") -> str:
    """Return a number formatted by ``spec`` as in an f-string; a dash for ``None``."""
    return Formats().number(value, spec)
