"""The elements of a JSON list, one at a time."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segadmin.events.exact_json import decode
from segadmin_plugins.sources.json_list import ElementTooLong, elements

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20), lambda inner: st.lists(inner, max_size=4)
)


@given(values=st.lists(VALUES, max_size=30), indent=st.sampled_from([None, 0, 3]), longest=st.integers(200, 2000))
def test_each_element_is_as_it_was_written(values: list[Any], indent: int | None, longest: int) -> None:
    text = json.dumps(values, indent=indent)
    try:
        texts = list(elements(f" {text}\n", longest))
    except ElementTooLong as error:
        assert len(json.dumps(values[error.place], indent=indent)) > longest - 100
        return
    assert [json.loads(element) for element in texts] == values
    assert all(element in text for element in texts)


@given(text=st.text(alphabet='[]{},:"01\\ \n-.eEua', max_size=40))
def test_what_the_decoder_refuses_is_refused(text: str) -> None:
    try:
        value = decode(text.strip(" \t\r\n"))
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            list(elements(text, 100))
    else:
        texts = list(elements(text, 100))
        assert [decode(element) for element in texts] == (value if isinstance(value, list) else [value])


@pytest.mark.parametrize("longest", [10, 100])
@pytest.mark.parametrize("place", [0, 1, 50])
@pytest.mark.parametrize("element", ['"{}"', "[{}]", "1{}"])
def test_a_long_element_is_reported_with_its_place(longest: int, place: int, element: str) -> None:
    fits = element.format("1" * (longest - len(element.format(""))))
    text = json.dumps([1] * 50)[1:-1].split(", ")
    assert list(elements(f"[{','.join([*text[:place], fits, *text[place:]])}]", longest)).count(fits) == 1
    with pytest.raises(ElementTooLong) as raised:
        list(elements(f"[{','.join([*text[:place], element.format('1' * longest), *text[place:]])}]", longest))
    assert raised.value.place == place


def test_errors_say_where_in_the_whole_text() -> None:
    text = "[" + "1," * 1000 + "\n x]"
    with pytest.raises(json.JSONDecodeError, match=r"Expecting value: line 2 column 2") as raised:
        list(elements(text, 50))
    assert raised.value.pos == text.index("x")
