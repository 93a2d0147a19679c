"""Jobs as pages: which there are, how far each is, and what its fit looks like while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.util import find_spec

from segadmin.jobs.control import JobLine, JobView
from segadmin.settings import Settings
from segadmin.storage.records import JobState, Step
from segadmin.workflows.tune import looked_up
from segadmin_api.dashboard.html import bar, document, lines, link, section, table
from segadmin_api.dashboard.layout import AGAIN, NAVIGATION
from segadmin_api.dashboard.search_page import sections
from segadmin_api.formatting import JOBS, came_to, duration, job_row, stages, subject, told, took, waits

#: What is drawn of a fit's figures: the title, the figures in one chart, and which of them is best.
_CHARTS = (
    ("loss", {"validation_log_loss": "validation log-loss", "training_loss": "loss in training"}, "min"),
    ("AUROC", {"validation_auroc": "validation AUROC"}, "max"),
)


def list_page(jobs: Sequence[JobLine], *, newest: bool = True, full: bool = False) -> str:
    """Return a page of ``jobs``, in their order: the ``newest``, or older ones; after a ``full`` page come others."""
    rows = [(link(f"/jobs/{number}", number), *rest) for number, *rest in map(job_row, jobs)]
    empty = "<p>No jobs yet. Ask for one: <code>segadmin enqueue retrain</code></p>" if newest else "<p>No others.</p>"
    head = AGAIN if any(not line.job.state.over for line in jobs) else ""
    pages = [] if newest else [link("/jobs", "Newest")]
    pages += [link(f"/jobs?before={jobs[-1].job.id}", "Older")] if full else []
    parts = [table(JOBS, rows) if rows else empty, f"<nav>{''.join(pages)}</nav>" if pages else ""]
    return document("jobs", parts, head=head, above=NAVIGATION)


def page(settings: Settings, seen: JobView, *, online: bool = False) -> str:
    """Return the page of one job; ``online`` it has links to others and comes again until the job is over."""
    job = seen.job
    left = seen.progress.seconds_left
    facts = {
        "state": str(job.state),
        "done": f"{seen.progress.done:.0%}",
        **({} if left is None else {"left, about": duration(left)}),
        "asked": f"{job.created_at:%Y-%m-%d %H:%M}",
        "took" if job.state.over else "so far": took(job.started_at, job.finished_at) or "–",
    }
    shown = "".join(f"<span><b>{escape(value)}</b>{name}</span>" for name, value in facts.items())
    parts = [
        f"<p>{escape(subject(job.options))}</p>",
        f'<p class="facts">{shown}</p>',
        *_outcome(seen, online=online),
        section("Stages", _stages(seen)),
    ]
    if charts := "".join(chart for step in seen.steps for chart in _charts(step)):
        parts.append(section("Curves", f'<div class="charts">{charts}</div>'))
    if job.kind == "tune" and find_spec("optuna"):
        parts += sections(looked_up(settings, seen.job.id or 0, importance=job.state.over))
    options = [(name, value) for name, value in told(job.options).items()]
    parts.append(section("Asked for", table([], options) if options else "<p>Nothing in particular.</p>"))
    head = AGAIN if online and not job.state.over else ""
    return document(f"job {job.id}: {job.kind}", parts, head=head, above=NAVIGATION if online else "")


def _outcome(seen: JobView, *, online: bool) -> list[str]:
    job = seen.job
    if job.state == JobState.SUCCEEDED:
        said = [f"<p>{escape(line)}</p>" for line in came_to(seen)]
        made = [step.result["model_version_id"] for step in seen.steps if "promoted" in step.result]
        cards = [f"<p>{link(f'/models/{one}', f'The card of version {one}')}</p>" for one in made if online]
        return said + cards
    if job.state.over:
        mend = f"Look: segadmin jobs show {job.id} · run again: segadmin jobs retry {job.id}"
        return [f'<p class="bad">{escape(job.error or str(job.state))}</p><p><code>{escape(mend)}</code></p>']
    return [f"<p>It {escape(waits(seen))}.</p>"] if seen.waits_for else []


def _stages(seen: JobView) -> str:
    rows = [
        (stage.name, stage.state, bar(stage.done), str(len(stage.steps)), stage.took, stage.note)
        for stage in stages(seen)
    ]
    head = ["stage", "state", "done", ">steps", ">took", "note" if any(row[-1] for row in rows) else ""]
    return table(head, rows)


def _charts(step: Step) -> list[str]:
    """Return the charts of a step's curve, those of one model beside each other."""
    models: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for number, figures in step.curve:
        for name, value in figures.items():
            model, _, figure = name.rpartition("/")
            models.setdefault(model, {}).setdefault(figure, []).append((number, value))
    drawn = []
    for model, found in models.items():
        for title, figures, best in _CHARTS:
            there = {words: found[name] for name, words in figures.items() if name in found}
            if there:
                name = " · ".join(filter(None, (step.stage, model, title)))
                drawn.append(lines(name, there, best if next(iter(there)).startswith("validation") else ""))
    return drawn
