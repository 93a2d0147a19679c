"""Messages of the program in the language of a page, those that people meet on their usual way.

They come in English with their values in them; what is not known here stays as it is.
"""

from __future__ import annotations

import re
from functools import cache

from segadmin_api.dashboard.translations import translations

#: Alarms of drift reports, why a refresh does not begin, and what is uncertain about an uploaded file.
MESSAGES = (
    "%(drifted)s of %(all)s distributions drifted: %(names)s",
    "The week until %(day)s has %(events)s events (%(kind)s), and %(expected)s were expected.",
    "%(day)s has %(events)s events (%(kind)s), and %(expected)s were expected.",
    "%(stage)s: Events seem to be missing: %(day)s has %(events)s events of %(kind)s, and %(expected)s were expected, "
    "by the same weekday of the weeks before%(more)s. Import what is missing, or go on without it: --force",
    "no known layout; proposed from the names and cells of the columns",
    "%(field)s is only guessed: %(column)s. Check it.",
    "No column looks like %(field)s. Put it into [columns]: %(line)s",
    'The times have no zone and are read as UTC. If they are of another clock, add: timezone = "%(zone)s"',
)


def message_text(language: str, message: str) -> str:
    """Return a message in a language, as far as it is known."""
    if language == "en":
        return message
    for text, pattern in _patterns():
        if match := pattern.fullmatch(message):
            return translations(language).gettext(text) % match.groupdict()
    return message


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((text, re.compile(_pattern(text), re.DOTALL)) for text in MESSAGES)


def _pattern(text: str) -> str:
    parts = re.split(r"%\((\w+)\)s", text)
    return "".join(re.escape(part) if place % 2 == 0 else f"(?P<{part}>.*?)" for place, part in enumerate(parts))
