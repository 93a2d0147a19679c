from __future__ import annotations

import numpy as np
import polars as pl

from segadmin.hashing import GOLDEN_GAMMA, bucket_of, splitmix64


def test_the_generator_gives_the_published_numbers() -> None:
    states = np.array([1234567 + n * GOLDEN_GAMMA & (1 << 64) - 1 for n in (1, 2, 3)], np.uint64)
    before = states.copy()
    mixed = splitmix64(states)
    assert mixed.tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert (states == before).all()  # what is given stays as it is


def test_a_key_and_a_column_of_keys_are_in_the_same_buckets() -> None:
    keys = [0, 15, 16, -1, -(2**63), 2**63 - 1]
    column = pl.DataFrame({"key": keys}).select(bucket_of(pl.col("key"), 16)).to_series().to_list()
    assert column == [bucket_of(key, 16) for key in keys] == [0, 15, 0, 15, 0, 15]
