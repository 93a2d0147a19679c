"""Messages of the program in the language of a page: errors, alarms, findings and causes.

They come in English with their values in them. The catalogue has their templates under the context ``message``, with
names for the values; tests hold each template against the text in the program. What is not known there stays as it is.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import zip_longest

from segadmin_api.dashboard.translations import entries, translations

#: Alarms of drift reports, why a refresh does not begin, what is uncertain about an uploaded file, what pydantic finds
#: wrong with a value, and why a key does not open a page.
MESSAGES = (
    "%(drifted)s of %(all)s distributions drifted: %(names)s",
    "The week until %(word_day)s has %(word_events)s of %(word_expected)s expected events (%(event_kind)s).",
    "%(word_day)s has %(word_events)s of %(word_expected)s expected events (%(event_kind)s).",
    "%(word_day)s has %(word_events)s of %(word_expected)s expected events (%(event_kind)s)",
    "Events seem to be missing: %(days)s, by the same weekday of the weeks before%(more)s. Import what is missing, or "
    "go on without it: --force",
    "; also on other days: %(count)s",
    "no known layout; proposed from the names and cells of the columns",
    "%(field)s is only guessed: %(column)s. Check it.",
    "No column looks like %(field)s. Put it into [columns]: %(line)s",
    'The times have no zone and are read as UTC. If they are of another clock, add: timezone = "%(zone)s"',
    "Field required",
    "Input should be greater than %(bound)s",
    "Input should be greater than or equal to %(bound)s",
    "Input should be less than %(bound)s",
    "Input should be less than or equal to %(bound)s",
    "Input should be a valid integer, unable to parse string as an integer",
    "Input should be a valid number, unable to parse string as a number",
    "Input should be a finite number",
    "This key is for %(opens)s, and not for %(scope)s. Ask an administrator for one, or make one: segadmin keys create "
    "NAME --role %(role)s",
)
#: Values that are one word, such as ``%(word_kind)s``; others may have spaces.
_WORD = "word_"
#: Values that pages have a text for.
_NAMED = frozenset({"state", "part", "event_kind"})
#: The stage of a job before the error of its step.
_STAGE = re.compile(r"(?P<stage>[a-z][a-z0-9_-]*): (?P<rest>.+)", re.DOTALL)
#: Messages in values of messages, such as what was probably meant, are translated too, down to here.
_DEEPEST = 3
#: Characters of messages that are looked up; a longer one is no sentence.
_LONGEST = 1_000


def message_text(language: str, message: str) -> str:
    """Return a message in a language, as far as it is known."""
    if language == "en" or not message or len(message) > _LONGEST:
        return message
    translated = _translated(language, message)
    if translated != message:
        return translated
    if (match := _STAGE.fullmatch(message)) and (stage := entries(language, "stage").get(match["stage"])):
        return f"{stage}：{_translated(language, match['rest'])}"
    return message


def _translated(language: str, message: str, depth: int = 0) -> str:
    for translation, pattern in _patterns(language):
        if match := pattern.fullmatch(message):
            values = match.groupdict()
            return translation % {name: _value(language, name, value, depth) for name, value in values.items()}
    parts = message.split("; ")
    translated = [_translated(language, part, depth) for part in parts] if len(parts) > 1 else parts
    if any(part == before for part, before in zip(translated, parts, strict=True)):  # half of a sentence is worse
        return message
    return "；".join(translated)


def _value(language: str, name: str, value: str, depth: int) -> str:
    """Return a value of a message, which may be a message too."""
    if name in _NAMED:
        return translations(language).gettext(value)
    return _translated(language, value, depth + 1) if depth < _DEEPEST else value


@cache
def _patterns(language: str) -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Return the translations with the patterns of their texts, those with the most fixed text first."""
    texts = {text: translations(language).gettext(text) for text in MESSAGES} | entries(language, "message")
    ordered = sorted(texts, key=lambda text: -len(re.sub(r"%\(\w+\)s", "", text)))
    return tuple((texts[text], re.compile(_pattern(text), re.DOTALL)) for text in ordered)


def _pattern(text: str) -> str:
    parts = re.split(r"%\((\w+)\)s", text)
    fixed = [re.escape(part.replace("%%", "%")) for part in parts[::2]]
    values = [f"(?P<{name}>{_value_pattern(name)})" for name in parts[1::2]]
    return "".join(text for pair in zip_longest(fixed, values, fillvalue="") for text in pair)


def _value_pattern(name: str) -> str:
    if name.startswith(_WORD):
        return r"\S+?"
    return "[^()]*?" if name in _NAMED else ".*?"
