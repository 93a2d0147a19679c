"""The built-in labelers, each on users of whom one can see what they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from segadmin.contracts.labeler import Labeler, Labelled
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError, DataError, PluginContractError
from segadmin.labels.labeling import _check_windows
from segadmin.settings import Settings
from segadmin.storage.schema import TIME

START = datetime(2026, 1, 5, tzinfo=UTC)
WEEKS = {"observe_weeks": 2, "outcome_weeks": 1, "train_cuts": "2,3", "test_cuts": "5", "first_week": "2026-01-05"}
SCHEMA = {
    "user_key": pl.Int64,
    "event_id": pl.Int64,
    "kind": pl.String,
    "item": pl.String,
    "at": TIME,
    **dict.fromkeys(("quantity", "price", "duration", "rating"), pl.Float64),
    **dict.fromkeys(("text", "extras", "title", "category", "brand", "item_extras"), pl.String),
}


def bought(user: int, week: float, **facts: Any) -> dict[str, Any]:
    at = START + timedelta(weeks=week)
    usual = {"kind": "purchase", "item": "i", "price": 10.0, "event_id": int(1000 * week) + user}
    return {"user_key": user, "at": at, **usual, **facts}


def events(*rows: dict[str, Any]) -> pl.LazyFrame:
    return pl.LazyFrame(list(rows), schema=SCHEMA)


def weekly(user: int, weeks: int = 7, **facts: Any) -> list[dict[str, Any]]:
    return [bought(user, week + 0.5, **facts) for week in range(weeks)]


def label(settings: Settings, name: str, log: pl.LazyFrame, **options: Any) -> Labelled:
    made: Labeler = load_plugins(settings).make("labeler", name, WEEKS | options)
    return made.label(log)


def at(labelled: Labelled, week: int) -> dict[int, str]:
    rows = labelled.rows.filter(pl.col("as_of") == START + timedelta(weeks=week)).sort("user_key")
    return dict(rows.select("user_key", "segment").iter_rows())


def test_growth_is_the_spend_a_week_after_beside_that_before(settings: Settings) -> None:
    log = [
        *weekly(1),
        *(bought(2, week + 0.5, price=10.0 * 2**week) for week in range(7)),
        *(bought(3, week + 0.5, price=1000.0 / 3**week) for week in range(7)),
        bought(4, 1.5),
    ]
    labelled = label(settings, "future-growth", events(*log))
    assert labelled.segments == ("down", "flat", "up")
    assert at(labelled, 2) == {1: "flat", 2: "up", 3: "down", 4: "down"}
    assert labelled.definition["flat"] == 0.25
    longer_ago = events(*log, bought(5, 0.5), bought(5, 2.5))
    beside_two = label(settings, "future-growth", longer_ago, flat=0.7)
    beside_one = label(settings, "future-growth", longer_ago, flat=0.7, against_weeks=1)
    assert at(beside_two, 2) == {1: "flat", 2: "up", 3: "down", 4: "down", 5: "up"}
    assert at(beside_one, 2) == {1: "flat", 2: "up", 3: "flat", 4: "down"}, "5 spent nothing in that week"


def test_users_who_stop_buying_have_lapsed(settings: Settings) -> None:
    labelled = label(settings, "future-lapse", events(*weekly(1), bought(2, 0.5), bought(3, 2.5), bought(3, 3.5)))
    assert at(labelled, 2) == {1: "no", 2: "yes"}
    assert at(labelled, 3) == {1: "no", 3: "no"}


def test_the_use_of_a_coupon_is_read_off_the_extras(settings: Settings) -> None:
    with_coupon = bought(1, 2.6, extras='{"coupon_disc": 0.5}')
    log = events(*weekly(1), *weekly(2, extras='{"coupon_disc": 0}'), with_coupon, *weekly(3, extras="{}"))
    labelled = label(settings, "future-use", log, field="coupon_disc")
    assert at(labelled, 2) == {1: "yes", 2: "no", 3: "no"}
    assert at(labelled, 3) == {1: "no", 2: "no", 3: "no"}, "only what comes after the cut-off counts"


def test_the_share_of_a_brand_is_cut_in_three(settings: Settings) -> None:
    log = []
    for user, share in ((1, 0), (2, 1), (3, 2)):
        for n in range(2):
            log += weekly(user, item=f"i{n}", brand="Private" if n < share else "National", event_id=None)
    labelled = label(settings, "future-share", events(*log, bought(4, 1.5)))
    assert at(labelled, 2) == {1: "low", 2: "mid", 3: "high"}, "who buys nothing has no share"
    once = weekly(5, brand="National")
    assert 5 in at(label(settings, "future-share", events(*log, *once)), 2)
    assert at(label(settings, "future-share", events(*log, *once), least=2), 2) == {1: "low", 2: "mid", 3: "high"}


def test_without_test_cutoffs_every_row_may_be_learnt_from(settings: Settings) -> None:
    labelled = label(settings, "future-lapse", events(*weekly(1), bought(2, 0.5)), test_cuts="")
    assert labelled.definition["test_cuts"] == []
    assert at(labelled, 2) == {1: "no", 2: "yes"}


def test_item_extras_can_be_labels(settings: Settings) -> None:
    log = []
    for user, department in ((1, "food"), (2, "home"), (3, "food")):
        log += weekly(user, item_extras=f'{{"department": "{department}"}}')
    labelled = label(settings, "future-affinity", events(*log), by="department")
    assert at(labelled, 2) == {1: "food", 2: "home", 3: "food"}
    with pytest.raises(DataError, match="colour"):
        label(settings, "future-affinity", events(*log), by="colour")


def test_affinity_is_what_stands_out_and_not_what_everybody_buys(settings: Settings) -> None:
    log = [bought(user, week + n / 9, category="milk") for user in range(1, 7) for week in range(7) for n in range(6)]
    odd = {user: "wine" if user % 2 else "toys" for user in range(1, 5)}
    log += [bought(user, week + 0.5, category=what) for user, what in odd.items() for week in range(7)]
    labelled = label(settings, "future-affinity", events(*log), categories=3)
    assert labelled.segments == ("milk", "toys", "wine")
    assert at(labelled, 2) == {1: "wine", 2: "toys", 3: "wine", 4: "toys", 5: "milk", 6: "milk"}
    made = load_plugins(settings).make("labeler", "future-affinity", WEEKS)
    later = made.outcomes(events(*log), labelled.definition, START + timedelta(weeks=4))
    assert dict(later.iter_rows())[1] == "wine"


def test_rules_are_tried_in_order(settings: Settings) -> None:
    log = events(*weekly(1, price=200.0), *weekly(2, weeks=2), *weekly(3))
    rules = "vip: spend > 500 and visits >= 3; asleep: recency_days > 7 * 3; other: not spend < 0"
    made = load_plugins(settings).make("labeler", "rules", {"rules": rules})
    labelled = made.label(log)
    assert labelled.segments == ("vip", "asleep", "other")
    assert dict(labelled.rows.sort("user_key").select("user_key", "segment").iter_rows()) == {
        1: "vip",
        2: "asleep",
        3: "other",
    }


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("vip: spnd > 3; other: True", "no number 'spnd'. Did you mean 'spend'?"),
        ("vip: __import__('os'); other: True", "cannot say"),
        ("vip spend; other: True", "not of the form"),
        ("vip: spend >; other: True", "'spend >' of 'vip' cannot be read"),
        ("vip: spend > 3", "name 1 segment;"),
    ],
)
def test_rules_that_cannot_be_read(settings: Settings, rules: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        load_plugins(settings).make("labeler", "rules", {"rules": rules}).label(events(*weekly(1)))
    assert message in str(error.value)


def test_a_rule_that_holds_for_no_user_is_named(settings: Settings) -> None:
    made = load_plugins(settings).make("labeler", "rules", {"rules": "vip: spend > 1e9; other: True"})
    with pytest.raises(DataError, match="No user is 'vip'"):
        made.label(events(*weekly(1)))


def test_rfm_names_those_who_come_often_and_lately(settings: Settings) -> None:
    often = [bought(1, n / 3, price=50.0) for n in range(21)]
    once = [bought(user, 0.1 * user, price=5.0) for user in range(2, 8)]
    labelled = load_plugins(settings).make("labeler", "rfm").label(events(*often, *once, bought(9, 6.9, price=5.0)))
    segments = dict(labelled.rows.select("user_key", "segment").iter_rows())
    assert (segments[1], segments[2], set(segments)) == ("champion", "lost", {1, *range(2, 8), 9})
    assert set(labelled.segments) == set(segments.values())


def test_a_label_known_before_the_text_ends_is_refused() -> None:
    times = {"observed_from": START, "as_of": START + timedelta(weeks=4), "outcome_until": START + timedelta(weeks=3)}
    with pytest.raises(PluginContractError, match="outcome window overlaps the observed one: observed 2026-01-05"):
        _check_windows("mine", pl.DataFrame([{"user_key": 1, "segment": "a", **times}]))
