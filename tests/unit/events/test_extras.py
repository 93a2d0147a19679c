"""A shop's own columns are found whatever they are called."""

from __future__ import annotations

import json

import polars as pl
import pytest

from segadmin.events.extras import amount, extra, names_of

NAMES = ["coupon", "优惠券 金额", "it's", 'said "so"', "a.b", "a]b"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_found(name: str) -> None:
    extras_text = json.dumps({key: f"{n}.5" for n, key in enumerate(NAMES)}, ensure_ascii=False)
    frame = pl.DataFrame({"extras": [extras_text, "{}", None]})
    assert frame.select(extra(name)).to_series().to_list() == [f"{NAMES.index(name)}.5", None, None]
    assert frame.select(amount(name)).to_series().to_list() == [NAMES.index(name) + 0.5, None, None]
    assert names_of(frame["extras"]) == NAMES


def test_words_are_no_amount() -> None:
    frame = pl.DataFrame({"extras": ['{"coupon": "none"}', '{"coupon": null}']})
    assert frame.select(amount("coupon")).to_series().to_list() == [None, None]
    assert names_of(frame["extras"].head(0)) == []
