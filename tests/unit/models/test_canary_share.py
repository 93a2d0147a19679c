"""Which users are in a canary: about the share, the same everywhere and always, and drawn anew for each canary."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from segadmin.errors import DataError
from segadmin.labels.split import draw
from segadmin.models.canary import CanaryShare, list_canaries, stop_canary
from segadmin.settings import Settings
from segadmin.storage.database import transaction

KEYS = pl.Series(np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 100_000))


def share(share: float, salt: int = 7) -> CanaryShare:
    return CanaryShare(canary_id=1, champion_id=1, challenger_id=2, share=share, salt=salt)


@pytest.mark.parametrize("wanted", [0.01, 0.05, 0.5, 0.95])
def test_the_share_is_met_in_every_bucket(wanted: float) -> None:
    inside = share(wanted).contains(KEYS)
    deviation = (wanted * (1 - wanted) / len(KEYS)) ** 0.5
    assert inside.mean() == pytest.approx(wanted, abs=5 * deviation)
    by_bucket = pl.DataFrame({"bucket": KEYS & 15, "inside": inside}).group_by("bucket").agg(pl.col("inside").mean())
    assert by_bucket["inside"].to_list() == pytest.approx([wanted] * 16, abs=5 * deviation * 4)


def test_a_user_is_found_again_alone_and_in_any_order() -> None:
    half = share(0.5)
    inside = half.contains(KEYS.head(200)).to_list()
    assert [half.has(key) for key in KEYS.head(200)] == inside
    assert half.contains(KEYS.head(200).reverse()).to_list() == inside[::-1]


def test_which_users_are_drawn_never_changes() -> None:
    """A running canary must go on with the same users in every release."""
    keys = pl.Series([0, 1, -1, 2**62, -(2**63), 42, 4711, -12345])
    assert share(0.5, salt=1).versions(keys).to_list() == [1, 1, 1, 2, 2, 1, 1, 1]


def test_a_larger_share_holds_the_smaller_one() -> None:
    small, large = share(0.05).contains(KEYS), share(0.2).contains(KEYS)
    assert (large | ~small).all()


def test_canaries_and_splits_are_drawn_independently() -> None:
    first, second = share(0.5, salt=1).contains(KEYS), share(0.5, salt=2).contains(KEYS)
    assert (first & second).mean() == pytest.approx(0.25, abs=0.01)
    held_out = pl.Series(draw(KEYS.to_numpy(), 17) < 0.5)
    assert (first & held_out).mean() == pytest.approx(0.25, abs=0.01)


def test_without_a_canary_there_is_none_to_stop(settings: Settings) -> None:
    with pytest.raises(DataError, match=r"No canary is running. Start one: segadmin enqueue retrain --canary 5%"):
        stop_canary(settings)
    with transaction(settings) as session:
        assert list_canaries(session) == []
