"""Snapshots, models and jobs in notebooks: tables with small pictures instead of long lines of text.

What ``segadmin.Client`` returns shows itself. For the records of the Python API on this machine::

    %load_ext segadmin_api.notebook

    from segadmin_api.notebook import show
    show(list_snapshots(session))

Cards are in English; ``set_language("zh")`` makes them Chinese.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime
from functools import singledispatch
from typing import Any

from markupsafe import Markup

from segadmin.errors import ConfigurationError, did_you_mean
from segadmin.jobs.control import JobLine, JobView
from segadmin.models.versions import VersionLine
from segadmin.monitoring.snapshot_report import SnapshotReport
from segadmin.snapshots.diff import SnapshotDiff
from segadmin.storage.records import Evaluation, Job, ModelVersion, SegmentSnapshot, SegmentSummary
from segadmin_api.dashboard.curves import learning_curves
from segadmin_api.dashboard.figures import COLOURS
from segadmin_api.dashboard.formats import Formats
from segadmin_api.dashboard.job_notes import note_text
from segadmin_api.dashboard.messages import message_text
from segadmin_api.dashboard.pictures import Bar, bars, sankey
from segadmin_api.dashboard.reader import ENGLISH, LANGUAGES, Reader
from segadmin_api.dashboard.render import environment, name_of, text_of
from segadmin_api.schemas import jobs, models, pages, snapshots
from segadmin_api.schemas.segments import Segments

#: Rows of a list that are shown.
_ROWS = 50
_FORMATS = Formats()
_count, _share = _FORMATS.count, _FORMATS.share
#: Of the cards that are made in this context.
_reader: ContextVar[Reader] = ContextVar("segadmin_notebook_reader", default=ENGLISH)
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
    language: str | None = None

    def _repr_html_(self) -> str:
        return html_of(self.value, self.language)

    def __repr__(self) -> str:
        return card(self.value).title


def set_language(language: str) -> None:
    """Show cards in a language: ``en``, the default, or ``zh``.

    Raises:
        ConfigurationError: there are no texts in that language.
    """
    _reader.set(_reader_of(language))


def show(value: Any, language: str | None = None) -> Shown:
    """Return what a notebook shows of a record, an answer of the client, or a list of either.

    Raises:
        ConfigurationError: there are no texts in ``language``.
        TypeError: nothing is known about such values, when the notebook shows it.
    """
    if language is not None:
        _reader_of(language)
    return Shown(value, language)


def html_of(value: Any, language: str | None = None) -> str:
    """Return a record, an answer of the client, or a list of either as HTML.

    Args:
        value: to show.
        language: ``en`` or ``zh``; ``None``: that of :func:`set_language`.

    Raises:
        ConfigurationError: there are no texts in ``language``.
        TypeError: nothing is known about such values.
    """
    reader = _reader.get() if language is None else _reader_of(language)
    before = _reader.set(reader)
    try:
        return environment(reader.formats).get_template("notebook.html").render(shown=card(value))
    finally:
        _reader.reset(before)


def _reader_of(language: str) -> Reader:
    if language not in LANGUAGES:
        raise ConfigurationError(f"There is no language {language!r}.{did_you_mean(language, LANGUAGES)}")
    return Reader(language)


def _text(text: str, **values: object) -> str:
    """Return an English text in the language of the cards."""
    return text_of(_reader.get(), text, **values)


def _title_of_job(job: Any) -> str:
    kind = name_of(_reader.get(), job.kind, "job")
    return _text("Job %(number)s: %(kind)s", number=job.id, kind=kind)


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
    return Card(_text("Snapshot %(number)s", number=row.id), _snapshot_facts(row))


@card.register
def _snapshot_details(row: snapshots.SnapshotDetails) -> Card:
    return _of_segments(_text("Snapshot %(number)s", number=row.id), _snapshot_facts(row), row.segments)


@card.register
def _snapshot_report(report: SnapshotReport) -> Card:
    row = report.snapshot
    return _of_segments(_text("Snapshot %(number)s", number=row.id), _snapshot_facts(row), report.segments)


@card.register
def _segments(answer: Segments) -> Card:
    return _of_segments(_text("Segments"), (), answer.items)


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
    return Card(_title_of_job(row), _job_facts(row))


@card.register
def _job_line(line: JobLine) -> Card:
    return Card(_title_of_job(line.job), _job_facts(line.job, line.progress.done))


@card.register
def _job_details(row: jobs.JobDetails) -> Card:
    return _of_steps(_title_of_job(row), _job_facts(row), row.steps)


@card.register
def _job_view(view: JobView) -> Card:
    job = view.job
    return _of_steps(_title_of_job(job), _job_facts(job, view.progress.done), view.steps)


@card.register(pages.Page)
def _page(answer: pages.Page[Any]) -> Card:
    listed = _list(answer.items)
    return replace(listed, facts=[(_text("further pages"), _text("yes"))]) if answer.next else listed


@card.register(list)
@card.register(tuple)
def _list(values: Sequence[Any]) -> Card:
    """Return a list as a table: a row for the facts of each value."""
    if not values:
        return Card(_text("Nothing is in this list."))
    if all(isinstance(value, SegmentSummary | snapshots.Segment) for value in values):
        return _of_segments(_text("Segments"), (), values)
    cards = [card(value) for value in values[:_ROWS]]
    names = list(dict.fromkeys(name for each in cards for name, _ in each.facts))
    facts = [dict(each.facts) for each in cards]
    rows = [(each.title, *(of.get(name, "") for name in names)) for each, of in zip(cards, facts, strict=True)]
    title = _text("%(count)s in this list", count=len(values))
    return Card(title, (), ["", *names], rows, more=max(len(values) - _ROWS, 0))


def _snapshot_facts(row: Any) -> list[tuple[str, object]]:
    facts: list[tuple[str, object]] = [
        (_text("labels"), row.label_set),
        (_text("as of"), _moment(row.as_of)),
        (_text("users"), _count(row.users)),
        (_text("moved"), _count(row.moved)),
        (_text("model"), row.model_version_id),
    ]
    return [*facts, (_text("current"), _text("yes"))] if getattr(row, "current", False) else facts


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
    numbers = _right(_text("users"), _text("share"), _text("confidence"))
    columns = (_text("segment"), *numbers, _text("buys more than others"))
    return Card(title, facts, columns, cells, [bars(_text("Users by segment"), drawn)] if drawn else [])


def _of_movement(earlier: object, later: object, segments: Sequence[str], matrix: Any) -> Card:
    ordered: list[str | None] = [*segments, None]
    befores = [name for name in ordered if any(before == name for (before, _), users in matrix.items() if users)]
    afters = [name for name in ordered if any(after == name for (_, after), users in matrix.items() if users)]
    colours = {name: COLOURS[n % len(COLOURS)] for n, name in enumerate(segments)}

    def side(names: Iterable[str | None], nobody: str) -> list[tuple[str, str]]:
        return [(nobody if name is None else name, colours.get(name or "", _NOBODY)) for name in names]

    left, right = side(befores, _text("new users")), side(afters, _text("left"))
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
    columns = [_text("from ↓ to →"), *(f">{name}" for name, _ in right)]
    drawn = [sankey(_text("Users by segment before (left) and now (right)"), left, right, flows)] if flows else []
    title = _text("Snapshots %(earlier)s → %(later)s", earlier=earlier, later=later)
    return Card(title, [(_text("moved"), _count(moved))], columns, rows, drawn)


def _of_model(row: Any, name: str, evaluations: Sequence[Evaluation | models.Evaluation]) -> Card:
    facts: list[tuple[str, object]] = [
        (_text("labels"), row.label_set),
        (_text("state"), _text(row.state.value)),
        (_text("backbone"), name),
        (_text("text"), row.textualizer),
        (_text("promoted"), _moment(row.promoted_at)),
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
    columns = (_text("test rows"), *_right(_text("rows"), "AUROC", _text("macro F1"), _text("log-loss"), "ECE"))
    picture = [bars(_text("AUROC on the test rows"), drawn, most=1, mark=(0.5, _text("chance")))] if drawn else []
    return Card(_text("Model %(number)s", number=row.id), facts, columns, rows, picture)


def _job_facts(row: Any, done: float | None = None) -> list[tuple[str, object]]:
    done = getattr(row, "progress", done)
    facts: list[tuple[str, object]] = [(_text("state"), _text(row.state.value))]
    if done is not None:
        facts.append((_text("done"), _share(done, 0)))
    facts += [(_text("requested"), _moment(row.created_at)), (_text("finished"), _moment(row.finished_at))]
    return [*facts, (_text("error"), message_text(_reader.get().language, row.error))] if row.error else facts


def _of_steps(title: str, facts: Sequence[tuple[str, object]], steps: Sequence[Any]) -> Card:
    reader = _reader.get()
    rows = [
        (
            name_of(reader, step.stage, "stage"),
            _text(step.state.value),
            _share(step.progress, 0),
            step.attempt,
            note_text(reader, step.note) if step.note else message_text(reader.language, step.error or ""),
        )
        for step in steps[:_ROWS]
    ]
    curves = [chart for step in steps for chart in learning_curves(step, reader)]
    columns = (_text("stage"), _text("state"), *_right(_text("done"), _text("attempt")), _text("note"))
    return Card(title, facts, columns, rows, curves, max(len(steps) - _ROWS, 0))


def _right(*columns: str) -> list[str]:
    """Return columns that are aligned to the right."""
    return [f">{column}" for column in columns]


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
