"""``rules``: segments that the business defines, each by an expression over a user's numbers."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import polars as pl

from segadmin.contracts.labeler import Labeler, Labelled
from segadmin.counts import counted
from segadmin.errors import ConfigurationError, DataError, did_you_mean
from segadmin.labels.label_sets import after
from segadmin.storage.schema import TIME
from segadmin.text.features import feature_names, features
from segadmin.text.recipe import Recipe, Window

_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_COMPUTE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True)
class Rules(Labeler):
    """The first rule that holds: ``rules="vip: spend > 500 and visits >= 8; asleep: recency_days > 60; other: True"``.

    The numbers are those of the features (``segadmin plugins show labeler rules`` names none of a category): spend,
    visits, recency_days and so on, of the last ``window_days``. They are weak labels: a model that learns them from the
    same weeks only rediscovers the rules. They serve as a start, and for users that no rule covers.
    """

    name: ClassVar[str] = "rules"
    rules: str = "loyal: visits >= 8 and recency_days <= 30; asleep: recency_days > 60; other: True"
    window_days: float = 112.0

    def label(self, events: pl.LazyFrame) -> Labelled:
        """Return the users of the window that ends with the newest event; see ``Labeler.label``."""
        latest = events.select(pl.col("at").max()).collect().item()
        if latest is None:
            raise DataError("There are no events to label by.")
        recipe = Recipe(textualizer="rules", textualizer_version="1", window_days=self.window_days)
        window = recipe.window(after(latest))
        names = feature_names(recipe)
        rules = parse_rules(self.rules, names)
        rows = _numbers(events, window, recipe).with_columns(segment=_first(rules)).drop_nulls("segment")
        present = set(rows["segment"].unique())
        if missing := [name for name in rules if name not in present]:
            raise DataError(f"No user is {missing[0]!r} by the rules {self.rules!r}. Change or leave out that one.")
        rows = rows.select(
            "user_key",
            "segment",
            observed_from=pl.lit(window.observed_from, dtype=TIME),
            as_of=pl.lit(window.as_of, dtype=TIME),
            outcome_until=pl.lit(window.as_of, dtype=TIME),
        )
        return Labelled(rows=rows, segments=tuple(rules), definition={"rules": self.rules})


def _numbers(events: pl.LazyFrame, window: Window, recipe: Recipe) -> pl.DataFrame:
    inside = events.filter(pl.col("at") >= window.observed_from, pl.col("at") < window.as_of)
    numbers = features(inside, window, recipe)
    each = [pl.col("features").list.get(n).alias(name) for n, name in enumerate(feature_names(recipe))]
    return numbers.select("user_key", *each).collect()


def _first(rules: dict[str, pl.Expr]) -> pl.Expr:
    return pl.coalesce(pl.when(holds).then(pl.lit(name)) for name, holds in rules.items())


def parse_rules(text: str, names: tuple[str, ...]) -> dict[str, pl.Expr]:
    """Return each segment's condition; the text is parsed as Python expressions and never executed.

    Raises:
        ConfigurationError: a rule cannot be parsed or refers to an unknown number.
    """
    rules: dict[str, pl.Expr] = {}
    for rule in filter(None, (part.strip() for part in text.split(";"))):
        segment, colon, condition = rule.partition(":")
        if not colon or not segment.strip() or segment.strip() in rules:
            raise ConfigurationError(f"The rule {rule!r} is not of the form `segment: condition`, each segment once.")
        try:
            tree = ast.parse(condition.strip(), mode="eval").body
        except (SyntaxError, ValueError):
            message = f"The condition {condition.strip()!r} of {segment.strip()!r} cannot be read."
            raise ConfigurationError(message) from None
        rules[segment.strip()] = _expression(tree, names)
    if len(rules) < 2:
        raise ConfigurationError(
            f"The rules {text!r} name {counted(len(rules), 'segment')}; there must be two or more."
        )
    return rules


def _expression(node: ast.expr, names: tuple[str, ...]) -> pl.Expr:
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            return pl.lit(value)
        case ast.Name(id=name) if name in names:
            return pl.col(name)
        case ast.Name(id=name):
            raise ConfigurationError(f"There is no number {name!r}.{did_you_mean(name, names)}")
        case ast.BoolOp(op=op, values=values):
            parts = [_expression(operand, names) for operand in values]
            return pl.all_horizontal(parts) if isinstance(op, ast.And) else pl.any_horizontal(parts)
        case ast.UnaryOp(op=ast.Not() | ast.USub() as op, operand=operand):
            inner = _expression(operand, names)
            return ~inner if isinstance(op, ast.Not) else -inner
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _COMPUTE:
            return _COMPUTE[type(op)](_expression(left, names), _expression(right, names))  # type: ignore[no-any-return]
        case ast.Compare(left=left, ops=ops, comparators=rights) if all(type(op) in _COMPARE for op in ops):
            sides = [_expression(operand, names) for operand in (left, *rights)]
            return pl.all_horizontal(
                [_COMPARE[type(op)](a, b) for op, a, b in zip(ops, sides, sides[1:], strict=False)]
            )
    raise ConfigurationError(
        f"A rule cannot say {ast.unparse(node)!r}. It may say numbers, + - * /, comparisons, and, or, not."
    )
