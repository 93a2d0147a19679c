"""From an uploaded file to an import: the proposed choice, its preview, and what may be chosen.

Whoever uploads a file may import that file, and nothing else that the server can read: only sources of plain files are
allowed, and no option may name a variable of the environment.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel

from segadmin.contracts.event_kinds import plain_word
from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.source import NOTE, is_reserved
from segadmin.errors import ConfigurationError, DataError, SegadminError
from segadmin.events.field_names import ALSO_CALLED
from segadmin.events.guess import Proposal, propose
from segadmin.events.import_request import ImportRequest, source_of
from segadmin.events.mapping import OPTIONAL, REQUIRED, Mapping
from segadmin.events.preview import Preview, preview
from segadmin.events.sample import first_rows, sample_of
from segadmin.events.uploads import Choice, Upload, upload_path, uploads_folder
from segadmin.files import replace_text
from segadmin.names import check_names
from segadmin.settings import Settings
from segadmin.storage.label_sets import check_label_set

#: Rows of a preview.
PREVIEW_ROWS = 10_000
#: Examples of each problem, and characters of a row.
_EXAMPLES, _LONGEST_ROW = 5, 500
DEFAULT_LABELS = "default"


class UploadPreview(BaseModel):
    """What the import of an upload would do, as far as it can be read."""

    columns: list[str] = []  #: of the file
    preview: Preview | None = None
    problem: str = ""  #: why there is no preview
    notes: list[str] = []  #: of the proposal
    sure: str = ""  #: how certain the proposal is; empty if a person has chosen
    title: str = ""  #: of the proposal


def request_of(settings: Settings, upload: Upload, choice: Choice) -> ImportRequest:
    """Return the import of an upload as chosen.

    Raises:
        ConfigurationError: the mapping, the source or an option cannot be used.
        DataError: there is no such table, or a name cannot be used.
    """
    if choice.table not in REQUIRED:
        raise DataError(f"There is no table {choice.table!r}. There are: {', '.join(REQUIRED)}.")
    mapping = Mapping.of(choice.mapping)
    label_set = (choice.label_set or DEFAULT_LABELS) if choice.table == "labels" else ""
    if choice.table == "labels":
        check_label_set(settings, label_set)
        check_names("segment", choice.segments)
    for name, value in {**mapping.source.options, **choice.options}.items():
        if "$" in value:
            raise ConfigurationError(f"The option {name} of an upload cannot have a $: {value!r}.")
    request = ImportRequest(
        choice.table,
        str(upload_path(settings, upload)),
        mapping,
        source=_source_name(settings, upload, mapping, choice.source),
        options=dict(choice.options),
        again=choice.again,
        label_set=label_set,
        segments=choice.segments,
    )
    source_of(settings, request)
    return request


def _source_name(settings: Settings, upload: Upload, mapping: Mapping, chosen: str | None) -> str:
    """Return the source that reads an upload: the chosen one, else by the suffix of the file, else the mapping's."""
    plugins, path = load_plugins(settings), str(upload_path(settings, upload))
    of_files = {name: source.suffixes for name, source in plugins.classes("source") if source.suffixes}
    if chosen is not None and chosen not in of_files:
        plugins.find("source", chosen)
        raise ConfigurationError(f"The source {chosen!r} reads no uploaded file. Those that do: {', '.join(of_files)}.")
    name = chosen or plugins.choose("source", lambda source: source.takes(path)) or mapping.source.name
    if name is None or name not in of_files:
        suffixes = sorted({suffix for each in of_files.values() for suffix in each})
        raise DataError(
            f"It is not clear what kind of file {upload.name} is. Give it the suffix of its format: "
            f"{', '.join(suffixes)}."
        )
    return name


def preview_upload(settings: Settings, upload: Upload, choice: Choice, rows: int = PREVIEW_ROWS) -> UploadPreview:
    """Return what the import of an upload would do; a file or a choice that cannot be read is no error here."""
    columns: list[str] = []
    try:
        request = request_of(settings, upload, choice)
        columns = _columns(settings, request)
        return UploadPreview(columns=columns, preview=_shortened(preview(settings, request, rows)))
    except pl.exceptions.PanicException as error:  # a damaged file can make a decoder fail in any way
        return UploadPreview(columns=columns, problem=f"{upload.name} cannot be read: {str(error).splitlines()[0]}.")
    except SegadminError as error:
        return UploadPreview(columns=columns, problem=_about_file(str(error), settings, upload))


def propose_choice(
    settings: Settings, upload: Upload, table: str = "events", given: Choice | None = None
) -> tuple[Choice, UploadPreview]:
    """Return how an upload probably is to be imported into ``table``, and its preview.

    Args:
        settings: location of the store.
        upload: the file.
        table: ``events``, ``items`` or ``labels``.
        given: what else is chosen already, such as the source.
    """
    given = given or Choice()
    if table != "events":
        labels = DEFAULT_LABELS if table == "labels" else ""
        return _by_names(settings, upload, replace(given, table=table, label_set=given.label_set or labels))
    try:
        request = request_of(settings, upload, given)
        proposal = propose(settings, request, PREVIEW_ROWS)
        columns = list(sample_of(settings, request, 1).rows.columns)
    except pl.exceptions.PanicException as error:
        return given, UploadPreview(problem=f"{upload.name} cannot be read: {str(error).splitlines()[0]}.")
    except SegadminError as error:
        return given, UploadPreview(problem=_about_file(str(error), settings, upload))
    mapping = Mapping.of_text(proposal.mapping)
    choice = replace(given, mapping=mapping.model_dump(mode="json", exclude_defaults=True))
    return choice, _of_proposal(proposal, columns)


def _of_proposal(proposal: Proposal, columns: list[str]) -> UploadPreview:
    preview = proposal.preview.model_copy(update={"warnings": []}) if proposal.preview is not None else None
    problem = "" if preview is not None else (proposal.warnings or ["The mapping is not complete."])[-1]
    return UploadPreview(
        columns=columns,
        preview=None if preview is None else _shortened(preview),
        problem=problem,
        notes=proposal.warnings,
        sure=proposal.sure,
        title=proposal.title,
    )


def _by_names(settings: Settings, upload: Upload, choice: Choice) -> tuple[Choice, UploadPreview]:
    """Return a choice for items or labels with a mapping by the names of the columns."""
    first = preview_upload(settings, upload, choice)
    free = {plain_word(column): column for column in reversed(first.columns)}
    columns: dict[str, Any] = {}
    for name in (*REQUIRED[choice.table], *OPTIONAL[choice.table]):
        words = (plain_word(name), *ALSO_CALLED.get(name, ()))
        column = next((free.pop(word) for word in words if word in free), None)
        if column is not None and column != name:
            columns[name] = column
    if not columns:
        return choice, first
    choice = replace(choice, mapping={"columns": columns})
    return choice, preview_upload(settings, upload, choice)


def _columns(settings: Settings, request: ImportRequest) -> list[str]:
    """Return the columns of a file."""
    first = first_rows(source_of(settings, request), request, PREVIEW_ROWS)
    return [column for column in first.columns if not is_reserved(column) and not column.startswith(NOTE)]


def _shortened(result: Preview) -> Preview:
    """Return a preview with some examples of each problem, and rows of some length."""
    shown: Counter[str] = Counter()
    problems = []
    for problem in result.problems:
        shown[problem.reason] += 1
        if shown[problem.reason] <= _EXAMPLES:
            problems.append(problem.model_copy(update={"row": problem.row[:_LONGEST_ROW]}))
    return result.model_copy(update={"problems": problems})


def stored_preview(settings: Settings, upload: Upload) -> UploadPreview:
    """Return the preview of an upload as it was chosen last, which is read once."""
    path = _preview_path(settings, upload)
    try:
        return UploadPreview.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return store_preview(settings, upload, preview_upload(settings, upload, upload.choice))


def store_preview(settings: Settings, upload: Upload, result: UploadPreview) -> UploadPreview:
    """Keep the preview of an upload beside it."""
    with suppress(OSError):  # it was removed meanwhile
        replace_text(_preview_path(settings, upload), result.model_dump_json(), settings.umask_bits | 0o007)
    return result


def _preview_path(settings: Settings, upload: Upload) -> Path:
    return uploads_folder(settings) / upload.id / f"preview-{upload.choice.digest}.json"


def _about_file(message: str, settings: Settings, upload: Upload) -> str:
    """Return a message with the name of the file instead of its path, which is the server's own."""
    return message.replace(str(upload_path(settings, upload)), upload.name)
