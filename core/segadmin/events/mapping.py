"""The mapping: how a shop's columns, words and units become ours. A file of its own (``mapping.toml``), or options."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from segadmin.contracts.event_kinds import IGNORE, KINDS, plain_word
from segadmin.errors import ConfigurationError, DataError, did_you_mean
from segadmin.events.field_names import ALSO_CALLED
from segadmin.events.shipped import mapping_file
from segadmin.events.time_formats import check_format
from segadmin.timezones import zone

if TYPE_CHECKING:
    import polars as pl

#: The fields that a file can give, by table; those that must be there come first.
REQUIRED = {"events": ("user", "kind", "item", "at"), "items": ("item",), "labels": ("user", "segment")}
OPTIONAL = {
    "events": (
        "quantity",
        "price",
        "unit_price",
        "duration",
        "rating",
        "text",
        "event_id",
        "status",
        "currency",
    ),
    "items": ("title", "category", "brand", "price"),
    "labels": ("observed_from", "as_of", "outcome_until"),
}

#: Goods given back: a purchase with a price below zero.
RETURN = "return"
#: What Polars adds to a column's name that a CSV header has for the second time.
SECOND = "_duplicated_0"
#: What databases and tools write where there is nothing: MySQL, Hive and PostgreSQL, SQL, JSON, pandas, JavaScript, and
#: spreadsheets, also where a formula failed.
NULLS = (
    *(r"\N", "NULL", "null", "NaN", "nan", "NaT", "<NA>", "undefined", "[object Object]"),
    *("#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!"),
)


def _known_kind(kind: str) -> str:
    known = (*KINDS, RETURN, IGNORE)
    if kind not in known:
        raise ValueError(f"there is no kind {kind!r}.{did_you_mean(kind, known)}")
    return kind


def _known_zone(name: str) -> str:
    zone(name)
    return name


def _several(given: Any) -> Any:
    """Take one word for a list of one."""
    return (given,) if isinstance(given, str) else given


_TimeFormats = Annotated[tuple[Annotated[str, AfterValidator(check_format)], ...], BeforeValidator(_several)]
_Words = Annotated[tuple[str, ...], BeforeValidator(_several)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Units(_Part):
    """What the shop's numbers count."""

    duration: Literal["milliseconds", "seconds", "minutes"] = "seconds"
    price: Literal["1", "0.01"] = "1"  #: 0.01: cents, 分
    rating: Annotated[float, Field(gt=0)] | None = None  #: the best rating, brought to 5; default: kept as it is

    @property
    def factors(self) -> dict[str, float]:
        """What to multiply each field by."""
        rating = {} if self.rating is None else {"rating": 5 / self.rating}
        duration = {"milliseconds": 0.001, "seconds": 1.0, "minutes": 60.0}[self.duration]
        return {"duration": duration, "price": float(self.price), "unit_price": float(self.price), **rating}


class Rules(_Part):
    """The rules that can be chosen; each one is counted under its name."""

    bot_events_per_day: Annotated[int, Field(ge=0)] = 2_000  #: more of a user on one day is a bot; 0: no such rule
    clean_text: bool = True  #: take HTML and control characters out, bring full-width letters and digits to half width
    mask_personal: bool = True  #: put ``[phone]`` and the like for what tells who somebody is
    cancelled: tuple[str, ...] | None = None  #: statuses to leave out; default: ``NOT_BOUGHT``


class SourceChoice(_Part):
    """What to read a file with, where neither its suffix nor the command decides."""

    name: str | None = None
    options: dict[str, str] = {}  #: only for the source of that name; the command's go before them


class Fill(_Part):
    """Cells to fill from the row above."""

    by: str  #: the column that is the same for rows that belong together
    columns: tuple[str, ...]


class Mapping(_Part):
    """How to read a table's fields from what a source gives."""

    source: SourceChoice = SourceChoice()
    fill: Fill | None = None
    each: str | None = None  #: path of a list; each of its elements is an event
    columns: dict[str, str] = {}  #: field → column, where the names differ; or a path into its JSON: properties.sku
    fallbacks: dict[str, tuple[str, ...]] = {}  #: field → columns, or paths, for rows whose own is empty
    constants: dict[str, str] = {}  #: field → the same value for every row
    extras: tuple[str, ...] = ()  #: columns kept as JSON in ``extras``
    timezone: Annotated[str, AfterValidator(_known_zone)] = "UTC"  #: whose clock times without a zone mean
    times: _TimeFormats = ()  #: formats of ``strptime``; default: the forms of ``times.read_time``
    decimal: Literal[".", ","] | None = None  #: of every number; default: what each column shows
    thousands: Literal[",", ".", " ", "'", ""] | None = None  #: default: any that the decimal sign leaves
    nulls: _Words = NULLS  #: what stands for a missing value, in every column
    kinds: dict[str, Annotated[str, AfterValidator(_known_kind)]] = {}  #: the shop's word → kind; ``ignore``: left out
    statuses: dict[str, Literal["bought", "not_bought"]] = {}  #: the shop's status → what it means, before all rules
    currency: str | None = None  #: what prices are kept in
    rates: dict[str, Annotated[float, Field(gt=0)]] = {}  #: currency → what one of it is worth in :attr:`currency`
    units: Units = Units()
    rules: Rules = Rules()

    @model_validator(mode="after")
    def _tell_numbers_apart(self) -> Self:
        if self.decimal is not None and self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands are both {self.decimal!r}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _split_columns(cls, given: Any) -> Any:
        """Take ``user = ["userId", "anonymousId"]`` apart: the first is the column, the others are its fallbacks."""
        columns = given.get("columns") if isinstance(given, dict) else None
        if not isinstance(columns, dict):
            return given
        lists = {name: column for name, column in columns.items() if isinstance(column, list | tuple) and column}
        if not lists:
            return given
        first = columns | {name: column[0] for name, column in lists.items()}
        others = dict(given.get("fallbacks", {})) | {name: tuple(column[1:]) for name, column in lists.items()}
        return given | {"columns": first, "fallbacks": others}

    @classmethod
    def of_text(cls, text: str) -> Mapping:
        """Return the mapping in a text in TOML that is known to be right."""
        return cls.of(tomllib.loads(text))

    @classmethod
    def read(cls, path: Path | None) -> Mapping:
        """Return the mapping in a TOML file, or the shipped one of that name where there is no such file.

        ``None`` stands for the one that changes nothing.

        Raises:
            ConfigurationError: there is no such file, or something in it is unknown; naming it.
        """
        if path is None:
            return cls()
        path = mapping_file(path)
        try:
            return cls.of(tomllib.loads(path.read_text(encoding="utf-8-sig")), f"The mapping {path}: ")
        except OSError as error:
            raise ConfigurationError(f"The mapping {path} cannot be read: {error.strerror}.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"The mapping {path} is not TOML in UTF-8: {error}.") from None

    @classmethod
    def of(cls, values: dict[str, Any], place: str = "") -> Mapping:
        """Return the mapping with these values.

        Args:
            values: by field.
            place: where they are from, for the message.

        Raises:
            ConfigurationError: something in it is unknown; naming it.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            is_unknown = first["type"] == "extra_forbidden" and len(first["loc"]) == 1
            guess = did_you_mean(where, cls.model_fields) if is_unknown else ""
            reason = str(first.get("ctx", {}).get("error", first["msg"])).rstrip(".")
            end = "" if reason.endswith("?") else "."
            shown = f"{where}: " if where else ""
            raise ConfigurationError(f"{place}{shown}{reason}{end}{guess}") from None

    def fields(self, table: str, found: Sequence[str]) -> dict[str, pl.Expr]:
        """Return an expression for every field of ``table``: the cells as they are; null where there are none.

        Raises:
            ConfigurationError: a field or column that does not exist was named.
            DataError: a needed field is in no column.
        """
        known = (*REQUIRED[table], *OPTIONAL[table])
        for name in (*self.columns, *self.constants):
            if name not in known:
                raise ConfigurationError(f"{table} have no field {name!r}.{did_you_mean(name, known)}")
        wanted = {column: {column, *self.fallbacks.get(name, ())} for name, column in self.columns.items()}
        for column, columns in (wanted | {extra: {extra} for extra in self.extras}).items():
            if columns.isdisjoint(found):
                raise DataError(f"The file has no column {column!r}.{did_you_mean(column, found)}")
        missing = [name for name in REQUIRED[table] if not (self._given(name) or name in found)]
        if missing:
            raise DataError(
                f"The file has no column for {', '.join(missing)}; its columns are: {', '.join(found)}. "
                f"{self._guesses(missing, found)}{_other_table(table, found)}"
                f"Say which is which: --map {missing[0]}=COLUMN, or give all rows one value: --set {missing[0]}=VALUE"
            )
        for name in known:
            self._refuse_twice(name, found)
        return {name: self._cell(name, found) for name in known}

    def columns_of(self, table: str) -> list[str]:
        """Return the columns that an import of ``table`` must find."""
        needed = [self.columns.get(name, name) for name in REQUIRED[table] if name not in self.constants]
        each = () if self.each is None else (self.each,)
        return list(dict.fromkeys([*needed, *each, *self.named_columns]))

    @property
    def named_columns(self) -> tuple[str, ...]:
        """The columns, or paths into them, that the mapping names."""
        return (*self.columns.values(), *self.extras, *(path for some in self.fallbacks.values() for path in some))

    def _guesses(self, missing: Sequence[str], found: Sequence[str]) -> str:
        """Return the ``--map`` words that would mend it, as far as the columns' names tell."""
        free = {plain_word(column): column for column in found if column not in self.columns.values()}
        words = []
        for name in missing:
            known = (name, *ALSO_CALLED.get(name, ()))
            near = [column for word in known for column in difflib.get_close_matches(word, free, n=1, cutoff=0.85)]
            if near:
                words.append(f"--map {name}={free.pop(near[0])}")
        return f"Did you mean: {' '.join(words)}? " if words else ""

    def _refuse_twice(self, name: str, found: Sequence[str]) -> None:
        column = self.columns.get(name, name)
        if name not in self.constants and column in found and f"{column}{SECOND}" in found:
            raise DataError(
                f"The file has several columns {column!r}, so it is not clear which is {name}. "
                f"Rename one, or say which: --map {name}={column}{SECOND} is the second."
            )

    def _given(self, name: str) -> bool:
        return name in self.columns or name in self.constants

    def _cell(self, name: str, found: Sequence[str]) -> pl.Expr:
        import polars as pl

        if name in self.constants:
            return pl.lit(self.constants[name])
        column = self.columns.get(name, name)
        if column not in found:
            return pl.lit(None, dtype=pl.String)
        return pl.col(column)


def _other_table(table: str, columns: Sequence[str]) -> str:
    """Return that a file read as events looks like labels: it has a segment, and nothing that happened."""
    names = {plain_word(column) for column in columns}

    def is_there(field: str) -> bool:
        return bool(names & {field, *ALSO_CALLED[field]})

    looks_like_labels = table == "events" and is_there("segment") and not (is_there("kind") or is_there("item"))
    return "If these are labels: data import labels, or data preview --table labels. " if looks_like_labels else ""
