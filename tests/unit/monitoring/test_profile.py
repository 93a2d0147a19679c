from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from segadmin.monitoring.drift import find_drift
from segadmin.monitoring.profile import (
    AT_LIMIT,
    CONFIDENCE,
    DROPPED_TOKENS,
    NEW_PHRASES,
    OUT_OF_RANGE,
    PHRASES,
    SEGMENT,
    TOKENS,
    UNKNOWN_TOKENS,
    Calibration,
    ScoredUsers,
    increase,
)
from tests.unit.monitoring.users import NAMES, scored_users


def test_everything_is_counted_but_the_calibration_users() -> None:
    users = scored_users(400, seed=1)
    calibration = Calibration.of(users)
    profile = calibration.profile(users)
    assert set(profile) == {*NAMES, SEGMENT, CONFIDENCE, PHRASES, NEW_PHRASES, AT_LIMIT, OUT_OF_RANGE}
    assert {histogram.users for histogram in profile.values()} == {300}
    assert profile["rating_mean"].counts[-1] == pytest.approx(150, abs=40)  # half have no rating
    segments = users.where(users.drawn >= calibration.drawn_below).examples.frame["segment"]
    assert profile[SEGMENT].counts == ((segments == "low").sum(), (segments == "high").sum(), 0)
    assert profile[AT_LIMIT].counts[-1] == 0


def test_the_calibration_users_are_the_same_in_every_snapshot() -> None:
    users, later = scored_users(400, seed=1), scored_users(500, seed=2)
    below = Calibration.of(users).drawn_below
    keys = [set(each.where(each.drawn < below).examples.frame["user_key"].to_list()) for each in (users, later)]
    assert keys[0] == {key for key in keys[1] if key < 400}
    assert len(keys[0]) == 100


def test_at_most_a_thousand_users_choose_the_bins() -> None:
    users = scored_users(5000, seed=1)
    assert Calibration.of(users).profile(users)["spend"].users == 4000


def test_without_a_change_nothing_drifts() -> None:
    calibration = Calibration.of(reference := scored_users(1000, seed=1))
    findings = find_drift(calibration.profile(reference), calibration.profile(scored_users(1000, seed=2, first=9000)))
    assert len(findings) == len(NAMES) + 6
    assert not any(finding.drifted for finding in findings)


def test_a_changed_feature_drifts_with_the_segments_that_depend_on_it() -> None:
    calibration = Calibration.of(reference := scored_users(1000, seed=1))
    findings = find_drift(calibration.profile(reference), calibration.profile(scored_users(1000, seed=2, spend=1.5)))
    assert {finding.name for finding in findings if finding.drifted} >= {"spend", SEGMENT}
    assert {finding.name for finding in findings if not finding.drifted} >= {"visits", CONFIDENCE, PHRASES}


def test_new_phrases_are_those_that_calibration_users_do_not_share() -> None:
    calibration = Calibration.of(reference := scored_users(1000, seed=1))
    before = calibration.profile(reference)
    now = calibration.profile(scored_users(1000, seed=2, new_phrases=2))
    assert before[NEW_PHRASES].counts[0] > 0.99 * before[NEW_PHRASES].users  # 40 phrases: all are common
    assert now[NEW_PHRASES].counts[0] == 0
    assert increase(before, now, NEW_PHRASES, range(3, 11)) > 0.7
    assert increase(before, {}, NEW_PHRASES, range(3, 11)) == 0.0


def _with_tokens(users: ScoredUsers, unknown: int) -> ScoredUsers:
    random = np.random.default_rng(len(users.examples) + unknown)
    tokens = random.integers(0, 100, len(users.examples))
    counts = {"tokens": tokens, "unknown": np.minimum(tokens, unknown), "dropped": np.maximum(tokens - 80, 0)}
    return replace(users, tokens=pl.DataFrame(counts))


def test_unknown_tokens_drift_and_others_do_not() -> None:
    calibration = Calibration.of(reference := _with_tokens(scored_users(1000, seed=1), unknown=0))
    before = calibration.profile(reference)
    now = calibration.profile(_with_tokens(scored_users(1500, seed=2), unknown=10))
    drifted = {finding.name for finding in find_drift(before, now) if finding.drifted}
    assert drifted == {UNKNOWN_TOKENS}
    assert before[TOKENS].users == before[DROPPED_TOKENS].users == 750
    without = (reference.tokens["tokens"] == 0).to_numpy() & (reference.drawn >= calibration.drawn_below)  # type: ignore[index]
    assert before[UNKNOWN_TOKENS].counts[-1] == without.sum() > 0  # a share of no tokens is missing


def test_a_reference_without_tokens_is_compared_with_a_snapshot_that_has_them() -> None:
    calibration = Calibration.of(reference := scored_users(1000, seed=1))
    now = calibration.profile(_with_tokens(scored_users(1000, seed=2), unknown=5))
    assert set(now) == set(calibration.profile(reference))


def test_values_out_of_range_are_counted_per_user() -> None:
    calibration = Calibration.of(reference := scored_users(1000, seed=1))
    far = scored_users(1000, seed=2, spend=100.0)
    before, now = calibration.profile(reference)[OUT_OF_RANGE], calibration.profile(far)[OUT_OF_RANGE]
    assert before.counts[0] > 0.95 * before.users
    assert now.counts[1] > 0.9 * now.users


def test_a_profile_keeps_no_phrase_and_fits_in_json() -> None:
    users = scored_users(1000, seed=1)
    written = Calibration.of(users).model_dump_json()
    assert "bought" not in written
    assert len(written) < 10_000
    assert Calibration.model_validate(json.loads(written)) == Calibration.of(users)


def test_a_shop_without_users_has_an_empty_profile() -> None:
    users = scored_users(4, seed=1)
    nobody = users.where(np.zeros(4, bool))
    profile = Calibration.of(nobody).profile(nobody)
    assert {histogram.users for histogram in profile.values()} == {0}
    assert find_drift(profile, profile) == []


def test_users_without_phrases_are_missing() -> None:
    users = scored_users(200, seed=1)
    empty = users.examples.frame.with_columns(phrases=pl.lit([], dtype=pl.List(pl.String)))
    silent = type(users)(type(users.examples)(empty, users.examples.segments, NAMES), 8)
    assert Calibration.of(users).profile(silent)[NEW_PHRASES].counts[-1] == 150
