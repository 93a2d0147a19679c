"""The Optuna study of a search, stored in segadmin's database so that parallel steps share it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, MetaData, inspect

from segadmin.settings import Settings
from segadmin.storage.database import engine, transaction, translated_errors
from segadmin.storage.sqlite import wait_for_turn

if TYPE_CHECKING:
    import optuna

#: Number of trials that are sampled at random and not pruned, before the sampler and the pruner have data.
_STARTUP = 5


def study_of(settings: Settings, job_id: int, seed: int | None = None) -> optuna.Study:
    """Return the study of a job, created if needed; ``seed`` is that of the sampler of the next trials."""
    import optuna

    return optuna.create_study(
        storage=_storage(settings),
        study_name=_name(job_id),
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(n_startup_trials=_STARTUP, constant_liar=True, seed=seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_STARTUP),
    )


class Trial(BaseModel):
    """One trial of the options, numbered from 1."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    trial: int
    state: str  #: of Optuna: ``running``, ``complete``, ``pruned`` or ``fail``
    value: float | None  #: validation log-loss, if it is complete
    options: dict[str, Any]
    seconds: float | None
    why: str = ""  #: why it failed or was pruned


class SearchSummary(BaseModel):
    """The state of a search."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    best: Trial | None = None
    trials: tuple[Trial, ...] = ()
    importance: dict[str, float] = {}  #: option → fraction of the variance between trials


def load_summary(settings: Settings, job_id: int, *, importance: bool = True) -> SearchSummary:
    """Return the :func:`summary` of a job's search, finished or not.

    It creates neither a study nor its tables; the job does.
    """
    import optuna

    with translated_errors(settings):
        if not inspect(engine(settings)).has_table("studies"):
            return SearchSummary()
        storage = _storage(settings)
        try:
            study = optuna.load_study(study_name=_name(job_id), storage=storage)
        except KeyError:
            return SearchSummary()
        else:
            return summary(study, importance=importance)
        finally:  # otherwise each call would leave a connection open
            storage.remove_session()
            storage.engine.dispose()


def summary(study: optuna.Study, *, importance: bool = True) -> SearchSummary:
    """Return the trials, the best one, and the importance of each option."""
    from optuna.trial import TrialState

    trials = tuple(
        Trial(
            trial=trial.number + 1,
            state=trial.state.name.lower(),
            value=trial.value if trial.state == TrialState.COMPLETE else None,
            options=trial.params,
            seconds=trial.duration.total_seconds() if trial.duration else None,
            why=trial.user_attrs.get("why", ""),
        )
        for trial in study.trials
    )
    complete = [trial for trial in trials if trial.value is not None]
    return SearchSummary(
        best=min(complete, key=lambda trial: trial.value or 0.0, default=None),
        trials=trials,
        importance=_importance(study) if importance and len(complete) > 1 else {},
    )


def count_trials(study: optuna.Study, *, running: bool = True) -> int:
    """Return the number of trials that count towards the maximum; interrupted ones do not."""
    from optuna.trial import TrialState

    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, *([TrialState.RUNNING] if running else [])]
    return len(
        [trial for trial in study.get_trials(deepcopy=False, states=states) if "cut off" not in trial.user_attrs]
    )


def all_failed(study: optuna.Study) -> bool:
    """Return whether all of the first trials failed, so that further ones are pointless."""
    from optuna.trial import TrialState

    ended = [trial.state for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    return len(ended) >= _STARTUP and set(ended) == {TrialState.FAIL}


def fail_interrupted(study: optuna.Study, step: int) -> None:
    """Mark the running trials of earlier attempts of this step as failed, as they were interrupted."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        if trial.user_attrs.get("step") == step:
            study._storage.set_trial_user_attr(trial._trial_id, "cut off", True)
            study.tell(trial.number, state=TrialState.FAIL)


def deadline_of(study: optuna.Study, minutes: float | None) -> float:
    """Return the time until which trials may start, in seconds since the epoch; counted from the first step."""
    if minutes is None:
        return float("inf")
    if "deadline" not in study.user_attrs:
        study.set_user_attr("deadline", time.time() + minutes * 60)
    return float(study.user_attrs["deadline"])


def table_names() -> set[str]:
    """Return the names of the tables that Optuna keeps searches in; none where it is not installed."""
    try:
        return set(_metadata().tables)
    except ModuleNotFoundError:
        return set()


def create_tables(connection: Connection) -> None:
    """Create Optuna's tables where they are missing; their rows come from a backup."""
    _metadata().create_all(connection)


def _metadata() -> MetaData:
    from optuna.storages._rdb.models import BaseModel

    metadata: MetaData = BaseModel.metadata
    return metadata


def _name(job_id: int) -> str:
    return f"segadmin-job-{job_id}"


def _storage(settings: Settings) -> optuna.storages.RDBStorage:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with transaction(settings):
        pass  # creates the tables with the Alembic version; otherwise Optuna would initialize the database
    url = engine(settings).url.render_as_string(hide_password=False)
    sqlite = url.startswith("sqlite")
    storage = optuna.storages.RDBStorage(
        url,
        engine_kwargs={"connect_args": {"timeout": 30}} if sqlite else {"pool_pre_ping": True},
        skip_compatibility_check=True,  # it would compare the Alembic version, which is segadmin's
    )
    if sqlite:
        wait_for_turn(storage.engine)
    return storage


def _importance(study: optuna.Study) -> dict[str, float]:
    """Return the importance of each option (fANOVA, Hutter et al. 2014), the largest first."""
    import optuna

    try:
        importances = optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=17)
        )
    except (RuntimeError, ValueError):  # all trials have the same value
        return {}
    return {name: round(share, 4) for name, share in importances.items()}
