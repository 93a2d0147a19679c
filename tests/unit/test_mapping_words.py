"""How the mapping of an import is shown to people; programs get it as it is stored."""

from __future__ import annotations

from typing import Any

import pytest

from segadmin.events.mapping import Mapping
from segadmin_api.formatting import option_texts

CHOSEN: dict[str, Any] = {
    "columns": {"user": "customer", "item": ["sku", "code"]},
    "kinds": {"购买": "purchase"},
    "timezone": "Asia/Shanghai",
    "rules": {"mask_personal": False},
}


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (
            CHOSEN,
            "user <- customer, item <- sku, or code; timezone: Asia/Shanghai; kinds: 购买 = purchase; "
            "rules: mask_personal = false",
        ),
        ({"extras": ["page", "ref"]}, "extras: page, ref"),
    ],
)
def test_a_mapping_says_which_column_is_which_field(chosen: dict[str, Any], words: str) -> None:
    stored = Mapping.of(chosen).model_dump(mode="json")
    assert option_texts({"name": "a.csv", "mapping": stored}) == {"name": "a.csv", "mapping": words}


def test_a_default_mapping_is_not_shown_and_an_unknown_one_is() -> None:
    assert option_texts({"mapping": Mapping().model_dump(mode="json"), "label_set": ""}) == {}
    assert option_texts({"mapping": {"columns": {"user": "u"}, "of_later": 1}}) == {"mapping": "user <- u; of_later: 1"}
    assert option_texts({"mapping": "shopify.toml"}) == {"mapping": "shopify.toml"}
