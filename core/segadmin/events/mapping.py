"""The mapping from a shop's columns, words and units to segadmin's; a TOML file, or command-line options."""

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

#: Table → its fields: required and optional ones.
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

#: The kind of returned goods; stored as a purchase with a negative price.
RETURN = "return"
#: Suffix that Polars adds to the second column of the same name in a CSV header.
SECOND = "_duplicated_0"
#: Notations of missing values in MySQL, Hive and PostgreSQL, SQL, JSON, pandas, JavaScript, and spreadsheets, including
#: failed formulas.
NULLS = (
    *(r"\N", "NULL", "null", "NaN", "nan", "NaT", "<NA>", "undefined", "[object Object]"),
    *("#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!"),
)


def _known_kind(kind: str) -> str:
    kinds = (*KINDS, RETURN, IGNORE)
    if kind not in kinds:
        raise ValueError(f"there is no kind {kind!r}.{did_you_mean(kind, kinds)}")
    return kind


def _known_zone(name: str) -> str:
    zone(name)
    return name


def _as_list(value: Any) -> Any:
    """Convert a single string to a list."""
    return (value,) if isinstance(value, str) else value


_TimeFormats = Annotated[tuple[Annotated[str, AfterValidator(check_format)], ...], BeforeValidator(_as_list)]
_Words = Annotated[tuple[str, ...], BeforeValidator(_as_list)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


class Units(_Part):
    """The units of the shop's numbers."""

    duration: Literal["milliseconds", "seconds", "minutes"] = "seconds"
    price: Literal["1", "0.01"] = "1"  #: 0.01: cents, 分
    rating: Annotated[float, Field(gt=0)] | None = None  #: the best rating, which is scaled to 5; default: unchanged

    @property
    def factors(self) -> dict[str, float]:
        """Field → factor."""
        rating = {} if self.rating is None else {"rating": 5 / self.rating}
        duration = {"milliseconds": 0.001, "seconds": 1.0, "minutes": 60.0}[self.duration]
        return {"duration": duration, "price": float(self.price), "unit_price": float(self.price), **rating}


class Rules(_Part):
    """Configurable cleaning rules; each is counted under its name."""

    bot_events_per_day: Annotated[int, Field(ge=0)] = 2_000  #: a user with more events on a day is a bot; 0: no limit
    future_seconds: Annotated[float, Field(ge=0, le=86_400)] = 900.0  #: tolerance for clocks that are ahead
    clean_text: bool = True  #: remove HTML and control characters, convert full-width letters and digits
    mask_personal: bool = True  #: replace personal data by ``[phone]`` and the like
    cancelled: tuple[str, ...] | None = None  #: statuses of rows to reject; default: ``NOT_BOUGHT``


class SourceChoice(_Part):
    """The source of a file if neither its suffix nor the command determines it."""

    name: str | None = None
    options: dict[str, str] = {}  #: only for the source of that name; the command's take precedence


class Fill(_Part):
    """Cells to fill from the row above."""

    by: str  #: the column with equal values in rows of a group
    columns: tuple[str, ...]


class Mapping(_Part):
    """Assigns columns of a source to a table's fields, and defines how their cells are read."""

    source: SourceChoice = SourceChoice()
    fill: Fill | None = None
    each: str | None = None  #: path of a list; each of its elements is an event
    columns: dict[str, str] = {}  #: field → column if the names differ; or a path into its JSON: properties.sku
    fallbacks: dict[str, tuple[str, ...]] = {}  #: field → columns, or paths, for rows with an empty column
    constants: dict[str, str] = {}  #: field → the same value for every row
    extras: tuple[str, ...] = ()  #: columns to store as JSON in ``extras``
    vectors: dict[str, str] = {}  #: of items: name of a vector → its column
    timezone: Annotated[str, AfterValidator(_known_zone)] = "UTC"  #: of times without a zone
    times: _TimeFormats = ()  #: ``strptime`` formats; default: those of ``times.read_time``
    decimal: Literal[".", ","] | None = None  #: decimal sign; default: detected for each column
    thousands: Literal[",", ".", " ", "'", ""] | None = None  #: default: any except the decimal sign
    nulls: _Words = NULLS  #: notations of missing values in all columns
    kinds: dict[str, Annotated[str, AfterValidator(_known_kind)]] = {}  #: the shop's word → kind; ``ignore``: skip
    statuses: dict[str, Literal["bought", "not_bought"]] = {}  #: the shop's status → its meaning; overrides all rules
    currency: str | None = None  #: currency of stored prices
    rates: dict[str, Annotated[float, Field(gt=0)]] = {}  #: currency → value of one unit in :attr:`currency`
    units: Units = Units()
    rules: Rules = Rules()

    @model_validator(mode="after")
    def _check_separators(self) -> Self:
        if self.decimal is not None and self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands are both {self.decimal!r}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _split_columns(cls, values: Any) -> Any:
        """Split ``user = ["userId", "anonymousId"]`` into a column and its fallbacks."""
        columns = values.get("columns") if isinstance(values, dict) else None
        if not isinstance(columns, dict):
            return values
        lists = {name: column for name, column in columns.items() if isinstance(column, list | tuple) and column}
        if not lists:
            return values
        first = columns | {name: column[0] for name, column in lists.items()}
        others = dict(values.get("fallbacks", {})) | {name: tuple(column[1:]) for name, column in lists.items()}
        return values | {"columns": first, "fallbacks": others}

    @classmethod
    def of_text(cls, text: str) -> Mapping:
        """Return the mapping of a valid TOML text."""
        return cls.of(tomllib.loads(text))

    @classmethod
    def read(cls, path: Path | None) -> Mapping:
        """Return the mapping in a TOML file, or the shipped one of that name if there is no such file.

        ``None`` stands for the default mapping.

        Raises:
            ConfigurationError: there is no such file, or it has an unknown entry; the message names it.
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
            ConfigurationError: an entry is unknown; the message names it.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            is_unknown = first["type"] == "extra_forbidden" and len(first["loc"]) == 1
            suggestion = did_you_mean(where, cls.model_fields) if is_unknown else ""
            reason = str(first.get("ctx", {}).get("error", first["msg"])).rstrip(".")
            end = "" if reason.endswith("?") else "."
            prefix = f"{where}: " if where else ""
            raise ConfigurationError(f"{place}{prefix}{reason}{end}{suggestion}") from None

    def fields(self, table: str, available: Sequence[str]) -> dict[str, pl.Expr]:
        """Return an expression for every field of ``table``: its cells, unchanged; null if it has no column.

        Raises:
            ConfigurationError: the mapping names an unknown field or column.
            DataError: a required field has no column.
        """
        field_names = (*REQUIRED[table], *OPTIONAL[table])
        for name in (*self.columns, *self.constants):
            if name not in field_names:
                raise ConfigurationError(f"{table} have no field {name!r}.{did_you_mean(name, field_names)}")
        alternatives = {column: {column, *self.fallbacks.get(name, ())} for name, column in self.columns.items()}
        others = (*self.extras, *self.vectors.values())
        for column, columns in (alternatives | {column: {column} for column in others}).items():
            if columns.isdisjoint(available):
                raise DataError(f"The file has no column {column!r}.{did_you_mean(column, available)}")
        missing = [name for name in REQUIRED[table] if not (self._is_assigned(name) or name in available)]
        if missing:
            raise DataError(
                f"The file has no column for {', '.join(missing)}; its columns are: {', '.join(available)}. "
                f"{self._guesses(missing, available)}{_other_table(table, available)}"
                f"Assign them: --map {missing[0]}=COLUMN, or give all rows one value: --set {missing[0]}=VALUE"
            )
        for name in field_names:
            self._refuse_duplicate(name, available)
        return {name: self._cell(name, available) for name in field_names}

    def columns_of(self, table: str) -> list[str]:
        """Return the columns that an import of ``table`` requires."""
        needed = [self.columns.get(name, name) for name in REQUIRED[table] if name not in self.constants]
        each = () if self.each is None else (self.each,)
        return list(dict.fromkeys([*needed, *each, *self.named_columns]))

    @property
    def named_columns(self) -> tuple[str, ...]:
        """The columns, and paths into columns, that the mapping names."""
        fallbacks = (path for paths in self.fallbacks.values() for path in paths)
        return (*self.columns.values(), *self.extras, *self.vectors.values(), *fallbacks)

    def _guesses(self, missing: Sequence[str], available: Sequence[str]) -> str:
        """Return ``--map`` options for missing fields, suggested by names of columns."""
        free = {plain_word(column): column for column in available if column not in self.columns.values()}
        options = []
        for name in missing:
            aliases = (name, *ALSO_CALLED.get(name, ()))
            similar = [match for alias in aliases for match in difflib.get_close_matches(alias, free, n=1, cutoff=0.85)]
            if similar:
                options.append(f"--map {name}={free.pop(similar[0])}")
        return f"Did you mean: {' '.join(options)}? " if options else ""

    def _refuse_duplicate(self, name: str, available: Sequence[str]) -> None:
        column = self.columns.get(name, name)
        if name not in self.constants and column in available and f"{column}{SECOND}" in available:
            raise DataError(
                f"The file has several columns {column!r}, so it is not clear which is {name}. "
                f"Rename one, or choose one: --map {name}={column}{SECOND} is the second."
            )

    def _is_assigned(self, name: str) -> bool:
        return name in self.columns or name in self.constants

    def _cell(self, name: str, available: Sequence[str]) -> pl.Expr:
        import polars as pl

        if name in self.constants:
            return pl.lit(self.constants[name])
        column = self.columns.get(name, name)
        if column not in available:
            return pl.lit(None, dtype=pl.String)
        return pl.col(column)


def _other_table(table: str, columns: Sequence[str]) -> str:
    """Return a hint if a file of events looks like labels: it has a segment, but neither a kind nor an item."""
    names = {plain_word(column) for column in columns}

    def has_field(field: str) -> bool:
        return bool(names & {field, *ALSO_CALLED[field]})

    looks_like_labels = table == "events" and has_field("segment") and not (has_field("kind") or has_field("item"))
    return "If these are labels: data import labels, or data preview --table labels. " if looks_like_labels else ""
