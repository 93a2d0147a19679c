"""The pages of jobs: the list, and each job with its progress and learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Literal, Protocol

from markupsafe import Markup

from segadmin.jobs.control import JobLine, JobView
from segadmin.settings import Settings
from segadmin.storage.records import Job, JobState
from segadmin.workflows.tune import trials_of
from segadmin_api.dashboard import search_page
from segadmin_api.dashboard.charts import Series, line_chart
from segadmin_api.dashboard.reader import ENGLISH, Reader
from segadmin_api.dashboard.render import render, text_of
from segadmin_api.formatting import JOBS, duration, job_row, option_texts, result_lines, stages, subject, took, waits

#: The charts of a fit: title, metrics in one chart with their labels, and whether the lowest or highest is best.
CHARTS: tuple[tuple[str, dict[str, str], Literal["min", "max"]], ...] = (
    ("loss", {"validation_log_loss": "validation log-loss", "training_loss": "training loss"}, "min"),
    ("AUROC", {"validation_auroc": "validation AUROC"}, "max"),
)


class HasCurve(Protocol):
    """A step, as a record or as the API describes it."""

    stage: str
    curve: Any


def list_page(jobs: Sequence[JobLine], *, newest: bool = True, full: bool = False, reader: Reader = ENGLISH) -> str:
    """Return the page of ``jobs``, in the given order.

    Args:
        jobs: the jobs of this page.
        newest: the page has the newest jobs.
        full: there may be older jobs; the page links to them.
        reader: who reads it.
    """
    return render(
        "jobs.html",
        title=text_of(reader, "jobs"),
        here="/jobs",
        online=True,
        reader=reader,
        refresh=any(not line.job.state.over for line in jobs),
        columns=JOBS,
        rows=list(map(job_row, jobs)),
        links=[f"/jobs/{line.job.id}" for line in jobs],
        newest=newest,
        older=jobs[-1].job.id if full else None,
    )


def page(settings: Settings, view: JobView, *, online: bool = False, reader: Reader = ENGLISH) -> str:
    """Return the page of one job; if ``online``, it links to other pages and reloads until the job is over."""
    job = view.job
    succeeded = job.state == JobState.SUCCEEDED
    has_search = job.kind == "tune" and find_spec("optuna") is not None
    search = trials_of(settings, job.id or 0, importance=job.state.over) if has_search else None
    return render(
        "job.html",
        title=text_of(reader, "job %(number)s: %(kind)s", number=job.id, kind=job.kind),
        here="/jobs",
        online=online,
        reader=reader,
        refresh=online and not job.state.over,
        job=job.id,
        subject=subject(job.options),
        figures=_figures(view),
        results=result_lines(view) if succeeded else [],
        versions=[step.result["model_version_id"] for step in view.steps if succeeded and "promoted" in step.result],
        error=_error(job),
        waiting="" if job.state.over else waits(view),
        stages=stages(view),
        curves=[chart for step in view.steps for chart in learning_curves(step, reader)],
        options=option_texts(job.options),
        **({"search": None} if search is None else search_page.content(search, reader)),
    )


def _figures(view: JobView) -> dict[str, str]:
    job, left = view.job, view.progress.seconds_left
    return {
        "state": str(job.state),
        "done": f"{view.progress.done:.0%}",
        **({} if left is None else {"time left, about": duration(left)}),
        "requested": f"{job.created_at:%Y-%m-%d %H:%M}",
        "took" if job.state.over else "so far": took(job.started_at, job.finished_at) or "–",
    }


def _error(job: Job) -> str:
    """Return why a job ended without success, or an empty string."""
    return (job.error or str(job.state)) if job.state.over and job.state != JobState.SUCCEEDED else ""


def learning_curves(step: HasCurve, reader: Reader = ENGLISH) -> list[Markup]:
    """Return the learning curves of a step as charts, grouped by model."""
    models: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for number, metrics in step.curve:
        for name, value in metrics.items():
            model, _, metric = name.rpartition("/")
            models.setdefault(model, {}).setdefault(metric, []).append((number, value))
    charts = []
    for model, curves in models.items():
        for title, metrics, best in CHARTS:
            drawn = {name: label for name, label in metrics.items() if name in curves}
            if drawn:
                name = " · ".join(filter(None, (step.stage, model, text_of(reader, title))))
                series = [Series(text_of(reader, label), curves[metric]) for metric, label in drawn.items()]
                marked = best if next(iter(drawn)).startswith("validation") else ""
                charts.append(line_chart(name, series, best=marked, unit=text_of(reader, "step"), reader=reader))
    return charts
