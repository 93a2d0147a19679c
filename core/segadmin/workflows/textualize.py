"""The ``textualize`` job: every user's recent events become text; the stage is one of other kinds' too."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from segadmin.jobs.attempt import Attempt, StageOutput, StageResult, StepFile
from segadmin.jobs.plugin_guard import calling
from segadmin.jobs.registry import Stage, Workflow, register
from segadmin.settings import Settings
from segadmin.workflows.prepared import Prepared, PreparedSegments
from segadmin.workflows.scored import scoring_of
from segadmin.workflows.text_options import TextRequest

if TYPE_CHECKING:
    import polars as pl

    from segadmin.text.read_buckets import Selection


class Textualize(TextRequest):
    """Options of ``textualize``."""


class TextOutput(StageOutput):
    """The texts of a range of buckets."""

    stage: ClassVar[str] = "textualize"

    buckets: tuple[int, int]  #: first and last
    training: StepFile | None = None
    augmented: StepFile | None = None
    scoring: StepFile | None = None
    outcomes: StepFile | None = None  #: of unlabelled users, see :func:`segadmin.text.outcomes.read_outcomes`
    report: dict[str, int] = {}


def prepare(attempt: Attempt) -> StageResult:
    """Decide how users are read, and until when."""
    from segadmin.text.plan import TextPlan

    request = Textualize.model_validate(attempt.options)
    recipe = request.recipe(attempt.settings)
    versions, latest = lake_now(attempt.settings)
    return StageResult(Prepared(text=TextPlan(recipe=recipe, scoring=recipe.window(latest), lake=versions)))


def textualize(attempt: Attempt) -> StageResult:
    """Read the users that prepare named at every training window, and those to score at the scoring window."""
    import polars as pl

    from segadmin.contracts.plugins import load_plugins
    from segadmin.labels.parts import Part
    from segadmin.text.read_buckets import read_buckets

    prepared = attempt.output(Prepared)
    plan = prepared.text
    plugin = load_plugins(attempt.settings).find("textualizer", plan.recipe.textualizer)
    texts = read_buckets(
        attempt.settings,
        plan,
        attempt.buckets,
        wanted=_rows_to_read(attempt, prepared),
        copied=attempt.read(prepared.copied).filter(pl.col("part") == Part.TRAIN) if prepared.copied else None,
        unlabelled=attempt.read(prepared.unlabelled) if prepared.unlabelled else None,
        scored=_stale_users(attempt) if prepared.refresh else None,
        call=partial(calling, attempt, plugin, "phrases"),
        progress=attempt.progress,
    )
    names = ("training", "augmented", "scoring", "outcomes")
    frames: dict[str, list[pl.DataFrame]] = {name: getattr(texts, name) for name in names}
    files: dict[str, Any] = {name: attempt.write(pl.concat(each), name) for name, each in frames.items() if each}
    buckets = (attempt.buckets.start, attempt.buckets.stop - 1)
    return StageResult(TextOutput(buckets=buckets, **files, report=dict(texts.report)))


def _stale_users(attempt: Attempt) -> Selection:
    """Return whose texts are read for the scores: of the models that read this job's texts."""
    from segadmin.text.read_buckets import SeveralSelections
    from segadmin.workflows.scoring_groups import groups_of, stale_users

    prepared = attempt.output(PreparedSegments)
    groups = groups_of(attempt.settings, prepared.text, scoring_of(attempt, prepared))
    stale = [
        stale_users(attempt.settings, group, attempt.buckets)
        for group in groups
        if group.plan.recipe == prepared.recipe
    ]
    return SeveralSelections(stale)


def _rows_to_read(attempt: Attempt, prepared: Prepared) -> pl.DataFrame | None:
    """Return whom to read when, each user and moment once: ``user_key``, ``observed_from``, ``as_of``."""
    import polars as pl

    columns = ["user_key", "observed_from", "as_of"]
    frames = [attempt.read(file).select(columns) for file in prepared.wanted]
    return pl.concat(frames).unique(["user_key", "as_of"], keep="first", maintain_order=True) if frames else None


def lake_now(settings: Settings) -> tuple[dict[str, int], datetime]:
    """Return the versions of the lake's tables, and the end of what they hold: just after the newest event.

    Users who are being merged are one or two users in them, not something in between.

    Raises:
        DataError: there are no events.
    """
    from segadmin.events.merge import settle_merges
    from segadmin.labels.label_sets import after, latest_event
    from segadmin.storage.lake import Lake

    settle_merges(settings)
    versions = Lake.of(settings).current_versions()
    return versions, after(latest_event(Lake.of(settings, versions)))


def training_texts(attempt: Attempt) -> list[pl.DataFrame]:
    """Return the texts of the training windows, a frame for each step that wrote some."""
    return [attempt.read(texts.training) for texts in attempt.outputs(TextOutput) if texts.training]


def texts_to_score(attempt: Attempt, buckets: range) -> pl.LazyFrame:
    """Return the texts of ``buckets`` at the scoring window, whichever ranges of buckets they were written in."""
    import polars as pl

    files = [
        attempt.scan(texts.scoring)
        for texts in attempt.outputs(TextOutput)
        if texts.scoring and texts.buckets[0] < buckets.stop and texts.buckets[1] >= buckets.start
    ]
    return pl.concat(files, how="diagonal").filter(pl.col("bucket").is_between(buckets.start, buckets.stop - 1))


TEXTUALIZE = Stage("textualize", textualize, after=("prepare",), per_buckets=True, cost=4)

register(
    Workflow(
        "textualize",
        Textualize,
        (Stage("prepare", prepare), TEXTUALIZE),
        "Turn every user's recent events into text, and report on it.",
    )
)
