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
from typing import TYPE_CHECKING, Any

from segadmin.contracts.backbone import Backbone, Fit
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import DataError, SegadminError
from segadmin.evaluation.calibration import fit_temperature, predict, scaled
from segadmin.evaluation.metrics import log_loss
from segadmin.inference.clipping import Limits
from segadmin.jobs.attempt import Attempt, StageResult
from segadmin.jobs.plugin_guard import calling
from segadmin.training import study
from segadmin.training.dataset import Dataset, read_also, read_dataset
from segadmin.training.search_space import choices
from segadmin.workflows.prepared import Prepared
from segadmin.workflows.tune import Tune

if TYPE_CHECKING:
    from collections.abc import Iterator

    import optuna

Json = dict[str, Any]
#: What the log of a fit calls the figure that is searched for the lowest of.
_FIGURE = "validation_log_loss"


class Pruned(SegadminError):
    """A trial is not worth finishing, or the time is up."""


def trial(attempt: Attempt) -> StageResult:
    """Run trials until there are enough or the time is up."""
    import optuna

    prepared, asked = Prepared.model_validate(attempt.input("prepare")), Tune.model_validate(attempt.options)
    dataset = read_dataset(attempt, prepared)
    if not len(dataset.validation):
        raise DataError("There are no validation rows to choose by. Label more users.")
    limits = Limits.fit(dataset.train)
    dataset = dataset.within(limits)
    also = {name: limits.clip(rows) for name, rows in read_also(attempt, prepared).items()}
    found = study.study_of(attempt.settings, attempt.job_id)
    mine = attempt.buckets.start
    study.fail_interrupted(found, mine)
    deadline = study.deadline_of(found, asked.minutes)
    done = 0
    while study.count_trials(found) < asked.trials and time.time() < deadline:
        one = found.ask()
        one.set_user_attr("step", mine)
        attempt.progress(min(study.count_trials(found, running=False) / asked.trials, 0.99), f"trial {one.number + 1}")
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
            if study.all_failed(found):
                raise
        else:
            found.tell(one, value)
        done += 1
    return StageResult({"trials": done})


def choose(attempt: Attempt) -> StageResult:
    """Tell which options were best, and which mattered.

    Raises:
        DataError: no trial came to its end.
    """
    prepared = Prepared.model_validate(attempt.input("prepare"))
    search = study.summary(study.study_of(attempt.settings, attempt.job_id))
    if search.best is None:
        raise DataError(
            "No trial came to its end, so there is nothing to choose from. Allow more: --minutes, --trials; "
            f"see: segadmin jobs trials {attempt.job_id}"
        )
    options = prepared.backbone_options | search.best.options
    return StageResult({**search.model_dump(mode="json"), "backbone": prepared.backbone, "backbone_options": options})


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
    start = min(study.count_trials(one.study, running=False) / asked.trials, 0.99)

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
