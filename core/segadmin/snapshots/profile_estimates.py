"""Estimates profiles of segments from sums over users, with 95 % intervals.

Intervals are over users, because the events of one user are not independent. They are those of the linearized ratio of
a segment's total to everybody's (Woodruff, A Simple Method for Approximating the Variance of a Complicated Estimate,
1971), which needs only sums over users: a bootstrap would need every user many times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import polars as pl

from segadmin.evaluation.bootstrap import LEAST_USERS
from segadmin.snapshots.profile_sums import HOUR, NAME, ProfileSums
from segadmin.snapshots.segment_profile import TOP, Estimate, Lift, SegmentProfile
from segadmin.storage.records import NOT_ENOUGH

_Z = 1.959964  #: of a 95 % interval
#: What fewer users of a segment bought is not shown: it may be chance, and may name a person.
MIN_USERS = 10
#: Minimum share of a category or a brand.
_MIN_SHARE = 0.005


def profiles_of(sums: ProfileSums, users: pl.DataFrame, titles: Mapping[str, str]) -> dict[str, SegmentProfile]:
    """Return the profile of every segment that has users.

    Args:
        sums: over the users, see :mod:`segadmin.snapshots.profile_sums`.
        users: ``segment`` of all users.
        titles: of items.
    """
    sizes = dict(users.select(pl.col("segment").fill_null(NOT_ENOUGH)).group_by("segment").len().iter_rows())
    lifts = {
        "items": _lifts(sums, "item", titles=titles),
        "categories": _lifts(sums, "category", _MIN_SHARE),
        "brands": _lifts(sums, "brand", _MIN_SHARE),
        "hours": _hours(sums),
    }
    worth = {row["segment"]: row for row in sums.value.iter_rows(named=True)}
    return {
        segment: SegmentProfile(
            observed_from=sums.window.observed_from,
            as_of=sums.window.as_of,
            kind=sums.kind,
            users=size,
            **_value(segment, size, worth, has_amounts=sums.has_amounts),
            **{kind: tuple(by_segment.get(segment, ())) for kind, by_segment in lifts.items()},
        )
        for segment, size in sorted(sizes.items())
    }


def _value(segment: str, users: int, worth: Mapping[str, dict[str, float]], *, has_amounts: bool) -> dict[str, object]:
    """Return what the users of a segment spend and buy."""
    own = worth.get(segment, dict.fromkeys(("buyers", "v", "vv", "n", "nn"), 0.0))
    facts = {"buyers": int(own["buyers"]), "purchases": _mean(users, own["n"], own["nn"])}
    if not has_amounts:
        return facts | {"spend": None, "revenue": None}
    total, squares = (sum(each[name] for each in worth.values()) for name in ("v", "vv"))
    return facts | {
        "spend": _mean(users, own["v"], own["vv"]),
        "revenue": _share(users, own["v"], own["vv"], total, squares),
    }


def _mean(users: int, total: float, squares: float) -> Estimate:
    mean = total / users
    if users < LEAST_USERS:
        return Estimate(value=mean)
    variance = max(squares - users * mean**2, 0.0) / (users - 1)
    margin = _Z * math.sqrt(variance / users)
    return Estimate(value=mean, low=max(mean - margin, min(mean, 0.0)), high=mean + margin)


def _share(users: int, total: float, squares: float, of_all: float, squares_of_all: float) -> Estimate | None:
    if of_all <= 0:
        return None
    share = total / of_all
    if users < LEAST_USERS:
        return Estimate(value=share)
    variance = ((1 - share) ** 2 * squares + share**2 * max(squares_of_all - squares, 0.0)) / of_all**2
    margin = _Z * math.sqrt(variance)
    return Estimate(value=share, low=max(share - margin, min(share, 0.0)), high=share + margin)


def _hours(sums: ProfileSums) -> dict[str, list[Lift]]:
    return {
        segment: [_lift(row) for row in rows.sort(pl.col(NAME).cast(pl.Int64)).iter_rows(named=True)]
        for segment, rows in _by_segment(with_intervals(sums.counts[HOUR], sums.totals[HOUR]))
    }


def _lifts(
    sums: ProfileSums, kind: str, min_share: float = 0.0, titles: Mapping[str, str] | None = None
) -> dict[str, list[Lift]]:
    """Return the lifts of names that stand out in any segment, so that segments can be compared."""
    rows = with_intervals(sums.counts[kind], sums.totals[kind]).filter(pl.col("users") >= MIN_USERS)
    top = (
        rows.filter(pl.col("low") > 1, pl.col("share") >= min_share)
        .sort("low", NAME, descending=[True, False])
        .group_by("segment", maintain_order=True)
        .head(TOP)
    )
    shown = rows.filter(pl.col(NAME).is_in(top[NAME].unique().implode())).sort("lift", NAME, descending=[True, False])
    return {
        segment: [_lift(row, (titles or {}).get(row[NAME], "")) for row in each.iter_rows(named=True)]
        for segment, each in _by_segment(shown)
    }


def _by_segment(rows: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    return [(str(key[0]), each) for key, each in rows.group_by("segment", maintain_order=True)]


def _lift(row: Mapping[str, object], title: str = "") -> Lift:
    estimate = {"value": row["lift"], "low": row["low"], "high": row["high"]}
    facts = {name: row[name] for name in ("users", "share", "overall")}
    return Lift.model_validate({"name": row[NAME], "title": title or "", **facts, "lift": estimate})


def with_intervals(counts: pl.DataFrame, totals: pl.DataFrame) -> pl.DataFrame:
    """Return the share of each name in a segment's events, everybody's, and the lift with its interval.

    A user of the segment moves the logarithm of the lift by ``x (1/X_s - 1/X) - t (1/T_s - 1/T)``, another one by
    ``t/T - x/X``: x events of the name, of t; X and T are the totals, and s is the segment. The variance is the sum of
    the squares.

    Args:
        counts: for each ``segment`` and ``name``: ``users``, and the sums of x, x² and x t, see ``ProfileSums``.
        totals: for each ``segment``: the sums of t and t².

    Returns:
        ``counts`` with ``share``, ``overall``, ``lift``, ``low`` and ``high``, which are null with too few users.
    """
    all_t, all_tt = pl.lit(totals["t"].sum()), pl.lit(totals["tt"].sum())  # as expressions: there may be none
    rows = counts.join(totals, on="segment").with_columns(
        pl.col(each).sum().over(NAME).alias(f"all_{each}") for each in ("x", "xx", "xt")
    )
    x, all_x, t = pl.col("x"), pl.col("all_x"), pl.col("t")
    a, b = 1 / x - 1 / all_x, 1 / t - 1 / all_t
    inside = a**2 * pl.col("xx") - 2 * a * b * pl.col("xt") + b**2 * pl.col("tt")
    rest = {each: pl.col(f"all_{each}") - pl.col(each) for each in ("xx", "xt")}
    outside = rest["xx"] / all_x**2 - 2 * rest["xt"] / (all_x * all_t) + (all_tt - pl.col("tt")) / all_t**2
    margin = (_Z * (inside + outside).clip(lower_bound=0.0).sqrt()).exp()
    is_enough = pl.col("users") >= MIN_USERS
    return (
        rows.with_columns(share=x / t, overall=all_x / all_t)
        .with_columns(lift=pl.col("share") / pl.col("overall"))
        .with_columns(
            low=pl.when(is_enough).then(pl.col("lift") / margin),
            high=pl.when(is_enough).then(pl.col("lift") * margin),
        )
    )
