"""Assignment of columns to fields by the columns' names and by their cells."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

from segadmin.events.column_facts import ColumnFacts, price_is_of_one
from segadmin.events.field_names import is_order_number, likeness
from segadmin.events.nested import keys_of, with_paths

#: Maximum number of JSON paths that are examined.
_MAX_PATHS = 200
_IN_LIST = re.compile(r"^(?P<list>.*?)\.0\.(?P<key>.+)$")
#: Minimum fraction of matching cells if the name matches too, and if only the cells match.
_BY_NAME, _BY_CELLS = 0.5, {"at": 0.9, "kind": 0.6}

#: Maximum number of distinct words in a column of unknown kinds.
_MAX_UNKNOWN_KINDS = 20

#: Field → fraction of the cells that match it, from 0 to 1.
_MATCHES: dict[str, Callable[[ColumnFacts], float]] = {
    "at": lambda facts: max(facts.times, 1.0 if facts.formats else 0.0),
    "kind": lambda facts: facts.kinds,
    "quantity": lambda facts: facts.numbers,
    "price": lambda facts: facts.numbers,
    "unit_price": lambda facts: facts.numbers,
    "rating": lambda facts: facts.numbers,
    "duration": lambda facts: facts.numbers,
    "event_id": lambda facts: float(facts.unique == 1.0),
    "status": lambda facts: float(bool(facts.words)),
    "currency": lambda facts: float(bool(facts.words)),
}
_FIELDS = (
    *("at", "kind", "user", "item", "event_id", "quantity", "unit_price", "price", "rating", "status", "currency"),
    *("text", "duration"),
)


@dataclass(frozen=True)
class Choice:
    """The column chosen for a field, with the reason."""

    field: str
    column: str
    why: str
    sure: bool = True


@dataclass
class Guess:
    """The guessed fields of a file's columns."""

    facts: dict[str, ColumnFacts]
    choices: dict[str, Choice] = field(default_factory=dict)
    order_number: str | None = None
    each: str | None = None  #: path of a list, each element of which is an event
    price_is_open: bool = False  #: it is unclear whether prices are per item or per line

    @property
    def free(self) -> list[ColumnFacts]:
        """The columns without a field."""
        taken = {choice.column for choice in self.choices.values()} | {self.order_number}
        return [facts for name, facts in self.facts.items() if name not in taken]


def guess_columns(sample: pl.DataFrame) -> Guess:
    """Return the probable fields of the columns of ``sample``."""
    sample = _with_nested(sample)
    guess = Guess({name: ColumnFacts(name, sample[name]) for name in sample.columns})
    guess.order_number = next((name for name in guess.facts if is_order_number(name)), None)
    for name in _FIELDS:
        _by_name(guess, name)
    for name in ("at", "kind"):
        _by_cells(guess, name)
    _ids_by_cells(guess)
    _unit_of_price(guess)
    _list_of_items(guess)
    return guess


def _by_name(guess: Guess, name: str) -> None:
    """Choose the column whose name is most similar to the field's, if enough of its cells match."""
    rated = [(likeness(name, facts.name), _match(name, facts), facts) for facts in guess.free]
    candidates = [rating for rating in rated if rating[0] and rating[1] >= _BY_NAME and len(rating[2].cells)]
    if not candidates:
        return
    similarity, share, facts = max(candidates, key=lambda candidate: candidate[:2])
    is_known = name != "kind" or facts.kinds >= _BY_NAME
    cells = f"; {share:.0%} of the cells fit" if name in {"at", "kind"} and share < 1 else ""
    sure, cells = similarity > 0.6 and is_known, cells if is_known else "; its words are not known"
    guess.choices[name] = Choice(name, facts.name, f"by its name{cells}", sure)


def _match(name: str, facts: ColumnFacts) -> float:
    share = _MATCHES[name](facts) if name in _MATCHES else 1.0
    # For unknown words, such as numeric kinds, the name decides, and a person defines them.
    may_be_kinds = 1 < len(facts.words) <= _MAX_UNKNOWN_KINDS and facts.name.casefold() != "type"
    if name == "kind" and share < _BY_NAME and may_be_kinds:
        return _BY_NAME
    return share


def _by_cells(guess: Guess, name: str) -> None:
    if name in guess.choices:
        return
    match = _MATCHES[name]
    best = max(guess.free, key=match, default=None)
    if best is not None and match(best) >= _BY_CELLS[name]:
        description = "times" if name == "at" else "words for kinds of events"
        guess.choices[name] = Choice(
            name, best.name, f"by its cells: {match(best):.0%} are {description}", sure=name == "at"
        )


def _ids_by_cells(guess: Guess) -> None:
    """Choose user and item among the other columns if no name matches: both have recurring values."""
    for name in ("user", "item"):
        candidates = [facts for facts in guess.free if 0 < facts.unique < 1 and facts.numbers_with_point < 0.5]
        candidates = [facts for facts in candidates if not facts.times > 0.5 and len(facts.words) != 1]
        if name in guess.choices or not candidates:
            continue
        best = candidates[0] if name == "user" else max(candidates, key=lambda facts: facts.unique)
        why = f"by its cells: {best.cells.n_unique():,} different ones in {len(best.cells):,}"
        guess.choices[name] = Choice(name, best.name, why, sure=False)


def _unit_of_price(guess: Guess) -> None:
    """Assign the price column to ``unit_price`` if the rows show that prices are per item."""
    columns = [guess.choices.get(name) for name in ("item", "quantity", "price")]
    if "unit_price" in guess.choices or not all(columns):
        return
    item, quantity, price = (guess.facts[chosen.column].column for chosen in columns if chosen)
    is_unit_price = price_is_of_one(item, quantity, price)
    guess.price_is_open = is_unit_price is None
    if is_unit_price:
        chosen = guess.choices.pop("price")
        why = f"{chosen.why}; it stays the same where the quantity differs"
        guess.choices["unit_price"] = Choice("unit_price", chosen.column, why)


def _list_of_items(guess: Guess) -> None:
    """If the item is in the first element of a list, treat each element as an event."""
    item = guess.choices.get("item")
    match = _IN_LIST.match(item.column) if item else None
    if match is None:
        return
    guess.each = match["list"]
    for name, choice in guess.choices.items():
        path = choice.column.replace(f"{guess.each}.0.", f"{guess.each}.", 1)
        guess.choices[name] = Choice(name, path, choice.why, choice.sure)


def _with_nested(sample: pl.DataFrame) -> pl.DataFrame:
    """Return ``sample`` with JSON columns replaced by a column for every value in them."""
    nested = {
        name: [f"{name}.{path}" for path in keys_of(sample[name].head(200).to_list())]
        for name, dtype in sample.schema.items()
        if dtype == pl.String
    }
    nested = {name: paths for name, paths in nested.items() if paths}
    all_paths = [path for paths in nested.values() for path in paths][:_MAX_PATHS]
    return with_paths(sample, all_paths).drop(nested)
