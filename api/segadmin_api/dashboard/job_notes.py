"""What a job is about, and what a running step reports about itself, in the language of the reader.

A note comes in English with its numbers. The notes of built-in stages are known here; others stay as they are.
"""

from __future__ import annotations

import re
from functools import cache

from segadmin.storage.records import Job
from segadmin_api.dashboard.messages import message_text
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import sentence_of, text_of
from segadmin_api.results import job_subject

#: The notes of built-in stages and backbones, and their parts between commas.
NOTES = (
    "bucket %(number)s",
    "buckets %(first)s to %(last)s",
    "comparing distributions",
    "estimating the metrics",
    "reading the labels",
    "choosing the features",
    "evaluating version %(number)s",
    "loading version %(number)s",
    "starting %(name)s",
    "sending metrics to %(name)s",
    "trial %(number)s",
    "%(done)s of %(total)s users scored",
    "%(done)s of %(total)s users counted",
    "%(done)s of %(total)s texts read",
    "writing the assignments",
    "summing up",
    "checking the backbone",
    "version %(number)s reads the users of the canary",
    "loading the model",
    "snapshot %(number)s",
    "fitting the regression on their predictions",
    "fitting the regression on the predictions",
    "reading the user texts",
    "reading the texts with the frozen layers",
    "counting words",
    "out of memory; trying batches of %(rows)s",
    "epoch %(number)s of %(total)s",
    "round %(number)s of %(total)s",
    "batches of %(rows)s: %(wanted)s do not fit in memory",
    "%(speed)s users/s",
    "%(count)s row",
    "%(count)s rows",
    "validating",
    "validation log-loss %(value)s",
    "features alone: validation log-loss %(value)s",
    "strength %(number)s: validation log-loss %(value)s",
    "predicting the behaviour of %(rows)s rows of unlabelled users",
)
#: The parts of the line of :func:`segadmin.text.coverage.coverage`.
COVERAGE = (
    "%(texts)s text, %(without)s of them of users without events",
    "%(texts)s texts, %(without)s of them of users without events",
    "%(phrases)s phrases each of %(events)s events",
    "%(share)s of the phrases are repeated",
    "%(users)s had too many: %(share)s left out",
    "%(copies)s copy to train on",
    "%(copies)s copies to train on",
)


def note_text(reader: Reader, note: str) -> str:
    """Return a note, which of a failed step is its error, in the language of the reader, as far as it is known."""
    if reader.language == "en" or not note:
        return note
    for whole in (_translated(reader, note), message_text(reader.language, note)):
        if whole != note:
            return whole
    return ", ".join(_translated(reader, part) for part in note.split(", "))


def subject_text(reader: Reader, job: Job) -> str:
    """Return what a job is about, in the language of the reader."""
    parts = (part if isinstance(part, str) else sentence_of(reader, part) for part in job_subject(job))
    return " · ".join(parts)


def coverage_text(reader: Reader, line: str) -> str:
    """Return how many events the texts of a job cover, in the language of the reader."""
    return line if reader.language == "en" else " · ".join(_translated(reader, part) for part in line.split(" · "))


def _translated(reader: Reader, note: str) -> str:
    for text, pattern in _patterns():
        if match := pattern.fullmatch(note):
            return text_of(reader, text, **match.groupdict())
    return note


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((text, re.compile(_pattern(text))) for text in (*NOTES, *COVERAGE))


def _pattern(text: str) -> str:
    """Return the pattern of the notes that ``text`` stands for; a value has no spaces."""
    parts = re.split(r"%\((\w+)\)s", text)
    return "".join(re.escape(part) if place % 2 == 0 else rf"(?P<{part}>\S+?)" for place, part in enumerate(parts))
