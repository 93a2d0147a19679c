"""The contract of a textualizer: how a user's events become phrases."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from segadmin.contracts.templates import Templates, vary
from segadmin.errors import PluginContractError
from segadmin.settings import Language

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class TextContext:
    """What a textualizer may know besides the events."""

    observed_from: datetime  #: first moment of the window, UTC
    as_of: datetime  #: the moment the text speaks from (end of the window, exclusive), UTC
    language: Language  #: ``"en"`` or ``"zh"``
    templates: Templates = field(default_factory=dict)  #: what a file says instead of the textualizers' own
    #: 0, or the number of a copy to train on, which may say the same in other words and order; see :meth:`shuffled`.
    variant: int = 0

    def shuffled(self, ids: pl.Expr) -> pl.Expr:
        """Return 64-bit ``ids`` that order what is of one moment: themselves, or in a variant others."""
        return ids ^ ((self.variant * 0x9E37_79B9_7F4A_7C15) % (1 << 63))


class Textualizer(ABC):
    """Turns events into phrases. Subclass it as a frozen dataclass: its fields are its options.

    The framework joins item facts to the events, keeps those inside the window, and afterwards groups, caps
    and stores the phrases; a textualizer only says which phrases there are and which comes first.
    """

    name: ClassVar[str]  #: what ``--textualizer`` takes
    version: ClassVar[str] = "1"  #: raise it when the same events give other text
    #: template → language → what it says, for :meth:`say`; a file can replace them.
    templates: ClassVar[Mapping[str, Mapping[Language, str]]] = {}
    raw_user_ids: bool = False  #: ask for the shop's own ids in a ``user`` column; default: pseudonyms only

    @abstractmethod
    def phrases(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        """Return the phrases of every user in ``events``.

        Args:
            events: one row an event, in no order, with ``user_key`` (Int64), ``event_id`` (Int64, by which events
                of one moment are ordered), ``kind`` (``view``, ``cart``, ``purchase``, ``rating`` or ``review``),
                ``item``, ``at`` (Datetime, UTC), ``quantity``, ``price`` (of the whole line), ``duration``
                (seconds), ``rating``, ``text``, ``extras`` (JSON), and the item's ``title``, ``category`` and
                ``brand``. All but the first five may be null.
            context: the window and the language.

        Returns:
            ``user_key`` (Int64), ``position`` (any number; a user's lowest is the most informative phrase and
            the last to be cut off) and ``phrase`` (String).
        """

    def say(self, context: TextContext, template: str, **parts: pl.Expr) -> pl.Expr:
        """Return a sentence: the ``template`` of this name, or what a file has in its place, filled in with ``parts``.

        Evaluate it where there is a column ``user_key``, by which variants differ.
        """
        name = f"{self.name}.{template}"
        ways = context.templates.get(name) or (self.templates[template][context.language],)
        return vary(ways, name, context.variant, parts)


def per_user(function: Callable[[list[dict[str, Any]], TextContext], list[str]]) -> type[Textualizer]:
    """Make a textualizer of a plain function that gets one user's events, newest first, as dictionaries.

    The function returns the user's phrases, most informative first. It is called once a user in Python, which
    is some ten times slower than expressions; its name, with ``-`` for ``_``, is the textualizer's name.
    """

    def phrases(self: Textualizer, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        import polars as pl

        rows: list[tuple[int, int, str]] = []
        ties = context.shuffled(pl.col("event_id"))
        ordered = events.sort("at", ties, descending=[True, False]).drop("event_id").collect()
        for (user_key,), group in ordered.group_by("user_key", maintain_order=True):
            said = function(group.to_dicts(), context)
            if isinstance(said, str):  # its letters would be taken for phrases
                raise PluginContractError(f"{name!r} returned one string for a user. Return a list of phrases.")
            rows += [(int(user_key), n, text) for n, text in enumerate(said)]
        schema = {"user_key": pl.Int64, "position": pl.Int64, "phrase": pl.String}
        return pl.LazyFrame(rows, schema=schema, orient="row")

    name = function.__name__.replace("_", "-")
    return type(name, (Textualizer,), {"name": name, "phrases": phrases, "__doc__": function.__doc__})
