"""The ``tune`` job: options of a backbone are tried, several at a time, and the best by validation are reported."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field

from segadmin.contracts.plugins import Plugins, load_plugins
from segadmin.errors import ConfigurationError, DataError
from segadmin.jobs.attempt import Attempt, StageOutput, StageResult
from segadmin.jobs.control import view
from segadmin.jobs.registry import Option, Stage, Workflow, register
from segadmin.settings import Settings
from segadmin.training.search_space import Values, choices
from segadmin.training.study import SearchSummary, Trial, load_summary
from segadmin.workflows.backbone_options import DEFAULT_SHOWN
from segadmin.workflows.prepare_training import prepared_training
from segadmin.workflows.retrain_request import Retrain
from segadmin.workflows.textualize import TEXTUALIZE, training_texts
from segadmin.workflows.training_data import (
    PreparedTraining,
    read_auxiliary,
    read_dataset,
    read_split,
    read_unlabelled,
    training_context,
)


class Tune(Retrain):
    """Options of ``tune``: those of ``retrain``, of which the search tries other ``backbone_options``."""

    common: ClassVar[tuple[str, ...]] = ("labels", "backbone", "search", "trials", "parallel", "minutes", "reason")
    unused: ClassVar[frozenset[str]] = frozenset(
        {"start_from", "replay", "margin", "min_precision", "augment", "drop_events"}
        | {"baselines", "trackers", "tracker_options", "force"}
    )

    backbone: Annotated[str | None, Option(short="b", default=DEFAULT_SHOWN)] = Field(
        None, description="A registered name, a Hugging Face id, or a folder."
    )
    baselines: tuple[str, ...] = ()
    #: option of the backbone → its values
    search: Annotated[dict[str, Values], Option(metavar="OPTION=VALUES", default="what the backbone suggests")] = Field(
        {},
        description="Values of a backbone option to search, such as epochs=1..4, learning_rate=1e-5..1e-3:log or "
        "tuner=full,lora.",
    )
    trials: int = Field(20, ge=1, le=10_000, description="Maximum number of trials, including pruned ones.")
    parallel: int = Field(
        2, ge=1, le=64, description="Maximum number of trials at the same time; each needs a free worker."
    )
    minutes: float | None = Field(
        None, gt=0, description="Time limit: no trial starts after it, and those that run are pruned."
    )

    def completed(self, settings: Settings) -> Self:
        """Return the request with what is searched."""
        request = super().completed(settings)
        return request.model_copy(update={"search": _search_space(load_plugins(settings), request)})


def trials_of(settings: Settings, job_id: int, *, importance: bool = True) -> SearchSummary:
    """Return the trials of a search, whether it is over or not: see :func:`segadmin.training.study.load_summary`.

    Raises:
        JobNotFound: there is no such job.
        ConfigurationError: it is no search, or optuna is not installed here.
    """
    job = view(settings, job_id).job
    if job.kind != "tune":
        raise ConfigurationError(f"Job {job_id} is a {job.kind}, not a search. Start one: segadmin enqueue tune")
    if find_spec("optuna") is None:
        raise ConfigurationError("Trials are read with optuna. Run: pip install 'segadmin[worker]'")
    return load_summary(settings, job_id, importance=importance)


def _search_space(plugins: Plugins, request: Tune) -> dict[str, Values]:
    """Return what is searched, by default what the backbone says, less the options that are given.

    Raises:
        ConfigurationError: the backbone has no such option, cannot use a value, or says nothing to search.
    """
    backbone, options = request.backbone or "", request.backbone_options
    space: dict[str, Values] = dict(request.search) or dict(plugins.find("backbone", backbone).load().search)
    space = {name: words for name, words in space.items() if name not in options or name in request.search}
    searched = choices(space)
    if not searched:
        raise ConfigurationError(
            f"The backbone {backbone!r} does not say what to search. Say it: --search learning_rate=1e-5..1e-3:log"
        )
    plugins.make("backbone", backbone, options | {choice.name: choice.an_example for choice in searched})
    return space


class PreparedSearch(PreparedTraining):
    """A search whose options, weights and data were checked."""

    request_type: ClassVar[type[Retrain]] = Tune

    request: Tune


class TrialOutput(StageOutput):
    """How many trials a step has run."""

    stage: ClassVar[str] = "trial"

    trials: int


class ChooseOutput(StageOutput):
    """The best options, what was tried, and which options mattered."""

    stage: ClassVar[str] = "choose"

    best: Trial
    trials: tuple[Trial, ...]
    importance: dict[str, float] = {}
    backbone: str
    backbone_options: dict[str, Any]


def prepare(attempt: Attempt) -> StageResult:
    """Check the options, the weights and the data; decide the windows, the split and the features."""
    from segadmin.training.study import study_of

    prepared = prepared_training(attempt, Tune.model_validate(attempt.options), PreparedSearch)
    study_of(attempt.settings, attempt.job_id)  # by one step, before several trials would make its tables at once
    return StageResult(prepared)


def trial(attempt: Attempt) -> StageResult:
    """Run trials until there are enough or the time is up."""
    from segadmin.training.study import study_of
    from segadmin.training.trials import Search, run_trials

    prepared, texts = attempt.output(PreparedSearch), training_texts(attempt)
    split, _ = read_split(attempt, prepared, texts)
    request = Tune.model_validate(attempt.options)
    search = Search(
        backbone=prepared.backbone,
        options=prepared.request.backbone_options,
        choices=tuple(choices(request.search)),
        dataset=read_dataset(prepared, texts, split),
        auxiliary=read_auxiliary(attempt, prepared, texts, split),
        unlabelled=read_unlabelled(attempt, prepared, texts, split),
        seed=prepared.request.seed,
        trials=request.trials,
        minutes=request.minutes,
    )
    # Parallel steps must not sample the same trials.
    trials = study_of(attempt.settings, attempt.job_id, (prepared.request.seed + attempt.buckets.start) % 2**32)
    return StageResult(TrialOutput(trials=run_trials(training_context(attempt), search, trials, attempt.buckets.start)))


def choose(attempt: Attempt) -> StageResult:
    """Report which options were best, and which mattered.

    Raises:
        DataError: no trial came to its end.
    """
    from segadmin.training.study import study_of, summary

    prepared = attempt.output(PreparedSearch)
    tried = summary(study_of(attempt.settings, attempt.job_id))
    if tried.best is None:
        raise DataError(
            "No trial came to its end, so there is nothing to choose from. Allow more: --minutes, --trials; "
            f"see: segadmin jobs trials {attempt.job_id}"
        )
    return StageResult(
        ChooseOutput(
            best=tried.best,
            trials=tried.trials,
            importance=tried.importance,
            backbone=prepared.backbone,
            backbone_options=prepared.request.backbone_options | tried.best.options,
        )
    )


register(
    Workflow(
        "tune",
        Tune,
        (
            Stage("prepare", prepare, "gpu"),
            TEXTUALIZE,
            Stage("trial", trial, "gpu", after=("textualize",), parallel="parallel", cost=100),
            Stage("choose", choose, after=("trial",)),
        ),
        "Search the backbone's options by validation log-loss; `jobs trials` shows the trials and what matters.",
    )
)
