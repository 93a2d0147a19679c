"""Finds what drifted between two profiles of users, with one false-alarm rate for all of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from segadmin.monitoring.histogram import Histogram
from segadmin.monitoring.two_samples import RESAMPLES, holm, p_value, stability_index

#: Resampled p-values must be able to be this many times smaller than the smallest that Holm's method asks for.
_RESOLUTION = 10


@dataclass(frozen=True)
class Rule:
    """When a difference is called drift."""

    alpha: float = 0.01  #: probability of any false alarm among all distributions that are compared at once
    least: float = 0.01  #: population stability index below which nothing is reported: some 4 % of the users elsewhere


class Finding(BaseModel):
    """The comparison of one distribution."""

    model_config = ConfigDict(frozen=True)

    name: str  #: of the feature, or of what else is counted
    drifted: bool
    p: float  #: adjusted for the number of distributions
    stability_index: float  #: see :func:`segadmin.monitoring.two_samples.stability_index`
    bin: str  #: the bin whose share of the users changed most
    before: float  #: its share of the users, 0 to 1
    now: float


def find_drift(
    reference: Mapping[str, Histogram], current: Mapping[str, Histogram], rule: Rule = Rule()
) -> list[Finding]:
    """Return the comparison of every distribution that both have in the same bins, drifted ones first.

    Drift is what is unlikely by chance (``rule.alpha`` for all comparisons together, by Holm's method) and large enough
    to matter (``rule.least``). The smaller the groups, the larger a difference must be.
    """
    both = [name for name, histogram in reference.items() if _comparable(histogram, current.get(name))]
    resamples = max(RESAMPLES, math.ceil(_RESOLUTION * 2 * len(both) / rule.alpha))
    pairs = {name: (np.asarray(reference[name].counts), np.asarray(current[name].counts)) for name in both}
    p_values = [
        p_value(before, now, ordered=reference[name].ordered, resamples=resamples)
        for name, (before, now) in pairs.items()
    ]
    adjusted = holm(np.asarray(p_values, np.float64)).tolist()
    findings = []
    for (name, (before, now)), p in zip(pairs.items(), adjusted, strict=True):
        index = stability_index(before, now)
        shares = before / before.sum(), now / now.sum()
        changed = int(np.abs(shares[1] - shares[0]).argmax())
        findings.append(
            Finding(
                name=name,
                drifted=p <= rule.alpha and index >= rule.least,
                p=p,
                stability_index=index,
                bin=reference[name].label(changed),
                before=float(shares[0][changed]),
                now=float(shares[1][changed]),
            )
        )
    return sorted(findings, key=lambda finding: (not finding.drifted, -finding.stability_index, finding.name))


def _comparable(one: Histogram, other: Histogram | None) -> bool:
    if other is None or not one.users or not other.users:
        return False
    return (one.edges, one.categories) == (other.edges, other.categories)
