"""Guessing which column is which field, by the columns' names and by what their cells look like."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

from segadmin.events.column_facts import ColumnFacts, price_is_of_one
from segadmin.events.field_names import is_order_number, likeness
from segadmin.events.nested import keys_of, with_paths

#: Paths into JSON that are looked at.
_MOST_PATHS = 200
_IN_LIST = re.compile(r"^(?P<list>.*?)\.0\.(?P<key>.+)$")
#: Share of the cells that must look like it, where the name does; and where only the cells do.
_BY_NAME, _BY_CELLS = 0.5, {"at": 0.9, "kind": 0.6}

#: Words that a column of kinds has at most where nobody knows them.
_FEW_WORDS = 20

#: What the cells of a field look like, from 0 to 1.
_LOOKS: dict[str, Callable[[ColumnFacts], float]] = {
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
    """A field, the column that it probably is, and why."""

    field: str
    column: str
    why: str
    sure: bool = True


@dataclass
class Guess:
    """What the columns of a file probably are."""

    facts: dict[str, ColumnFacts]
    choices: dict[str, Choice] = field(default_factory=dict)
    order_number: str | None = None
    each: str | None = None  #: path of a list whose elements are the events
    price_is_open: bool = False  #: nothing tells whether prices are of one item or of the line

    @property
    def free(self) -> list[ColumnFacts]:
        """The columns that are no field yet."""
        taken = {choice.column for choice in self.choices.values()} | {self.order_number}
        return [facts for name, facts in self.facts.items() if name not in taken]


def guess_columns(sample: pl.DataFrame) -> Guess:
    """Return which column of ``sample`` is probably which field of an event."""
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
    """Choose the column whose name is most like the field's, if its cells look like it."""
    likely = [(likeness(name, facts.name), _looks(name, facts), facts) for facts in guess.free]
    likely = [one for one in likely if one[0] and one[1] >= _BY_NAME and len(one[2].cells)]
    if not likely:
        return
    like, share, facts = max(likely, key=lambda one: (one[0], one[1]))
    known = name != "kind" or facts.kinds >= _BY_NAME
    cells = f"; {share:.0%} of the cells fit" if name in {"at", "kind"} and share < 1 else ""
    sure, cells = like > 0.6 and known, cells if known else "; its words are not known"
    guess.choices[name] = Choice(name, facts.name, f"by its name{cells}", sure)


def _looks(name: str, facts: ColumnFacts) -> float:
    share = _LOOKS[name](facts) if name in _LOOKS else 1.0
    if name == "kind" and share < _BY_NAME and 1 < len(facts.words) <= _FEW_WORDS and facts.name.casefold() != "type":
        return _BY_NAME  # numbers for kinds, say: the name decides, and a person says what they mean
    return share


def _by_cells(guess: Guess, name: str) -> None:
    if name in guess.choices:
        return
    looks = _LOOKS[name]
    best = max(guess.free, key=looks, default=None)
    if best is not None and looks(best) >= _BY_CELLS[name]:
        what = "times" if name == "at" else "words for kinds of events"
        guess.choices[name] = Choice(name, best.name, f"by its cells: {looks(best):.0%} are {what}", sure=name == "at")


def _ids_by_cells(guess: Guess) -> None:
    """Choose user and item among what is left, where the names say nothing: both are words that come again."""
    for name in ("user", "item"):
        candidates = [facts for facts in guess.free if 0 < facts.unique < 1 and facts.numbers_with_point < 0.5]
        candidates = [facts for facts in candidates if not facts.times > 0.5 and len(facts.words) != 1]
        if name in guess.choices or not candidates:
            continue
        best = candidates[0] if name == "user" else max(candidates, key=lambda facts: facts.unique)
        why = f"by its cells: {best.cells.n_unique():,} different ones in {len(best.cells):,}"
        guess.choices[name] = Choice(name, best.name, why, sure=False)


def _unit_of_price(guess: Guess) -> None:
    """Take the price for that of one item, where the rows say so."""
    columns = [guess.choices.get(name) for name in ("item", "quantity", "price")]
    if "unit_price" in guess.choices or not all(columns):
        return
    item, quantity, price = (guess.facts[choice.column].column for choice in columns if choice)
    of_one = price_is_of_one(item, quantity, price)
    guess.price_is_open = of_one is None
    if of_one:
        old = guess.choices.pop("price")
        why = f"{old.why}; it stays the same where the quantity differs"
        guess.choices["unit_price"] = Choice("unit_price", old.column, why)


def _list_of_items(guess: Guess) -> None:
    """Where the item is in the first element of a list, take every element for an event."""
    item = guess.choices.get("item")
    inside = _IN_LIST.match(item.column) if item else None
    if inside is None:
        return
    guess.each = inside["list"]
    for name, choice in guess.choices.items():
        path = choice.column.replace(f"{guess.each}.0.", f"{guess.each}.", 1)
        guess.choices[name] = Choice(name, path, choice.why, choice.sure)


def _with_nested(sample: pl.DataFrame) -> pl.DataFrame:
    """Return ``sample`` with a column for every value inside JSON cells, instead of the cells."""
    nested = {
        name: [f"{name}.{path}" for path in keys_of(sample[name].head(200).to_list())]
        for name, kind in sample.schema.items()
        if kind == pl.String
    }
    nested = {name: paths for name, paths in nested.items() if paths}
    wanted = [path for paths in nested.values() for path in paths][:_MOST_PATHS]
    return with_paths(sample, wanted).drop(nested)
