"""What tells a header from a row of data."""

from __future__ import annotations

import pytest

from segadmin.events.header import looks_like_data


@pytest.mark.parametrize(
    "line",
    [
        "u1,p1,view,2024-01-01",
        "u1,p1,view,1/2/2024 08:26",
        "u1,p1,view,2024年1月5日 08:26:00",
        "1,2268318,2520377,pv,1511544070",
        "17850,85123A,6,2.55",
    ],
)
def test_data(line: str) -> None:
    assert looks_like_data(line.split(","))


@pytest.mark.parametrize(
    "line",
    [
        "user,item,kind,at",
        "user,2024-01-05 clicks,2024 revenue",
        "2024-01-05",
        "用户,商品,时间",
        "user,col1,2,",
        ",,",
    ],
)
def test_header(line: str) -> None:
    assert not looks_like_data(line.split(","))
