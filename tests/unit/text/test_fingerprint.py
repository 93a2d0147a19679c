from __future__ import annotations

import polars as pl

from segadmin.text.fingerprint import phrase_hash


def hashed(*users: list[str]) -> list[int]:
    return phrase_hash(pl.Series(users, dtype=pl.List(pl.String))).to_list()


def test_the_hash_never_changes_between_versions() -> None:
    """Snapshots hold these: another value would have a refresh score everybody again."""
    assert hashed(["浏览商品ID_456", "购买商品ID_789"], []) == [-2310479848373908827, -1970711489451281740]


def test_the_hash_depends_on_order_and_boundaries() -> None:
    distinct = hashed(["a", "b"], ["b", "a"], ["ab"], ["a b"], ["a"], [])
    assert len(set(distinct)) == len(distinct)
    assert hashed(["a", "b"]) == hashed(["a", "b"])
