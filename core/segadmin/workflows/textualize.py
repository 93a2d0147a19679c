"""The ``textualize`` job: every user's recent events become text; the stage is one of other kinds' too."""

from __future__ import annotations

from segadmin.jobs.attempt import Attempt, StageResult
from segadmin.jobs.registry import Stage, Workflow, register
from segadmin.workflows.text_options import TextRequest


class Textualize(TextRequest):
    """Options of ``textualize``."""


def prepare(attempt: Attempt) -> StageResult:
    """Decide how users are read, and until when."""
    from segadmin.workflows.prepare_scoring import prepare_text

    return prepare_text(attempt)


def textualize(attempt: Attempt) -> StageResult:
    """Read the users of a range of buckets."""
    from segadmin.workflows.textualize_stage import textualize as run

    return run(attempt)


TEXTUALIZE = Stage("textualize", textualize, after=("prepare",), per_buckets=True, cost=4)

register(
    Workflow(
        "textualize",
        Textualize,
        (Stage("prepare", prepare), TEXTUALIZE),
        "Turn every user's recent events into text, and report on it.",
    )
)
