"""The contract of a textualizer: turns a user's events into phrases."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self

from segadmin.contracts.templates import Templates, vary
from segadmin.errors import PluginContractError
from segadmin.hashing import GOLDEN_GAMMA
from segadmin.settings import Language

if TYPE_CHECKING:
    import polars as pl

    from segadmin.settings import Settings


_METHODS = ("next_change", "phrases")


@dataclass(frozen=True)
class TextContext:
    """What a textualizer receives besides the events."""

    observed_from: datetime  #: first moment of the window, UTC
    as_of: datetime  #: cut-off: the end of the window, exclusive, UTC
    language: Language  #: ``"en"`` or ``"zh"``
    templates: Templates = field(default_factory=dict)  #: sentences of a file that replace those of the textualizers
    #: 0, or the number of an augmented copy, which may use other sentences and another order; see :meth:`shuffled`.
    variant: int = 0

    def shuffled(self, ids: pl.Expr) -> pl.Expr:
        """Return 64-bit ``ids`` that order what is of one moment: themselves, or in a variant others."""
        return ids ^ ((self.variant * GOLDEN_GAMMA) % (1 << 63))


class Textualizer(ABC):
    """Turns events into phrases. Subclass it as a frozen dataclass: its fields are its options.

    The framework joins the attributes of items to the events, keeps the events inside the window, and afterwards
    groups, caps and stores the phrases. A textualizer only returns the phrases and their order.
    """

    name: ClassVar[str]  #: the value of ``--textualizer``
    version: ClassVar[str] = "1"  #: increase it when the same events give other phrases
    #: Template → language → sentence, for :meth:`say`; a file can replace them.
    templates: ClassVar[Mapping[str, Mapping[Language, str]]] = {}
    raw_user_ids: bool = False  #: request the shop's own ids in a column ``user``; default: pseudonyms only

    def with_settings(self, settings: Settings) -> Self:
        """Return this textualizer, made for an installation; by default itself. Called once, before all else."""
        return self

    @abstractmethod
    def phrases(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        """Return the phrases of every user in ``events``.

        Args:
            events: one row per event, unsorted, with ``user_key`` (Int64), ``event_id`` (Int64, which orders
                events of the same moment), ``kind`` (``view``, ``cart``, ``purchase``, ``rating`` or ``review``),
                ``item``, ``at`` (Datetime, UTC), ``quantity``, ``price`` (of the whole order line), ``duration``
                (seconds), ``rating``, ``text``, ``extras`` (JSON), and the item's ``title``, ``category`` and
                ``brand``. All but the first five may be null.
            context: the window and the language.

        Returns:
            ``user_key`` (Int64), ``position`` (any number; a user's lowest is the most informative phrase, which is
            truncated last) and ``phrase`` (String).
        """

    def next_change(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame | None:
        """Return when each user's phrases may next change by the passing of time alone; refreshes do not look before.

        The phrases of the same events must be the same at every ``as_of`` before that moment. It may be too early,
        which costs time, and must not be too late. Events that leave the window are taken care of. A subclass that
        overrides :meth:`phrases` alone has the default again.

        Args:
            events: as in :meth:`phrases`.
            context: as in :meth:`phrases`; the moments are after its ``as_of``.

        Returns:
            ``user_key`` (Int64) and ``next_change`` (Datetime, UTC); users who are missing, or have null, never change
            by time alone. ``None``, the default: all users may change at any time.
        """
        return None

    @property
    def knows_next_change(self) -> bool:
        """Whether :meth:`next_change` is about the :meth:`phrases` of this class, not about those of a base class."""
        classes = type(self).__mro__
        timed, says = (next(n for n, cls in enumerate(classes) if name in vars(cls)) for name in _METHODS)
        return timed <= says

    def say(self, context: TextContext, template: str, **parts: pl.Expr) -> pl.Expr:
        """Return the sentence of ``template``, or the one of a file that replaces it, filled in with ``parts``.

        Evaluate it in a frame with a column ``user_key``: in variants, the sentence depends on the user.
        """
        name = f"{self.name}.{template}"
        sentences = context.templates.get(name) or (self.templates[template][context.language],)
        return vary(sentences, name, context.variant, parts)


def per_user(function: Callable[[list[dict[str, Any]], TextContext], list[str]]) -> type[Textualizer]:
    """Make a textualizer of a function that receives the events of one user, newest first, as dictionaries.

    The function returns the user's phrases, most informative first. It is called once per user in Python, which
    is about ten times slower than expressions. Its name, with ``-`` for ``_``, is the textualizer's name.
    """

    def phrases(self: Textualizer, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        import polars as pl

        rows: list[tuple[int, int, str]] = []
        ties = context.shuffled(pl.col("event_id"))
        ordered = events.sort("at", ties, descending=[True, False]).drop("event_id").collect()
        for (user_key,), group in ordered.group_by("user_key", maintain_order=True):
            returned = function(group.to_dicts(), context)
            if isinstance(returned, str):  # its characters would become phrases
                raise PluginContractError(f"{name!r} returned one string for a user. Return a list of phrases.")
            rows += [(int(user_key), n, text) for n, text in enumerate(returned)]
        schema = {"user_key": pl.Int64, "position": pl.Int64, "phrase": pl.String}
        return pl.LazyFrame(rows, schema=schema, orient="row")

    name = function.__name__.replace("_", "-")
    return type(name, (Textualizer,), {"name": name, "phrases": phrases, "__doc__": function.__doc__})
