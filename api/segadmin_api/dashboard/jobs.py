"""The page of one job: its progress, its stages as a graph, and its learning curves."""

from __future__ import annotations

from importlib.util import find_spec

from segadmin.jobs.control import JobView
from segadmin.jobs.registry import offered_kinds
from segadmin.jobs.step_log import LogLine
from segadmin.settings import Settings
from segadmin.storage.records import CORRECT_KIND, Job, JobState, Scope
from segadmin.training.study import SearchSummary
from segadmin.workflows.tune import trials_of
from segadmin_api.dashboard import search_page
from segadmin_api.dashboard.curves import learning_curves
from segadmin_api.dashboard.job_notes import coverage_text, note_text, subject_text
from segadmin_api.dashboard.messages import message_text
from segadmin_api.dashboard.reader import ENGLISH, Reader
from segadmin_api.dashboard.render import name_of, render, sentence_of, served, text_of
from segadmin_api.dashboard.stage_graph import stage_graph
from segadmin_api.estimates import memory
from segadmin_api.formatting import duration, option_texts, stages, took
from segadmin_api.job_scopes import needed_scope, needs_admin
from segadmin_api.results import result_sentences, waits_sentence


def search_of(settings: Settings, job: Job) -> SearchSummary | None:
    """Return the hyperparameter search of a job, if it is one."""
    has_search = job.kind == "tune" and find_spec("optuna") is not None
    return trials_of(settings, job.id or 0, importance=job.state.over) if has_search else None


def page(view: JobView, search: SearchSummary | None = None, *, online: bool = False, reader: Reader = ENGLISH) -> str:
    """Return the page of one job; if ``online``, it links to other pages and follows the job until it is over."""
    job, lines = view.job, stages(view)
    succeeded = job.state == JobState.SUCCEEDED
    is_for_admins = needs_admin(job.kind, {})
    waiting = None if job.state.over else waits_sentence(view)
    return render(
        "job.html",
        title=text_of(reader, "job %(number)s: %(kind)s", number=job.id, kind=name_of(reader, job.kind, "job")),
        here="/jobs",
        online=online,
        reader=reader,
        refresh=online and not job.state.over,
        events=f"/v1/jobs/{job.id}/events",
        job=job,
        subject=subject_text(reader, job),
        figures=_figures(view, reader),
        results=_results(view, reader) if succeeded else [],
        versions=[step.result["model_version_id"] for step in view.steps if succeeded and "promoted" in step.result],
        succeeded=succeeded,
        snapshots=[step.result["snapshot_id"] for step in view.steps if succeeded and step.result.get("snapshot_id")],
        error=_error(job, reader),
        waiting="" if waiting is None else sentence_of(reader, waiting),
        stages=lines,
        notes={line.name: note_text(reader, line.note) for line in lines},
        graph=stage_graph(lines, reader),
        memory=memory,
        scope=needed_scope(job),
        can_copy=job.state.over and job.kind in offered_kinds() and (reader.may(Scope.ADMIN) or not is_for_admins),
        can_retry=job.state in {JobState.FAILED, JobState.CANCELLED} and job.kind != CORRECT_KIND,
        curves=[chart for step in view.steps for chart in learning_curves(step, reader)],
        options=option_texts(job.options),
        **({"search": None} if search is None else search_page.content(search, reader)),
    )


def logs_page(view: JobView, lines: list[LogLine], stage: str, step: int | None, reader: Reader) -> str:
    """Return the page of the last lines of a job's log, or those of a stage or step."""
    return served(
        "job_logs.html",
        text_of(reader, "logs of job %(number)s", number=view.job.id),
        "/jobs",
        reader,
        refresh=not view.job.state.over,
        events=f"/v1/jobs/{view.job.id}/events",
        job=view.job,
        stages=list(dict.fromkeys(each.stage for each in view.steps)),
        stage=stage,
        step=step,
        lines=[(line, " ".join(f"{name}={value}" for name, value in line.facts.items())) for line in lines],
    )


def _results(view: JobView, reader: Reader) -> list[str]:
    return [coverage_text(reader, sentence_of(reader, line)) for line in result_sentences(view)]


def _figures(view: JobView, reader: Reader) -> dict[str, str]:
    job, left = view.job, view.progress.seconds_left
    peak = max((step.memory_bytes for step in view.steps if step.memory_bytes), default=None)
    return {
        "state": text_of(reader, str(job.state)),
        "done": f"{view.progress.done:.0%}",
        **({} if left is None else {"time left, about": duration(left)}),
        "requested": reader.formats.moment(job.created_at),
        "took" if job.state.over else "so far": took(job.started_at, job.finished_at) or "–",
        **({} if peak is None else {"memory": memory(peak)}),
    }


def _error(job: Job, reader: Reader) -> str:
    """Return why a job ended without success, or an empty string."""
    if not job.state.over or job.state == JobState.SUCCEEDED:
        return ""
    return message_text(reader.language, text_of(reader, job.error or str(job.state)))
