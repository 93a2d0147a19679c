"""The segment of a user is looked up in memory, where the users are in groups of buckets."""

from __future__ import annotations

import pytest

from segadmin.settings import Settings
from segadmin.snapshots.lookup import SegmentLookup
from segadmin.snapshots.read import assignments, bucket_groups


@pytest.mark.parametrize(("rows", "at_once"), [(0, 1), (240, 1), (240, 40), (240, 239), (240, 240), (7, 10_000)])
def test_every_bucket_is_in_one_group(rows: int, at_once: int) -> None:
    groups = bucket_groups(rows, 16, at_once)
    assert [bucket for group in groups for bucket in group] == list(range(16))
    assert len({len(group) for group in groups[:-1]}) <= 1, "a bucket's group follows from its number"
    assert all(len(group) * rows <= 16 * at_once or len(group) == 1 for group in groups)


@pytest.mark.parametrize("at_once", [1, 100, 100_000])
def test_every_user_is_found_with_their_own_row(shop: Settings, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr("segadmin.snapshots.lookup._AT_ONCE", at_once)
    lookup = SegmentLookup(shop)
    users = assignments(shop, 1).select("user_key", "segment", "probabilities").collect()
    for key, segment, probabilities in users.iter_rows():
        current = lookup.find([key])
        assert current is not None
        assert (current.segment, list(current.probabilities.values())) == (segment, probabilities)
    unknown = next(key for key in range(1_000) if key not in set(users["user_key"]))
    assert lookup.find([unknown]) is None
