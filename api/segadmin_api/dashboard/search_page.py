"""The page of a hyperparameter search: the best trial, the importance of options, and all trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from segadmin.training.study import SearchSummary, Trial
from segadmin_api.dashboard.charts import search_chart
from segadmin_api.dashboard.reader import ENGLISH, Reader
from segadmin_api.dashboard.render import number, render
from segadmin_api.formatting import option_value


def page(job: int, search: SearchSummary) -> str:
    """Return the page of the search of job number ``job``."""
    return render("search.html", title=f"search of job {job}", **content(search))


def content(search: SearchSummary, reader: Reader = ENGLISH) -> dict[str, Any]:
    """Return the values of ``search_sections.html``."""
    names = option_names(search.trials)
    return {
        "search": search,
        "search_chart": search_chart(search.trials, reader),
        "trial_columns": (">trial", "state", ">log-loss", *(f">{name}" for name in names)),
        "trial_rows": [_row(trial, names) for trial in search.trials],
    }


def option_names(trials: Sequence[Trial]) -> list[str]:
    """Return the names of the searched options, in the order of the trials."""
    return list(dict.fromkeys(name for trial in trials for name in trial.options))


def _row(trial: Trial, names: Sequence[str]) -> tuple[str, ...]:
    return (
        str(trial.trial),
        f"{trial.state} ({trial.why})" if trial.why else trial.state,
        "" if trial.value is None else number(trial.value, ".4f"),
        *(option_value(trial.options.get(name, "")) for name in names),
    )
