"""The types of plugin options in words."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from segadmin_api.option_types import type_words


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "whole number"),
        (Annotated[float, Field(gt=0, le=1)], "number > 0 and ≤ 1"),
        (bool, "true or false"),
        (str | None, "text"),
        (Literal["auto", "adapter", "merged"], "auto, adapter or merged"),
        (Literal["auto"], "auto"),
        (str | list[int], "text or list"),
        (dict[str, Any], "table"),
        (Any, "any"),
        (pytest.Item, "Item"),
    ],
)
def test_a_type_is_described_in_words(annotation: Any, words: str) -> None:
    assert type_words(annotation) == words


def test_a_type_is_described_in_another_language() -> None:
    words = {"whole number": "整数", "%(low)s and %(high)s": "%(low)s 且 %(high)s"}
    translated = type_words(Annotated[int, Field(ge=1, le=64)], lambda text: words.get(text, text))
    assert translated == "整数 ≥ 1 且 ≤ 64"
