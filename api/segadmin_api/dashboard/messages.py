"""Messages of the program in the language of a page: errors, alarms, findings and causes.

They come in English with their values in them. The catalogue has their templates under the context ``message``, with
names for the values; tests hold each template against the text in the program. What is not known there stays as it is.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

from segadmin_api.dashboard.translations import entries, translations

#: Alarms of drift reports, why a refresh does not begin, and what is uncertain about an uploaded file.
MESSAGES = (
    "%(drifted)s of %(all)s distributions drifted: %(names)s",
    "The week until %(day)s has %(events)s events (%(kind)s), and %(expected)s were expected.",
    "%(day)s has %(events)s events (%(kind)s), and %(expected)s were expected.",
    "Events seem to be missing: %(day)s has %(events)s events of %(kind)s, and %(expected)s were expected, "
    "by the same weekday of the weeks before%(more)s. Import what is missing, or go on without it: --force",
    "no known layout; proposed from the names and cells of the columns",
    "%(field)s is only guessed: %(column)s. Check it.",
    "No column looks like %(field)s. Put it into [columns]: %(line)s",
    'The times have no zone and are read as UTC. If they are of another clock, add: timezone = "%(zone)s"',
)
#: The stage of a job before the error of its step.
_STAGE = re.compile(r"(?P<stage>[a-z][a-z0-9_-]*): (?P<rest>.+)", re.DOTALL)
#: Messages in values of messages, such as what was probably meant, are translated too, down to here.
_DEEPEST = 3
_KEPT = 2_000


def message_text(language: str, message: str) -> str:
    """Return a message in a language, as far as it is known."""
    if language == "en" or not message:
        return message
    translated = _translated(language, message)
    if translated != message:
        return translated
    if (match := _STAGE.fullmatch(message)) and (stage := entries(language, "stage").get(match["stage"])):
        return f"{stage}：{_translated(language, match['rest'])}"
    return message


@lru_cache(_KEPT)
def _translated(language: str, message: str, depth: int = 0) -> str:
    for translation, pattern in _patterns(language):
        if match := pattern.fullmatch(message):
            values = match.groupdict()
            if depth < _DEEPEST:
                values = {name: _translated(language, value, depth + 1) for name, value in values.items()}
            return translation % values
    parts = message.split("; ")
    return "；".join(_translated(language, part, depth) for part in parts) if len(parts) > 1 else message


@cache
def _patterns(language: str) -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Return the translations with the patterns of their texts, those with the most fixed text first."""
    texts = {text: translations(language).gettext(text) for text in MESSAGES} | entries(language, "message")
    ordered = sorted(texts, key=lambda text: -len(re.sub(r"%\(\w+\)s", "", text)))
    return tuple((texts[text], re.compile(_pattern(text), re.DOTALL)) for text in ordered)


def _pattern(text: str) -> str:
    parts = re.split(r"%\((\w+)\)s", text)
    fixed = [re.escape(part.replace("%%", "%")) if place % 2 == 0 else "" for place, part in enumerate(parts)]
    return "".join(fixed[place] if place % 2 == 0 else f"(?P<{part}>.*?)" for place, part in enumerate(parts))
