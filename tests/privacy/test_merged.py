"""Users who were merged are one person: whichever of their ids is forgotten, no byte of any is left."""

from __future__ import annotations

import pytest

from segadmin.events.erase import forget
from segadmin.events.merge import UserPair, merge_users, undo_merge
from segadmin.settings import Settings
from tests.privacy.victim import HEAD, event, fill, left_of, post, put, users

pytestmark = pytest.mark.privacy


def plant(settings: Settings) -> None:
    """Merge two visitors into a customer, one of them by way of the other, and let more come."""
    fill(settings)
    rows = "visitor~1,view,a,2025-01-01\nvisitor~1,view,b,2025-01-01\nvisitor~2,view,b,2025-01-01\n"
    put(settings, "visitors.csv", HEAD + rows)
    put(settings, "own.csv", "user,segment\nvisitor~1,b\nvictim~1,a\nother,b\n", table="labels", label_set="y")
    merge_users(settings, [UserPair("visitor~1", "visitor~2"), UserPair("visitor~2", "victim~1")])
    post(settings, event("visitor~1"), event("other"))
    put(settings, "late.csv", HEAD + "visitor~1,view,c,2025-01-03\nvisitor~2,stare,c,2025-01-03\n")


@pytest.mark.parametrize("asked", ["visitor~1", "visitor~2", "victim~1"])
def test_no_byte_of_merged_users_is_left(settings: Settings, asked: str) -> None:
    plant(settings)
    names = ("visitor~1", "visitor~2", "victim~1")
    assert all(left_of(settings, name) for name in names)
    [erased] = forget(settings, [asked])
    assert len(erased.merged) == 2
    assert [left_of(settings, name) for name in names] == [{}, {}, {}]
    assert users(settings) == {"other"}


def test_of_an_undone_merge_only_the_one_who_is_asked_for_is_erased(settings: Settings) -> None:
    plant(settings)
    undo_merge(settings, 1)
    [erased] = forget(settings, ["visitor~1"])
    assert erased.merged == []
    assert left_of(settings, "visitor~1") == {}
    assert users(settings) == {"other", "victim~1"}
    assert left_of(settings, "visitor~2")
