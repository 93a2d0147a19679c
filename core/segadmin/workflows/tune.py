"""The ``tune`` job: options of a backbone are tried (Optuna), several at a time, and the best by validation are told.

The study is in segadmin's own database, beside the jobs; parallel steps run the trials, and each takes the next one
when it is done with one. A trial that does worse than half of the others at the same point is pruned. The test
rows are not looked at.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect

from segadmin.contracts.backbone import Backbone, Fit
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError, DataError, SegadminError
from segadmin.evaluation.calibration import fit_temperature, predict, scaled
from segadmin.evaluation.metrics import log_loss
from segadmin.inference.clipping import Limits
from segadmin.jobs.attempt import Attempt, Outcome
from segadmin.jobs.control import view
from segadmin.jobs.plugin_guard import calling
from segadmin.settings import Settings
from segadmin.storage.database import engine, transaction, wait_for_turn
from segadmin.training.dataset import Dataset, read_also, read_dataset
from segadmin.training.search_space import choices
from segadmin.workflows.prepared import Prepared
from segadmin.workflows.requests import Tune

if TYPE_CHECKING:
    from collections.abc import Iterator

    import optuna

Json = dict[str, Any]
#: What the log of a fit calls the figure that is searched for the lowest of.
_FIGURE = "validation_log_loss"
#: So many trials are run whole before any is pruned, and drawn by chance before the sampler guides.
_STARTUP = 5


class Pruned(SegadminError):
    """A trial is not worth finishing, or the time is up."""


def trial(attempt: Attempt) -> Outcome:
    """Run trials until there are enough or the time is up."""
    import optuna

    prepared, asked = Prepared.model_validate(attempt.input("prepare")), Tune.model_validate(attempt.options)
    dataset = read_dataset(attempt, prepared)
    if not len(dataset.validation):
        raise DataError("There are no validation rows to choose by. Label more users.")
    limits = Limits.fit(dataset.train)
    dataset = dataset.within(limits)
    also = {name: limits.clip(rows) for name, rows in read_also(attempt, prepared).items()}
    found = study_of(attempt.settings, attempt.job_id)
    mine = attempt.buckets.start
    _fail_what_was_cut_off(found, mine)
    deadline = _deadline(found, asked)
    done = 0
    while _counted(found) < asked.trials and time.time() < deadline:
        one = found.ask()
        one.set_user_attr("step", mine)
        attempt.progress(min(_counted(found, running=False) / asked.trials, 0.99), f"trial {one.number + 1}")
        try:
            value = _fit(attempt, prepared, asked, one, dataset=dataset, also=also, deadline=deadline)
        except Pruned as why:
            one.set_user_attr("why", str(why))
            found.tell(one, state=optuna.trial.TrialState.PRUNED)
        except (SegadminError, MemoryError) as error:
            if attempt.lost.is_set():
                found.tell(one, state=optuna.trial.TrialState.FAIL)
                raise
            one.set_user_attr("why", str(error)[:500])
            found.tell(one, state=optuna.trial.TrialState.FAIL)
            if _all_failed(found):
                raise
        else:
            found.tell(one, value)
        done += 1
    return Outcome({"trials": done})


def choose(attempt: Attempt) -> Outcome:
    """Tell which options were best, and which mattered.

    Raises:
        DataError: no trial came to its end.
    """
    prepared = Prepared.model_validate(attempt.input("prepare"))
    found = study_of(attempt.settings, attempt.job_id)
    told = summary(found)
    if told["best"] is None:
        raise DataError(
            "No trial came to its end, so there is nothing to choose from. Allow more: --minutes, --trials; "
            f"see: segadmin jobs trials {attempt.job_id}"
        )
    options = prepared.backbone_options | told["best"]["options"]
    return Outcome({**told, "backbone": prepared.backbone, "backbone_options": options})


def summary(study: optuna.Study, *, importance: bool = True) -> Json:
    """Return the trials, the best of them, and how much each option mattered, JSON only."""
    from optuna.trial import TrialState

    trials = [
        {
            "trial": one.number + 1,
            "state": one.state.name.lower(),
            "value": one.value if one.state == TrialState.COMPLETE else None,
            "options": one.params,
            "seconds": one.duration.total_seconds() if one.duration else None,
            "why": one.user_attrs.get("why", ""),
        }
        for one in study.trials
    ]
    whole = [one for one in trials if one["state"] == "complete"]
    best = min(whole, key=lambda one: one["value"]) if whole else None
    return {"best": best, "trials": trials, "importance": _importance(study) if importance and len(whole) > 1 else {}}


def looked_up(settings: Settings, job_id: int, *, importance: bool = True) -> Json:
    """Return the :func:`summary` of a job's search, whether it is over or not.

    Who looks makes no study, and no tables for one: the job does, once.

    Raises:
        JobNotFound: there is no such job.
        ConfigurationError: it is no search, or optuna is not installed here.
    """
    job = view(settings, job_id).job
    if job.kind != "tune":
        raise ConfigurationError(f"Job {job_id} is a {job.kind}, not a search. Start one: segadmin enqueue tune")
    if find_spec("optuna") is None:
        raise ConfigurationError("Trials are read with optuna. Run: pip install 'segadmin[worker]'")
    import optuna

    nothing: Json = {"best": None, "trials": [], "importance": {}}
    if not inspect(engine(settings)).has_table("studies"):
        return nothing
    try:
        found = optuna.load_study(study_name=_name(job_id), storage=_storage(settings))
    except KeyError:
        return nothing
    return summary(found, importance=importance)


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


def _fit(
    attempt: Attempt,
    prepared: Prepared,
    asked: Tune,
    one: optuna.Trial,
    *,
    dataset: Dataset,
    also: Mapping[str, Any],
    deadline: float,
) -> float:
    """Return the calibrated log-loss on validation of a fit with the options of a trial."""
    suggested = {choice.name: choice.suggest(one) for choice in choices(asked.search)}
    plugins = load_plugins(attempt.settings)
    backbone: Backbone = plugins.make("backbone", prepared.backbone, prepared.backbone_options | suggested)
    told = ", ".join(f"{name}={value}" for name, value in suggested.items())
    start = min(_counted(one.study, running=False) / asked.trials, 0.99)

    def progress(fraction: float, note: str = "") -> None:
        attempt.progress(min(start + fraction / asked.trials, 0.99), f"trial {one.number + 1} ({told}): {note}")

    reported: set[int] = set()

    def log(step: int, figures: Mapping[str, float]) -> None:
        value = next((value for name, value in figures.items() if name.rpartition("/")[2] == _FIGURE), None)
        if value is None or step in reported:
            return
        reported.add(step)
        one.report(value, step)
        if time.time() > deadline:
            raise Pruned("the time was up")
        if one.should_prune():
            raise Pruned(f"worse than half of the others at step {step}")

    with _scratch(attempt, one.number) as folder, calling(attempt, plugins.find("backbone", prepared.backbone), "fit"):
        run = Fit(attempt.settings, folder, prepared.seed, progress=progress, log=log, also=also)
        model = backbone.fit(dataset.train, dataset.validation, run)
        raw = predict(model, dataset.validation)
    targets = dataset.validation.targets
    return log_loss(scaled(raw, fit_temperature(raw, targets)), targets)


@contextmanager
def _scratch(attempt: Attempt, number: int) -> Iterator[Any]:
    folder = attempt.checkpoints / f"trial-{number}"
    folder.mkdir(exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _deadline(study: optuna.Study, asked: Tune) -> float:
    """Return until when new trials begin, in seconds since the epoch: counted from the first step's begin."""
    if asked.minutes is None:
        return float("inf")
    if "deadline" not in study.user_attrs:
        study.set_user_attr("deadline", time.time() + asked.minutes * 60)
    return float(study.user_attrs["deadline"])


def _counted(study: optuna.Study, *, running: bool = True) -> int:
    from optuna.trial import TrialState

    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, *([TrialState.RUNNING] if running else [])]
    return len([one for one in study.get_trials(deepcopy=False, states=states) if "cut off" not in one.user_attrs])


def _all_failed(study: optuna.Study) -> bool:
    """Return whether nothing has worked in a few tries: then the next will not either."""
    from optuna.trial import TrialState

    ended = [one.state for one in study.get_trials(deepcopy=False) if one.state.is_finished()]
    return len(ended) >= _STARTUP and set(ended) == {TrialState.FAIL}


def _fail_what_was_cut_off(study: optuna.Study, step: int) -> None:
    """Give up the trials that an earlier attempt of this very step had begun: nobody works on them any more."""
    from optuna.trial import TrialState

    for one in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        if one.user_attrs.get("step") == step:
            study._storage.set_trial_user_attr(one._trial_id, "cut off", True)
            study.tell(one.number, state=TrialState.FAIL)


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
