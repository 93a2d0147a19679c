"""The study of a search (Optuna): in segadmin's own database, beside the jobs, so that parallel steps share it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import inspect

from segadmin.settings import Settings
from segadmin.storage.database import engine, transaction, wait_for_turn

if TYPE_CHECKING:
    import optuna

#: So many trials are run whole before any is pruned, and drawn by chance before the sampler guides.
_STARTUP = 5


def study_of(settings: Settings, job_id: int) -> optuna.Study:
    """Return the study of a job, made the first time."""
    import optuna

    return optuna.create_study(
        storage=_storage(settings),
        study_name=_name(job_id),
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(n_startup_trials=_STARTUP, constant_liar=True),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_STARTUP),
    )


class Trial(BaseModel):
    """One try of the options, numbered from 1."""

    model_config = ConfigDict(frozen=True)

    trial: int
    state: str  #: of Optuna: ``running``, ``complete``, ``pruned`` or ``fail``
    value: float | None  #: log-loss on validation, once it is complete
    options: dict[str, Any]
    seconds: float | None
    why: str = ""  #: why it failed or was pruned


class SearchSummary(BaseModel):
    """What a search has found so far."""

    model_config = ConfigDict(frozen=True)

    best: Trial | None = None
    trials: tuple[Trial, ...] = ()
    importance: dict[str, float] = {}  #: option → its share of what makes trials differ


def load_summary(settings: Settings, job_id: int, *, importance: bool = True) -> SearchSummary:
    """Return the :func:`summary` of a job's search, whether it is over or not.

    Reading makes no study, and no tables for one: the job does, once.
    """
    import optuna

    if not inspect(engine(settings)).has_table("studies"):
        return SearchSummary()
    try:
        study = optuna.load_study(study_name=_name(job_id), storage=_storage(settings))
    except KeyError:
        return SearchSummary()
    return summary(study, importance=importance)


def summary(study: optuna.Study, *, importance: bool = True) -> SearchSummary:
    """Return the trials, the best of them, and how much each option mattered."""
    from optuna.trial import TrialState

    trials = tuple(
        Trial(
            trial=one.number + 1,
            state=one.state.name.lower(),
            value=one.value if one.state == TrialState.COMPLETE else None,
            options=one.params,
            seconds=one.duration.total_seconds() if one.duration else None,
            why=one.user_attrs.get("why", ""),
        )
        for one in study.trials
    )
    complete = [one for one in trials if one.value is not None]
    return SearchSummary(
        best=min(complete, key=lambda one: one.value or 0.0, default=None),
        trials=trials,
        importance=_importance(study) if importance and len(complete) > 1 else {},
    )


def count_trials(study: optuna.Study, *, running: bool = True) -> int:
    """Return how many trials count towards the number asked for; those that were interrupted do not."""
    from optuna.trial import TrialState

    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, *([TrialState.RUNNING] if running else [])]
    return len([one for one in study.get_trials(deepcopy=False, states=states) if "cut off" not in one.user_attrs])


def all_failed(study: optuna.Study) -> bool:
    """Return whether nothing has worked in a few tries: then the next will not either."""
    from optuna.trial import TrialState

    ended = [one.state for one in study.get_trials(deepcopy=False) if one.state.is_finished()]
    return len(ended) >= _STARTUP and set(ended) == {TrialState.FAIL}


def fail_interrupted(study: optuna.Study, step: int) -> None:
    """Give up the trials that an earlier attempt of this very step had begun: nobody works on them any more."""
    from optuna.trial import TrialState

    for one in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        if one.user_attrs.get("step") == step:
            study._storage.set_trial_user_attr(one._trial_id, "cut off", True)
            study.tell(one.number, state=TrialState.FAIL)


def deadline_of(study: optuna.Study, minutes: float | None) -> float:
    """Return until when new trials begin, in seconds since the epoch: counted from the first step's begin."""
    if minutes is None:
        return float("inf")
    if "deadline" not in study.user_attrs:
        study.set_user_attr("deadline", time.time() + minutes * 60)
    return float(study.user_attrs["deadline"])


def _name(job_id: int) -> str:
    return f"segadmin-job-{job_id}"


def _storage(settings: Settings) -> optuna.storages.RDBStorage:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with transaction(settings):
        pass  # the tables, with Alembic's mark, are there: else Optuna would take the database for its own
    url = engine(settings).url.render_as_string(hide_password=False)
    sqlite = url.startswith("sqlite")
    storage = optuna.storages.RDBStorage(
        url,
        engine_kwargs={"connect_args": {"timeout": 30}} if sqlite else {"pool_pre_ping": True},
        skip_compatibility_check=True,  # it compares Alembic's mark, which here is segadmin's
    )
    if sqlite:
        wait_for_turn(storage.engine)
    return storage


def _importance(study: optuna.Study) -> dict[str, float]:
    """Return each option's share of what makes trials differ (fANOVA, Hutter et al. 2014), the largest first."""
    import optuna

    try:
        found = optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=17)
        )
    except (RuntimeError, ValueError):  # all trials are alike
        return {}
    return {name: round(share, 4) for name, share in found.items()}
