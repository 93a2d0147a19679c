"""The ``tune`` job: options of a backbone are tried, several at a time, and the best by validation are reported."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Self

from pydantic import Field

from segadmin.contracts.plugins import Plugins, load_plugins
from segadmin.errors import ConfigurationError
from segadmin.jobs.attempt import Attempt, StageResult
from segadmin.jobs.control import view
from segadmin.jobs.registry import Stage, Workflow, register
from segadmin.settings import Settings
from segadmin.training.search_space import choices
from segadmin.training.study import SearchSummary, load_summary
from segadmin.workflows.retrain import Retrain, prepare
from segadmin.workflows.textualize import TEXTUALIZE


class Tune(Retrain):
    """Options of ``tune``: those of ``retrain``, of which the search tries other ``backbone_options``."""

    baselines: tuple[str, ...] = ()
    search: dict[str, str] = {}  #: option of the backbone → its values; default: what the backbone says
    trials: int = Field(20, ge=1, le=10_000)
    parallel: int = Field(2, ge=1, le=64)  #: steps that run trials at the same time, where there are workers
    minutes: float | None = Field(None, gt=0)  #: no trial begins later, and those that run are pruned

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


def _search_space(plugins: Plugins, request: Tune) -> dict[str, str]:
    """Return what is searched, by default what the backbone says, less the options that are given.

    Raises:
        ConfigurationError: the backbone has no such option, cannot use a value, or says nothing to search.
    """
    backbone, options = request.backbone or "", request.backbone_options
    space = dict(request.search) or dict(plugins.find("backbone", backbone).load().search)
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
    )
)
