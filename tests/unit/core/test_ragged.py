"""Rows of different length in one flat array."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segadmin.ragged import Ragged

_ROWS = st.lists(st.lists(st.integers(0, 2), max_size=4), max_size=8)


@given(_ROWS)
def test_rows_are_what_was_put_in(rows: list[list[int]]) -> None:
    ragged = Ragged.from_rows(rows)
    assert [row.tolist() for row in ragged] == rows
    assert ragged.lengths.tolist() == [len(row) for row in rows]
    assert (ragged.values.shape, ragged.offsets.shape) == ((sum(map(len, rows)),), (len(rows) + 1,))


@given(_ROWS.filter(bool), st.data())
def test_rows_can_be_taken_in_any_order_and_repeatedly(rows: list[list[int]], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=10))
    taken = Ragged.from_rows(rows).take(np.array(chosen, np.int64))
    assert [row.tolist() for row in taken] == [rows[row] for row in chosen]


@given(_ROWS)
def test_equal_rows_are_found(rows: list[list[int]]) -> None:
    first, position = Ragged.from_rows(rows).distinct()
    assert len(first) == len({tuple(row) for row in rows})
    assert [rows[first[place]] for place in position] == rows


def test_a_row_that_does_not_exist() -> None:
    ragged = Ragged.from_rows([[1], [2, 3]])
    assert ragged[-1].tolist() == [2, 3]
    with pytest.raises(IndexError):
        ragged[2]
