"""The pages of uploaded files: the upload, and how a file is to be imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from segadmin.contracts.event_kinds import IGNORE, KINDS
from segadmin.errors import DataError
from segadmin.events.mapping import OPTIONAL, REQUIRED, RETURN
from segadmin.events.mapping import Mapping as FieldMapping
from segadmin.events.quarantine_reasons import explanation
from segadmin.events.saved_mappings import mapping_text
from segadmin.events.upload_import import UploadPreview
from segadmin.events.uploads import Choice, Upload
from segadmin.jobs.control import JobView
from segadmin.storage.records import Job, SavedMapping
from segadmin_api.dashboard.data import HERE
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import served, text_of

TABLES = ("events", "items", "labels")
#: What fields are, for whoever assigns columns to them.
FIELDS = {
    "user": "Who: the shop's id of the user",
    "kind": "What was done: view, cart, purchase, rating or review",
    "item": "The shop's id of the item",
    "at": "When it was done",
    "quantity": "How many pieces",
    "price": "What the whole line costs",
    "unit_price": "What one piece costs",
    "duration": "How long it took",
    "rating": "How many stars",
    "text": "What was written",
    "event_id": "An id that no other event has",
    "status": "The status of the order",
    "currency": "The currency of the price",
    "title": "The name of the item",
    "category": "The category of the item",
    "brand": "The brand of the item",
    "segment": "The segment of the user",
    "observed_from": "From when events are read",
    "as_of": "Until when events are read",
    "outcome_until": "Until when the outcome was observed",
}
#: Options of the sources of files that are asked for, by the name of the source.
_OF_CSV, _OF_JSON = ("encoding", "separator", "header", "skip"), ("encoding", "records")
OPTIONS = {
    "encoding": "Encoding, such as gb18030",
    "separator": "Separator of cells",
    "header": "Names of the columns, if the file has none",
    "skip": "Lines above the header",
    "records": "Key of the list of records",
}
ZONES = (
    *("UTC", "Asia/Shanghai", "Asia/Hong_Kong", "Asia/Singapore", "Asia/Tokyo", "Europe/Berlin", "Europe/London"),
    *("America/New_York", "America/Los_Angeles"),
)
#: Words about how sure a proposal is.
SURE = {
    "certain": "Certain: the file has a known layout",
    "likely": "Likely: names and cells fit",
    "unsure": "Unsure: check it",
}


def upload_page(
    uploads: Sequence[tuple[Upload, Job | None]],
    mappings: Sequence[SavedMapping],
    reader: Reader,
    *,
    most: int,
    problem: str = "",
) -> str:
    """Return the page that takes a file, with the files that wait and the saved mappings.

    Args:
        uploads: files that wait, each with the job that imports it.
        mappings: that were saved.
        reader: who reads it.
        most: bytes that a file may have.
        problem: why a file was not taken.
    """
    content = {"uploads": uploads, "mappings": mappings, "most": most, "problem": problem}
    return served("upload.html", text_of(reader, "upload a file"), HERE, reader, tab="/data/upload", **content)


def wizard_page(
    upload: Upload,
    result: UploadPreview,
    reader: Reader,
    *,
    mappings: Sequence[str] = (),
    job: Job | None = None,
    values: Mapping[str, str] | None = None,
    problem: str = "",
) -> str:
    """Return the page on which the import of a file is chosen.

    Args:
        upload: the file, with what was chosen last.
        result: what its import would do.
        reader: who reads it.
        mappings: names of mappings that can be taken.
        job: that imports the file.
        values: of the form, if it cannot be used as it was sent.
        problem: why not.
    """
    choice = upload.choice
    mapping = FieldMapping.of(choice.mapping)
    reasons = [] if result.preview is None else _reasons(result)
    content = {
        "upload": upload,
        "result": result,
        "preview": result.preview,
        "reasons": reasons,
        "values": values or form_values(choice, result),
        "text": (values or {}).get("text") or mapping_text(mapping),
        "required": REQUIRED[choice.table],
        "fields": {name: FIELDS[name] for name in (*REQUIRED[choice.table], *OPTIONAL[choice.table])},
        "options": {name: OPTIONS[name] for name in _options(upload)},
        "tables": TABLES,
        "zones": ZONES,
        "mappings": mappings,
        "job": job,
        "problem": problem,
        "sure": SURE.get(result.sure, ""),
        "wrong": "timezone" if problem.startswith("There is no time zone") else problem.partition(":")[0],
    }
    return served(
        "wizard.html", text_of(reader, "import %(file)s", file=upload.name), HERE, reader, tab="/data/upload", **content
    )


def _options(upload: Upload) -> tuple[str, ...]:
    name = upload.name.lower()
    if ".parquet" in name or name.endswith(".pq"):
        return ()
    return _OF_JSON if ".json" in name or ".ndjson" in name else _OF_CSV


def _reasons(result: UploadPreview) -> list[Any]:
    assert result.preview is not None
    return [
        (reason, count, explanation(reason), [each for each in result.preview.problems if each.reason == reason])
        for reason, count in result.preview.reasons.items()
    ]


def result_page(reader: Reader, view: JobView, upload: str) -> str:
    """Return the page of an import that is not over, or has failed.

    Args:
        reader: who reads it.
        view: its job.
        upload: the file; empty if it is gone.
    """
    job = view.job
    content = {
        "state": job.state.value,
        "done": view.progress.done,
        "note": next((step.note for step in view.steps if step.note), "") or "",
        "error": job.error if job.state.over else "",
        "job": job.id,
        "upload": upload,
        "refresh": not job.state.over,
    }
    return served("result.html", text_of(reader, "import"), HERE, reader, tab="/data/upload", **content)


def form_values(choice: Choice, result: UploadPreview) -> dict[str, str]:
    """Return what the fields of the form hold for a choice."""
    mapping = FieldMapping.of(choice.mapping)
    columns = {
        f"column.{name}": " | ".join([column, *mapping.fallbacks.get(name, ())])
        for name, column in mapping.columns.items()
    }
    own = {f"column.{name}": name for name in FIELDS if name in result.columns and name not in mapping.constants}
    words = dict(mapping.kinds)
    problems = result.preview.problems if result.preview is not None else []
    words |= {
        each.value: "" for each in problems if each.reason == "unknown_kind" and each.value and each.value not in words
    }
    return {
        **own,
        **columns,
        **{f"constant.{name}": value for name, value in mapping.constants.items()},
        **{f"option.{name}": value for name, value in {**mapping.source.options, **choice.options}.items()},
        "kinds": "\n".join(f"{word} = {kind}" for word, kind in words.items()),
        "extras": "\n".join(mapping.extras),
        "timezone": mapping.timezone,
        "times": "\n".join(mapping.times),
        "decimal": mapping.decimal or "",
        "thousands": mapping.thousands or "",
        "currency": mapping.currency or "",
        "price": mapping.units.price,
        "duration": mapping.units.duration,
        "rating": "" if mapping.units.rating is None else f"{mapping.units.rating:g}",
        "label_set": choice.label_set,
        "segments": ", ".join(choice.segments),
    }


def choice_of(values: Mapping[str, str], base: Choice) -> Choice:
    """Return the choice that the fields of the form hold; what the form has no field for stays as in ``base``.

    Raises:
        DataError: a line of words is none.
        ConfigurationError: a value cannot be used; the message begins with its name.
    """
    lists = {
        name.removeprefix("column."): [part.strip() for part in value.split(" | ") if part.strip()]
        for name, value in values.items()
        if name.startswith("column.") and value.strip()
    }
    columns = {name: parts[0] if len(parts) == 1 else parts for name, parts in lists.items()}
    constants = _named(values, "constant.")
    units: dict[str, Any] = {"price": values.get("price") or "1", "duration": values.get("duration") or "seconds"}
    if values.get("rating", "").strip():
        units["rating"] = values["rating"].strip().replace(",", ".")
    kept = {name: value for name, value in base.mapping.items() if name not in {"columns", "fallbacks", "source"}}
    options = _named(values, "option.")
    mapping = kept | {
        "columns": {name: column for name, column in columns.items() if name not in constants},
        "constants": constants,
        "kinds": _kinds(values.get("kinds", "")),
        "extras": [line.strip() for line in values.get("extras", "").splitlines() if line.strip()],
        "timezone": values.get("timezone", "").strip() or "UTC",
        "times": [line.strip() for line in values.get("times", "").splitlines() if line.strip()],
        "decimal": values.get("decimal") or None,
        "thousands": values.get("thousands") or None,
        "currency": values.get("currency", "").strip() or None,
        "units": units,
    }
    checked = FieldMapping.of(mapping)
    segments = tuple(part.strip() for part in values.get("segments", "").split(",") if part.strip())
    return Choice(
        base.table,
        checked.model_dump(mode="json", exclude_defaults=True),
        options,
        values.get("label_set", "").strip(),
        segments,
        base.source,
        base.again,
    )


def _named(values: Mapping[str, str], prefix: str) -> dict[str, str]:
    given = {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
    return {name: value if name == "separator" else value.strip() for name, value in given.items() if value.strip(" ")}


def _kinds(text: str) -> dict[str, str]:
    """Return the words of the lines ``word = kind``; a line without a kind is left out."""
    kinds = {}
    for line in filter(str.strip, text.splitlines()):
        word, sign, kind = line.rpartition("=")
        if not sign:
            known = ", ".join((*KINDS, RETURN, IGNORE))
            raise DataError(f"kinds: {line.strip()!r} is not word = kind. Kinds are {known}.")
        if kind.strip():
            kinds[word.strip()] = kind.strip()
    return kinds
