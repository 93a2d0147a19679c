"""The ``tune`` job: options of a backbone are tried, several at a time, and the best by validation are reported."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field

from segadmin.contracts.plugins import Plugins, load_plugins
from segadmin.errors import ConfigurationError
from segadmin.jobs.attempt import Attempt, StageResult
from segadmin.jobs.control import view
from segadmin.jobs.registry import Option, Stage, Workflow, register
from segadmin.settings import Settings
from segadmin.training.search_space import Values, choices
from segadmin.training.study import load_summary
from segadmin.workflows.retrain import DEFAULT_BACKBONE, Retrain, prepare
from segadmin.workflows.textualize import TEXTUALIZE


class Tune(Retrain):
    """Options of ``tune``: those of ``retrain``, of which the search tries other ``backbone_options``."""

    unused: ClassVar[frozenset[str]] = frozenset(
        {"start_from", "replay", "margin", "min_precision", "augment", "drop_events"}
        | {"baselines", "trackers", "tracker_options"}
    )

    backbone: Annotated[str | None, Option(short="b", default=DEFAULT_BACKBONE)] = Field(
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


def trials_of(settings: Settings, job_id: int, *, importance: bool = True) -> dict[str, Any]:
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


def trial(attempt: Attempt) -> StageResult:
    """Run trials until there are enough or the time is up."""
    from segadmin.workflows.tune_stages import trial as run

    return run(attempt)


def choose(attempt: Attempt) -> StageResult:
    """Report which options were best, and which mattered."""
    from segadmin.workflows.tune_stages import choose as run

    return run(attempt)


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
