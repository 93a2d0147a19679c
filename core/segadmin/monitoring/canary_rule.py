"""Decides whether a canary is promoted."""

from __future__ import annotations

from dataclasses import dataclass

from segadmin.monitoring.canary import CanaryComparison, Pair


@dataclass(frozen=True)
class CanaryRule:
    """When a challenger is not promoted."""

    #: An estimated metric is lower by more than this, and by more than chance.
    margin: float = 0.02
    #: The population stability index of the segments' shares is above this: by convention a major shift.
    shift: float = 0.25


@dataclass(frozen=True)
class Decision:
    """Whether the challenger becomes champion, and why."""

    promoted: bool
    reason: str


def decide(comparison: CanaryComparison, rule: CanaryRule = CanaryRule()) -> Decision:
    """Return whether the challenger of a canary is promoted: unless it is shown to be worse.

    It is worse if its measured AUROC is significantly lower, if an estimated metric is lower by more than
    ``rule.margin`` and significantly so, or if its segments have other shares of the same users, beyond ``rule.shift``.
    """
    problems = [*_measured(comparison), *_estimated(comparison, rule), *_shares(comparison, rule)]
    if problems:
        return Decision(promoted=False, reason="; ".join(problems))
    return Decision(promoted=True, reason=f"it is not shown to be worse: {'; '.join(_facts(comparison))}")


def _measured(comparison: CanaryComparison) -> list[str]:
    metrics = comparison.measured.metrics if comparison.measured else {}
    metric = "auroc" if "auroc" in metrics else "accuracy"
    pair = metrics.get(metric)
    return [_words("measured", metric, pair)] if pair is not None and _is_lower(pair) else []


def _estimated(comparison: CanaryComparison, rule: CanaryRule) -> list[str]:
    return [
        f"{_words('estimated', metric, pair)}, which is more than {rule.margin:g} lower"
        for metric, pair in comparison.estimated.items()
        if pair.difference < -rule.margin and _is_lower(pair)
    ]


def _shares(comparison: CanaryComparison, rule: CanaryRule) -> list[str]:
    if comparison.stability_index <= rule.shift:
        return []
    name, pair = max(comparison.segments.items(), key=lambda each: abs(each[1].difference))
    return [
        f"the shares of the segments differ by a stability index of {comparison.stability_index:.2f}, above "
        f"{rule.shift:g}; most of all {name!r}, which has {pair.champion:.1%} of the users by the champion and "
        f"{pair.challenger:.1%} by the challenger"
    ]


def _facts(comparison: CanaryComparison) -> list[str]:
    """Return what speaks for it, or that little is known."""
    facts = [f"both models agree on {comparison.agreement:.1%} of {comparison.compared:,} users"]
    for kind, metrics in (
        ("measured", comparison.measured.metrics if comparison.measured else {}),
        ("estimated", comparison.estimated),
    ):
        if "auroc" in metrics:
            facts.append(_words(kind, "auroc", metrics["auroc"]))
    if comparison.unknown:
        facts.append(comparison.unknown)
    if comparison.measured is None:
        facts.append("no outcomes are known yet")
    return facts


def _words(kind: str, metric: str, pair: Pair) -> str:
    name = {"auroc": "AUROC", "macro_f1": "F1"}.get(metric, metric)
    return f"the {kind} {name} of champion and challenger is {pair}"


def _is_lower(pair: Pair) -> bool:
    return pair.high is not None and pair.high < 0
