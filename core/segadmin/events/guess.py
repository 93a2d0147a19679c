"""Proposal of a mapping for a file: of a known layout, or else from names and cells of the columns.

Proposals are not imported automatically; a person checks them first.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel

from segadmin.contracts.event_kinds import KIND_ALIASES, KINDS, kind_of
from segadmin.errors import DataError, SegadminError
from segadmin.events.advice import toml_text
from segadmin.events.column_facts import ColumnFacts
from segadmin.events.guess_columns import Guess, guess_columns
from segadmin.events.import_request import ImportRequest
from segadmin.events.layouts import Layout, recognise
from segadmin.events.mapping import REQUIRED, Mapping
from segadmin.events.preview import Preview, preview
from segadmin.events.sample import Sample, sample_of
from segadmin.events.time_formats import fitting_formats
from segadmin.settings import Settings

#: Maximum fraction of rows with an unusable kind or time for the layout to be certain.
_MAX_UNUSABLE = 0.05
_TIMES_LINE = re.compile(r"^times = .*\n", re.MULTILINE)


class Reason(BaseModel):
    """The reason for assigning a column to a field."""

    field: str
    column: str
    why: str
    sure: bool


class Proposal(BaseModel):
    """A proposed mapping for a file, with its confidence."""

    layout: str | None  #: the shipped mapping that matches the file's layout
    title: str
    sure: Literal["certain", "likely", "unsure"]
    reasons: list[Reason]
    mapping: str  #: in TOML
    as_shipped: bool  #: whether ``mapping`` is the unchanged shipped file
    warnings: list[str]
    preview: Preview | None  #: result of an import of the first rows; ``None`` if the mapping cannot be used yet
    items: dict[str, str]  #: fields of items in the same file → columns

    @property
    def source_options(self) -> dict[str, str]:
        """The mapping's options of the source."""
        return Mapping.of_text(self.mapping).source.options


def propose(settings: Settings, request: ImportRequest, rows: int) -> Proposal:
    """Return a mapping for the events in the file of ``request``, based on its first ``rows`` rows.

    Raises:
        ConfigurationError: the source's options cannot be used.
        DataError: the file cannot be read.
    """
    if request.table != "events":
        raise DataError("Only mappings of events are guessed. Leave out --guess, or: --table events")
    sample = sample_of(settings, request, rows)
    layout = recognise(sample.rows, headerless=sample.headerless)
    proposal = _of_layout(layout, sample) if layout else _of_columns(sample)
    return _with_preview(settings, request, rows, proposal, sample)


def _with_preview(
    settings: Settings, request: ImportRequest, rows: int, proposal: Proposal, sample: Sample
) -> Proposal:
    """Return the proposal with a preview of the first rows, warnings, and adjusted confidence."""
    warnings = [*proposal.warnings, *_unreadable(sample)]
    mapping = Mapping.of_text(proposal.mapping)
    try:
        result = preview(settings, replace(request, mapping=mapping), rows)
    except SegadminError as error:
        return proposal.model_copy(update={"warnings": [*warnings, str(error)], "sure": "unsure"})
    unusable = result.reasons.get("unknown_kind", 0) + result.reasons.get("bad_time", 0)
    is_usable = unusable <= _MAX_UNUSABLE * max(1, result.rows)
    sure = proposal.sure if is_usable else "unsure" if proposal.layout is None else "likely"
    return proposal.model_copy(update={"preview": result, "warnings": [*warnings, *result.warnings], "sure": sure})


def _unreadable(sample: Sample) -> list[str]:
    if bad := sample.unreadable.get("bad_encoding"):
        return [
            f"Rows that are not UTF-8: {bad:,}. Name the encoding, as in -o encoding=windows-1252 or encoding=gb18030."
        ]
    return []


def _of_layout(layout: Layout, sample: Sample) -> Proposal:
    shipped = layout.mapping
    text, warnings = _with_times(shipped.text, sample) if not sample.headerless else (shipped.text, [])
    columns = {name: column for name, column in layout.items if sample.headerless or column in sample.rows.columns}
    return Proposal(
        layout=layout.name,
        title=shipped.title,
        sure="certain",
        reasons=[],
        mapping=text,
        as_shipped=text == shipped.text,
        warnings=warnings,
        preview=None,
        items=columns if len(columns) > 1 else {},
    )


def _with_times(text: str, sample: Sample) -> tuple[str, list[str]]:
    """Return a shipped mapping, changed to the time format of this file if that differs."""
    mapping = Mapping.of_text(text)
    column = mapping.columns["at"]
    if column not in sample.rows.columns:
        return text, []
    facts = ColumnFacts(column, sample.rows[column])
    formats = fitting_formats(facts.cells.to_list()) if facts.times < 0.8 else []
    if facts.times >= 0.8 and mapping.times:
        return _TIMES_LINE.sub("", text), []
    if not formats or set(mapping.times) & set(formats):
        return text, []
    lines, warnings = _times_lines(formats)
    return "\n".join([*lines, _TIMES_LINE.sub("", text)]), warnings


def _of_columns(sample: Sample) -> Proposal:
    guess = guess_columns(sample.rows)
    draft = _Draft(guess, sample)
    missing = [name for name in REQUIRED["events"] if name not in guess.choices and name not in draft.constants]
    unsure = [choice for choice in guess.choices.values() if not choice.sure]
    needed = [choice for choice in unsure if choice.field in REQUIRED["events"]]
    warnings = [
        *(f'No column looks like {name}. Put it into [columns]: {name} = "COLUMN"' for name in missing),
        *(f"{choice.field} is only guessed: {choice.column} ({choice.why}). Check it." for choice in unsure),
        *draft.warnings,
    ]
    return Proposal(
        layout=None,
        title="no known layout; proposed from the names and cells of the columns",
        sure="unsure" if missing or needed else "likely",
        reasons=[Reason(**vars(choice)) for choice in guess.choices.values()],
        mapping=draft.text(missing),
        as_shipped=False,
        warnings=warnings,
        preview=None,
        items={},
    )


class _Draft:
    """Builds a mapping file from a guess."""

    def __init__(self, guess: Guess, sample: Sample) -> None:
        self._guess, self._headerless = guess, sample.headerless
        self._columns = sample.rows.columns
        self.warnings: list[str] = []
        self.constants = self._constants()
        self._times = self._times_of("at")
        self.warnings += self._about_zone()
        if guess.price_is_open:
            column = toml_text(guess.choices["price"].column)
            self.warnings.append(
                f"price is what the whole line costs. If {column} is of one item, write unit_price = {column} instead."
            )

    def text(self, missing: list[str]) -> str:
        """Return the mapping as TOML."""
        guess = self._guess
        lines = ["# Proposed by segadmin data preview --guess: check it before you import."]
        if guess.order_number:
            lines.append(f"extras = [{toml_text(self._name(guess.order_number))}]  # an order's number is no event_id")
        if guess.each:
            lines.append(f"each = {toml_text(guess.each)}")
        lines += self._times
        if self._headerless:
            header = ",".join(self._name(column) for column in self._columns)
            lines += ["", "[source]", 'name = "csv"', f"options = {{ header = {toml_text(header)} }}"]
        lines += ["", "[columns]", *(f'# {name} = "COLUMN"' for name in missing)]
        for choice in guess.choices.values():
            if self._name(choice.column) != choice.field:
                lines.append(f"{choice.field} = {toml_text(choice.column)}  # {choice.why}")
        lines += self._table("constants", self.constants)
        return "\n".join([*lines, *self._kinds()]) + "\n"

    def _name(self, column: str) -> str:
        """Return the name of a column; in a file without a header, that of its field."""
        fields = {choice.column: choice.field for choice in self._guess.choices.values()}
        return fields.get(column, column) if self._headerless else column

    def _constants(self) -> dict[str, str]:
        """Return a constant kind if there is no kind column: purchase or rating, from the other columns."""
        choices = self._guess.choices
        if "kind" in choices:
            return {}
        if self._guess.order_number or {"quantity", "price", "unit_price"} & choices.keys():
            kind = "purchase"
        elif "rating" in choices:
            kind = "rating"
        else:
            return {}
        self.warnings.append(f"No column looks like kind; every row is taken for a {kind}. Check it.")
        return {"kind": kind}

    def _times_of(self, name: str) -> list[str]:
        choice = self._guess.choices.get(name)
        formats = self._guess.facts[choice.column].formats if choice and choice.column in self._guess.facts else []
        lines, warnings = _times_lines(formats) if formats else ([], [])
        self.warnings += warnings
        return lines

    def _about_zone(self) -> list[str]:
        """Return a warning if the times have no time zone."""
        choice = self._guess.choices.get("at")
        facts = self._guess.facts.get(choice.column) if choice else None
        if facts is None or facts.has_zones:
            return []
        zone = "Europe/Berlin" if all(name.isascii() for name in self._columns) else "Asia/Shanghai"
        return [f'The times have no zone and are read as UTC. If they are of another clock, add: timezone = "{zone}"']

    def _kinds(self) -> list[str]:
        """Return the table of kinds, with unknown words as comments."""
        choice = self._guess.choices.get("kind")
        if choice is None or choice.column not in self._guess.facts:
            return []
        words = self._guess.facts[choice.column].words
        known_words, lines = {*KINDS, *KIND_ALIASES}, []
        for word, rows in words.items():
            kind = kind_of(word)
            if kind is None:
                lines.append(f'# {toml_text(word)} = "ignore"  # or view, cart, purchase, return, …; rows: {rows:,}')
            elif word.lower() not in known_words:
                lines.append(f'{toml_text(word)} = "{kind}"')
        return ["", "[kinds]", *lines] if lines else []

    @staticmethod
    def _table(name: str, values: dict[str, str]) -> list[str]:
        return ["", f"[{name}]", *(f"{key} = {toml_text(value)}" for key, value in values.items())] if values else []


def _times_lines(formats: list[str]) -> tuple[list[str], list[str]]:
    """Return the mapping lines for time formats, as comments if there are several, and a warning in that case."""
    if len(formats) == 1:
        return [f"times = [{toml_text(formats[0])}]"], []
    lines = [f"# times = [{toml_text(time_format)}]" for time_format in formats]
    choices = " or ".join(time_format.removeprefix("# ") for time_format in lines)
    return lines, [f"The times can be read in {len(formats)} ways, and these rows do not show which: write {choices}."]
