"""Runs the trials of a search over options of a backbone, and prunes fits that are worse than others."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segadmin.contracts.backbone import Backbone, Examples, FitContext, UnlabelledUsers
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import DataError, SegadminError, StepFenced
from segadmin.evaluation.calibration import fit_temperature, predict, scaled
from segadmin.evaluation.metrics import log_loss
from segadmin.inference.clipping import Limits
from segadmin.training import study
from segadmin.training.context import RunContext
from segadmin.training.dataset import Dataset
from segadmin.training.search_space import Choice

if TYPE_CHECKING:
    import optuna

#: The metric of a fit's log that the search minimises.
_METRIC = "validation_log_loss"


class Pruned(SegadminError):
    """The trial is pruned: it is worse than others, or the time is up."""


@dataclass(frozen=True)
class Search:
    """The definition of a search."""

    backbone: str
    options: Mapping[str, Any]  #: options of the backbone that all trials share
    choices: tuple[Choice, ...]
    dataset: Dataset
    auxiliary: Mapping[str, Examples]
    unlabelled: UnlabelledUsers | None
    seed: int
    trials: int  #: maximum number, including pruned ones
    minutes: float | None = None  #: time limit: later no trial starts, and running ones are pruned


def run_trials(context: RunContext, search: Search, trials: optuna.Study, worker: int) -> int:
    """Run trials until there are enough or the time is up; return the number of trials run by this worker.

    Args:
        context: receives progress, and has the checkpoints.
        search: the definition of the search.
        trials: the study, which other workers may use at the same time.
        worker: number of this worker; unfinished trials of its earlier attempts are marked as failed.

    Raises:
        DataError: there are no validation rows to compare trials on.
        SegadminError: all of the first trials failed.
    """
    from optuna.trial import TrialState

    if not len(search.dataset.validation):
        raise DataError("There are no validation rows to compare trials on. Label more users.")
    others = search.unlabelled
    limits = Limits.fit(others.users if others else search.dataset.train)
    auxiliary = {name: limits.clip(rows) for name, rows in search.auxiliary.items()}
    unlabelled = limits.clip_unlabelled(others)
    search = replace(search, dataset=search.dataset.within(limits), auxiliary=auxiliary, unlabelled=unlabelled)
    study.fail_interrupted(trials, worker)
    deadline = study.deadline_of(trials, search.minutes)
    done = 0
    while study.count_trials(trials) < search.trials and time.time() < deadline:
        trial = trials.ask()
        trial.set_user_attr("step", worker)
        share = min(study.count_trials(trials, running=False) / search.trials, 0.99)
        context.progress(share, f"trial {trial.number + 1}")
        try:
            trials.tell(trial, _fit(context, search, trial, deadline))
        except Pruned as reason:
            trial.set_user_attr("why", str(reason))
            trials.tell(trial, state=TrialState.PRUNED)
        except StepFenced:  # another worker has taken over this step
            trials.tell(trial, state=TrialState.FAIL)
            raise
        except (SegadminError, MemoryError) as error:
            trial.set_user_attr("why", str(error)[:500])
            trials.tell(trial, state=TrialState.FAIL)
            if study.all_failed(trials):
                raise
        done += 1
    return done


def _fit(context: RunContext, search: Search, trial: optuna.Trial, deadline: float) -> float:
    """Return the calibrated validation log-loss of a fit with the options of a trial."""
    suggested = {choice.name: choice.suggest(trial) for choice in search.choices}
    plugins = load_plugins(context.settings)
    backbone: Backbone = plugins.make("backbone", search.backbone, {**search.options, **suggested})
    description = ", ".join(f"{name}={value}" for name, value in suggested.items())
    start = min(study.count_trials(trial.study, running=False) / search.trials, 0.99)

    def progress(fraction: float, note: str = "") -> None:
        context.progress(
            min(start + fraction / search.trials, 0.99), f"trial {trial.number + 1} ({description}): {note}"
        )

    reported_steps: set[int] = set()

    def log(step: int, metrics: Mapping[str, float]) -> None:
        value = next((value for name, value in metrics.items() if name.rpartition("/")[2] == _METRIC), None)
        if value is None or step in reported_steps:
            return
        reported_steps.add(step)
        trial.report(value, step)
        if time.time() > deadline:
            raise Pruned("the time was up")
        if trial.should_prune():
            raise Pruned(f"worse than half of the others at step {step}")

    guard = context.calling(plugins.find("backbone", search.backbone), "fit")
    with _scratch(context.checkpoints / f"trial-{trial.number}") as folder, guard:
        run = FitContext(
            context.settings, folder, search.seed, progress, log, also=search.auxiliary, unlabelled=search.unlabelled
        )
        dataset = search.dataset
        model = backbone.fit(dataset.train, dataset.validation, run)
        raw = predict(model, dataset.validation)
    targets = dataset.validation.targets
    return log_loss(scaled(raw, fit_temperature(raw, targets)), targets)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
