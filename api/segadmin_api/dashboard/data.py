"""The pages of the data: imports, the profile, quarantine, label sets and merges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segadmin.events.import_records import STATES
from segadmin.events.interrupted import Interrupted, state_of
from segadmin.events.keys import show_key
from segadmin.events.mapping import Mapping as FieldMapping
from segadmin.events.profile import Profile
from segadmin.events.quarantine_reasons import explanation
from segadmin.events.saved_mappings import mapping_text
from segadmin.events.spool import Spool
from segadmin.storage.records import Import, LabelSet, UserMerge
from segadmin.urls import mask_all
from segadmin.workflows.profile import StoredProfile
from segadmin_api.dashboard.charts import events_by_day
from segadmin_api.dashboard.data_report import figures_of
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import served, text_of
from segadmin_api.formatting import option_texts

#: The entry of the navigation, and characters of a quarantined row on a page.
HERE, _LONGEST_ROW = "/data", 500


def imports_page(
    imports: Sequence[Import],
    reader: Reader,
    *,
    importing: bool = False,
    state: str = "",
    older: int | None = None,
    newest: bool = True,
) -> str:
    """Return the page of imports, newest first.

    Args:
        imports: on this page.
        reader: who reads it.
        importing: whether an import runs now.
        state: only imports in this state are listed.
        older: the import before which the next page begins; ``None``: there is none.
        newest: whether it is the first page.
    """
    rows = [(row, state_of(row, importing=importing)) for row in imports]
    content = {"rows": rows, "states": STATES, "state": state, "older": older, "newest": newest}
    return served("imports.html", text_of(reader, "data"), HERE, reader, tab="/data", **content)


def import_page(
    row: Import, reader: Reader, *, importing: bool, waiting: Mapping[str, int], samples: Mapping[str, Sequence[Any]]
) -> str:
    """Return the page of an import.

    Args:
        row: its record.
        reader: who reads it.
        importing: whether an import runs now.
        waiting: reason → rows that are in quarantine now.
        samples: reason → some of those rows; empty if the reader may not see them.
    """
    reasons = [(reason, count, explanation(reason), samples.get(reason, ())) for reason, count in waiting.items()]
    gone = {reason: count for reason, count in row.reasons.items() if reason not in waiting}
    mapping = mask_all(row.mapping)
    content = {
        "row": row,
        "state": state_of(row, importing=importing),
        "reasons": reasons,
        "gone": gone,
        "mapping": mapping_text(FieldMapping.of(mapping)) if mapping else "",
        "command": Interrupted(Spool(Path()), row).command,
    }
    title = text_of(reader, "import %(number)s", number=row.id)
    return served("import.html", title, HERE, reader, tab="/data", **content)


def profile_page(
    stored: StoredProfile | None, reader: Reader, *, pending: int | None = None, is_empty: bool = False
) -> str:
    """Return the page of the profile: the newest that a job has made.

    Args:
        stored: the profile; ``None`` if there is none.
        reader: who reads it.
        pending: the job that is making another one.
        is_empty: whether there are no events.
    """
    content: dict[str, Any] = {"stored": stored, "pending": pending, "is_empty": is_empty}
    if stored is not None:
        profile = Profile.model_validate(stored.profile)
        content |= {"profile": profile, "figures": figures_of(profile), "chart": events_by_day(profile, reader)}
    title = text_of(reader, "profile of the data")
    return served("profile.html", title, HERE, reader, tab="/data/profile", **content)


def quarantine_page(
    rows: Sequence[Mapping[str, Any]],
    counts: Mapping[str, int],
    reader: Reader,
    *,
    number: int | None = None,
    reason: str = "",
    after: str = "",
    first: bool = True,
) -> str:
    """Return the page of rows that could not be imported.

    Args:
        rows: on this page.
        counts: reason → rows, of the import if one is chosen.
        reader: who reads it.
        number: only rows of this import.
        reason: only rows with this reason.
        after: where the next page begins; empty: there is none.
        first: whether it is the first page.
    """
    shown = [{**row, "row": short(row["row"])} for row in rows]
    reasons = [(name, count, explanation(name)) for name, count in counts.items()]
    content = {"rows": shown, "reasons": reasons, "number": number, "reason": reason, "after": after, "first": first}
    return served("quarantine.html", text_of(reader, "quarantine"), HERE, reader, tab="/data/quarantine", **content)


def labels_page(label_sets: Sequence[LabelSet], labelers: Sequence[str], reader: Reader) -> str:
    """Return the page of label sets, and the form that derives one by one of the ``labelers``."""
    rows = [(row, option_texts(row.definition)) for row in label_sets]
    title = text_of(reader, "label sets")
    return served("labels.html", title, HERE, reader, tab="/data/labels", rows=rows, labelers=labelers)


def merges_page(
    merges: Sequence[UserMerge],
    reader: Reader,
    *,
    older: int | None = None,
    newest: bool = True,
    old: str = "",
    new: str = "",
    problem: str = "",
) -> str:
    """Return the page of merged users, newest first, and the form that merges two.

    Args:
        merges: on this page.
        reader: who reads it.
        older: the merge before which the next page begins; ``None``: there is none.
        newest: whether it is the first page.
        old: the user who was to be merged.
        new: the user to merge into.
        problem: why they were not.
    """
    rows = [(row, show_key(row.old_key), show_key(row.new_key)) for row in merges]
    content = {"rows": rows, "older": older, "newest": newest, "old": old, "new": new, "problem": problem}
    return served("merges.html", text_of(reader, "merged users"), HERE, reader, tab="/data/merges", **content)


def short(row: str) -> str:
    """Return a row as pages show it."""
    return row if len(row) <= _LONGEST_ROW else f"{row[:_LONGEST_ROW]}…"
