"""Snapshots, models and jobs in notebooks: tables with small pictures instead of long lines of text.

What ``segadmin.Client`` returns shows itself. For the records of the Python API on this machine::

    %load_ext segadmin_api.notebook

    from segadmin_api.notebook import show
    show(list_snapshots(session))
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import singledispatch
from typing import Any

from markupsafe import Markup

from segadmin.jobs.control import JobLine, JobView
from segadmin.models.versions import VersionLine
from segadmin.monitoring.snapshot_report import SnapshotReport
from segadmin.snapshots.diff import SnapshotDiff
from segadmin.storage.records import Evaluation, Job, ModelVersion, SegmentSnapshot, SegmentSummary
from segadmin_api.dashboard.curves import learning_curves
from segadmin_api.dashboard.figures import COLOURS
from segadmin_api.dashboard.formats import Formats
from segadmin_api.dashboard.pictures import Bar, bars, sankey
from segadmin_api.dashboard.render import environment
from segadmin_api.schemas import jobs, models, pages, snapshots

#: Rows of a list that are shown.
_ROWS = 50
_FORMATS = Formats()
_count, _share = _FORMATS.count, _FORMATS.share
_OUTSIDE = {"before": "new users", "after": "left"}
#: What users are drawn in who are in one of two snapshots only.
_NOBODY = "#8a8f94"


@dataclass(frozen=True)
class Card:
    """What is shown of a value."""

    title: str
    facts: Sequence[tuple[str, object]] = ()
    columns: Sequence[str] = ()  #: a leading ``>`` aligns to the right
    rows: Sequence[Sequence[object]] = ()
    pictures: Sequence[Markup] = ()
    more: int = 0  #: rows that are left out


@dataclass(frozen=True, repr=False)
class Shown:
    """A value that notebooks show as a card."""

    value: Any

    def _repr_html_(self) -> str:
        return html_of(self.value)

    def __repr__(self) -> str:
        return card(self.value).title


def show(value: Any) -> Shown:
    """Return what a notebook shows of a record, an answer of the client, or a list of either.

    Raises:
        TypeError: nothing is known about such values, when the notebook shows it.
    """
    return Shown(value)


def html_of(value: Any) -> str:
    """Return a record, an answer of the client, or a list of either as HTML.

    Raises:
        TypeError: nothing is known about such values.
    """
    return environment().get_template("notebook.html").render(shown=card(value))


def load_ipython_extension(ipython: Any) -> None:
    """Let a notebook show the records of the Python API; ``%load_ext segadmin_api.notebook`` calls it.

    As text, which notebooks save too, it has their titles alone: some of them hold the keys of users.
    """
    formatters = ipython.display_formatter.formatters
    for kind in _RECORDS:
        formatters["text/html"].for_type(kind, html_of)
        formatters["text/plain"].for_type(kind, _print_title)


def _print_title(value: Any, printer: Any, _is_cyclic: bool) -> None:
    printer.text(card(value).title)


@singledispatch
def card(value: Any) -> Card:
    """Return what is shown of a value.

    Raises:
        TypeError: nothing is known about such values.
    """
    raise TypeError(f"A notebook cannot show a {type(value).__name__} in another way than Python does.")


@card.register(SegmentSnapshot)
@card.register(snapshots.Snapshot)
def _snapshot(row: Any) -> Card:
    return Card(f"Snapshot {row.id}", _snapshot_facts(row))


@card.register
def _snapshot_details(row: snapshots.SnapshotDetails) -> Card:
    return _of_segments(f"Snapshot {row.id}", _snapshot_facts(row), row.segments)


@card.register
def _snapshot_report(report: SnapshotReport) -> Card:
    row = report.snapshot
    return _of_segments(f"Snapshot {row.id}", _snapshot_facts(row), report.segments)


@card.register
def _segments(answer: snapshots.Segments) -> Card:
    return _of_segments("Segments", (), answer.items)


@card.register
def _difference(compared: SnapshotDiff) -> Card:
    return _of_movement(compared.earlier.id, compared.later.id, compared.segments, compared.matrix)


@card.register
def _difference_answer(compared: snapshots.SnapshotDiff) -> Card:
    matrix = {(cell.before, cell.after): cell.users for cell in compared.matrix}
    return _of_movement(compared.earlier, compared.later, compared.segments, matrix)


@card.register
def _model(row: models.ModelVersion) -> Card:
    return _of_model(row, row.name, row.evaluations)


@card.register
def _model_record(row: ModelVersion) -> Card:
    return _of_model(row, row.backbone, ())


@card.register
def _model_line(line: VersionLine) -> Card:
    return _of_model(line.version, line.name, line.evaluations)


@card.register(Job)
@card.register(jobs.Job)
def _job(row: Any) -> Card:
    return Card(f"Job {row.id}: {row.kind}", _job_facts(row))


@card.register
def _job_line(line: JobLine) -> Card:
    return Card(f"Job {line.job.id}: {line.job.kind}", _job_facts(line.job, line.progress.done))


@card.register
def _job_details(row: jobs.JobDetails) -> Card:
    return _of_steps(f"Job {row.id}: {row.kind}", _job_facts(row), row.steps)


@card.register
def _job_view(view: JobView) -> Card:
    job = view.job
    return _of_steps(f"Job {job.id}: {job.kind}", _job_facts(job, view.progress.done), view.steps)


@card.register(pages.Page)
def _page(answer: pages.Page[Any]) -> Card:
    listed = _list(answer.items)
    return replace(listed, facts=[("further pages", "yes")]) if answer.next else listed


@card.register(list)
@card.register(tuple)
def _list(values: Sequence[Any]) -> Card:
    """Return a list as a table: a row for the facts of each value."""
    if not values:
        return Card("Nothing is in this list.")
    if all(isinstance(value, SegmentSummary | snapshots.Segment) for value in values):
        return _of_segments("Segments", (), values)
    cards = [card(value) for value in values[:_ROWS]]
    names = list(dict.fromkeys(name for each in cards for name, _ in each.facts))
    facts = [dict(each.facts) for each in cards]
    rows = [(each.title, *(of.get(name, "") for name in names)) for each, of in zip(cards, facts, strict=True)]
    return Card(f"{len(values)} in this list", (), ["", *names], rows, more=max(len(values) - _ROWS, 0))


def _snapshot_facts(row: Any) -> list[tuple[str, object]]:
    facts: list[tuple[str, object]] = [
        ("labels", row.label_set),
        ("as of", _moment(row.as_of)),
        ("users", _count(row.users)),
        ("moved", _count(row.moved)),
        ("model", row.model_version_id),
    ]
    return [*facts, ("current", "yes")] if getattr(row, "current", False) else facts


def _of_segments(title: str, facts: Sequence[tuple[str, object]], rows: Sequence[Any]) -> Card:
    drawn = [
        Bar(row.segment, row.users, f"{_count(row.users)} ({_share(row.share)})", COLOURS[n % len(COLOURS)])
        for n, row in enumerate(rows)
    ]
    cells = [
        (
            row.segment,
            _count(row.users),
            _share(row.share),
            _share(row.confidence, 0) if row.users else "–",
            ", ".join(f"{each['category']} ×{each['lift']:.1f}" for each in row.distinctive),
        )
        for row in rows
    ]
    columns = ("segment", ">users", ">share", ">confidence", "buys more than others")
    return Card(title, facts, columns, cells, [bars("Users by segment", drawn)] if drawn else [])


def _of_movement(earlier: object, later: object, segments: Sequence[str], matrix: Any) -> Card:
    ordered: list[str | None] = [*segments, None]
    befores = [name for name in ordered if any(before == name for (before, _), users in matrix.items() if users)]
    afters = [name for name in ordered if any(after == name for (_, after), users in matrix.items() if users)]
    colours = {name: COLOURS[n % len(COLOURS)] for n, name in enumerate(segments)}

    def side(names: Iterable[str | None], nobody: str) -> list[tuple[str, str]]:
        return [(nobody if name is None else name, colours.get(name or "", _NOBODY)) for name in names]

    left, right = side(befores, _OUTSIDE["before"]), side(afters, _OUTSIDE["after"])
    flows = {
        (befores.index(before), afters.index(after)): (users, _count(users))
        for (before, after), users in matrix.items()
        if users
    }
    moved = sum(users for (before, after), users in matrix.items() if before != after)
    rows = [
        (name, *(_count(matrix.get((before, after), 0)) for after in afters))
        for (name, _), before in zip(left, befores, strict=True)
    ]
    columns = ["from ↓ to →", *(f">{name}" for name, _ in right)]
    drawn = [sankey("Users by segment before (left) and now (right)", left, right, flows)] if flows else []
    return Card(f"Snapshots {earlier} → {later}", [("moved", _count(moved))], columns, rows, drawn)


def _of_model(row: Any, name: str, evaluations: Sequence[Evaluation | models.Evaluation]) -> Card:
    facts: list[tuple[str, object]] = [
        ("labels", row.label_set),
        ("state", row.state.value),
        ("backbone", name),
        ("text", row.textualizer),
        ("promoted", _moment(row.promoted_at)),
    ]
    tested = [each for each in evaluations if each.split == "test"]
    own = next((each.metrics.get("auroc") for each in tested if each.model_version_id == row.id), None)
    facts.append(("AUROC", _FORMATS.number(own, ".4f")))
    rows = [
        (
            each.name,
            _count(each.rows),
            *(_FORMATS.number(each.metrics.get(metric), ".4f") for metric in ("auroc", "macro_f1", "log_loss", "ece")),
        )
        for each in tested
    ]
    drawn = [
        Bar(each.name, value, f"{value:.3f}", COLOURS[0] if each.model_version_id else COLOURS[4])
        for each in tested
        if (value := each.metrics.get("auroc")) is not None
    ]
    columns = ("test rows", ">rows", ">AUROC", ">macro F1", ">log-loss", ">ECE")
    picture = [bars("AUROC on the test rows", drawn, most=1, mark=(0.5, "chance"))] if drawn else []
    return Card(f"Model {row.id}", facts, columns, rows, picture)


def _job_facts(row: Any, done: float | None = None) -> list[tuple[str, object]]:
    done = getattr(row, "progress", done)
    facts: list[tuple[str, object]] = [("state", row.state.value)]
    if done is not None:
        facts.append(("done", _share(done, 0)))
    facts += [("requested", _moment(row.created_at)), ("finished", _moment(row.finished_at))]
    return [*facts, ("error", row.error)] if row.error else facts


def _of_steps(title: str, facts: Sequence[tuple[str, object]], steps: Sequence[Any]) -> Card:
    rows = [
        (step.stage, step.state.value, _share(step.progress, 0), step.attempt, step.note or step.error or "")
        for step in steps[:_ROWS]
    ]
    curves = [chart for step in steps for chart in learning_curves(step)]
    columns = ("stage", "state", ">done", ">attempt", "note")
    return Card(title, facts, columns, rows, curves, max(len(steps) - _ROWS, 0))


def _moment(value: datetime | None) -> str:
    return f"{value:%Y-%m-%d %H:%M}" if value else "–"


#: The records that a notebook shows by ``%load_ext``; answers of the client show themselves.
_RECORDS: tuple[type, ...] = (
    SegmentSnapshot,
    SnapshotReport,
    SnapshotDiff,
    ModelVersion,
    VersionLine,
    Job,
    JobLine,
    JobView,
)
