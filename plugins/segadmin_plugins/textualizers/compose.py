"""``compose``: several textualizers, combined in configuration."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import polars as pl

from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.textualizer import TextContext, Textualizer
from segadmin.errors import ConfigurationError
from segadmin.settings import Settings
from segadmin_plugins.textualizers.words import earliest


@dataclass(frozen=True)
class Compose(Textualizer):
    """Joins the phrases of its parts, in order: ``parts="rfm + summary(20) + sessions(limit=8)"``.

    A part is any textualizer, of a plugin too, with its options in parentheses, such as ``mixed(by=item)``; a single
    number is its ``limit``. Write ``_`` for ``-`` in names. In TOML and JSON the parts may be a list of names and
    tables: ``parts = ["rfm", {name = "summary", limit = 20}]``. Its version joins those of the parts, so it
    changes with any of them.
    """

    name: ClassVar[str] = "compose"
    parts: str | tuple[str | dict[str, Any], ...] = "rfm + summary + timeline"
    made: ClassVar[tuple[Textualizer, ...]] = ()  #: the parts, set with the version by :meth:`with_settings`

    def with_settings(self, settings: Settings) -> Compose:
        """Return a copy whose parts are made from the installed plugins."""
        plugins = load_plugins(settings)
        names = plugins.names("textualizer")
        parts = (self.parts,) if isinstance(self.parts, str) else self.parts
        named_options = [
            each for part in parts for each in (_read(part, names) if isinstance(part, str) else [_part(part)])
        ]
        if not named_options:
            raise ConfigurationError(
                'parts=[] names no textualizers. Write it as ["rfm", {name = "summary", limit = 20}]'
            )
        made = tuple(plugins.make("textualizer", name, options) for name, options in named_options)
        composed = replace(self)
        object.__setattr__(composed, "made", made)
        object.__setattr__(composed, "version", "+".join(f"{part.name}:{part.version}" for part in made))
        object.__setattr__(composed, "raw_user_ids", any(part.raw_user_ids for part in made))
        return composed

    def phrases(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        """Return the phrases of all parts, one part after the other."""
        phrases_of_parts = [part.phrases(events, context) for part in self.made]
        return pl.concat(
            phrases.select(
                "user_key",
                position=pl.col("position").rank("dense").over("user_key").cast(pl.Int64) + (rank << 32),
                phrase=pl.col("phrase").cast(pl.String),
            )
            for rank, phrases in enumerate(phrases_of_parts)
        )

    def next_change(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame | None:
        """Return the earliest change of a part; ``None`` if a part may change at any time."""
        changes = [part.next_change(events, context) if part.knows_next_change else None for part in self.made]
        known = [change.select("user_key", "next_change") for change in changes if change is not None]
        return earliest(*known) if len(known) == len(changes) else None


def _read(parts: str, names: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the names and options in ``parts``, which is parsed as Python and never executed."""
    try:
        tree: ast.expr = ast.parse(parts.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise _unreadable(parts, parts) from None
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            stack += [node.right, node.left]
            continue
        call = node if isinstance(node, ast.Call) else None
        target = call.func if call is not None else node
        if not isinstance(target, ast.Name):
            raise _unreadable(parts, ast.unparse(node))
        textualizer = target.id if target.id in names else target.id.replace("_", "-")
        yield _allowed(textualizer), {} if call is None else _options(parts, call)


def _part(table: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name and the options of a part that is a table."""
    options = dict(table)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise ConfigurationError(f'The part {dict(table)} has no name. Write it as {{name = "summary", limit = 20}}')
    return _allowed(name), options


def _allowed(name: str) -> str:
    if name == Compose.name:
        raise ConfigurationError("compose cannot be a part of itself. Name its parts instead.")
    return name


def _options(parts: str, call: ast.Call) -> dict[str, Any]:
    arguments = [("limit", value) for value in call.args] + [
        (keyword.arg or "**", keyword.value) for keyword in call.keywords
    ]
    try:
        options = {name: _value(value) for name, value in arguments}
    except ValueError:
        raise _unreadable(parts, ast.unparse(call)) from None
    if len(call.args) > 1 or "**" in options or len(options) < len(arguments):
        raise _unreadable(parts, ast.unparse(call))
    return options


def _value(node: ast.expr) -> Any:
    """Return a literal, or a bare word as it is: nested quotes are awkward on a command line."""
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


def _unreadable(parts: str, where: str) -> ConfigurationError:
    at = "" if where == parts else f" at {where!r}"
    return ConfigurationError(
        f"parts={parts!r} cannot be read{at}. It is names joined by +, such as: rfm + summary(20) + mixed(by=item)"
    )
