"""Forms are made from request models, and what is filled in is read as the command line reads it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import BaseModel, BeforeValidator, Field

from segadmin.contracts.templates import read_templates
from segadmin.jobs.registry import Option, Request, offered_kinds, workflows
from segadmin.jobs.requests import field_problems, parse_request
from segadmin_api.request_forms import FormField, form_of, read_form, title_of


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Nested(BaseModel):
    depth: int = 1


class Plugin(Request):
    """A request with a field of every kind."""

    common: ClassVar[tuple[str, ...]] = ("share", "colour")

    colour: Colour = Colour.RED
    level: Literal[1, 2] | None = Field(None, description="How much.")
    count: int = Field(3, ge=1, le=9)
    share: float = Field(0.5, gt=0, le=1)
    is_on: bool = True
    name: str = Field(description="What it is called.")
    when: datetime | None = None
    days: Annotated[float, BeforeValidator(lambda text: text)] = 7.0
    names: tuple[str, ...] = ("a", "b")
    table: dict[str, Any] = Field({})
    nested: Nested = Nested()
    deep: dict[str, dict[str, int]] = Field({})
    templates: Annotated[dict[str, Any], Option(read=read_templates)] = Field({})


def by_name(fields: list[FormField]) -> dict[str, FormField]:
    return {each.name: each for each in fields}


def test_every_field_gets_its_control() -> None:
    fields = form_of(Plugin)
    assert [each.name for each in fields[:4]] == ["name", "share", "colour", "level"], "needed, common, the others"
    assert [each.name for each in fields if each.common] == ["name", "share", "colour"]
    controls = {each.name: each.control for each in fields}
    assert controls == {
        "colour": "choice",
        "level": "choice",
        "count": "whole",
        "share": "number",
        "is_on": "checkbox",
        "name": "text",
        "when": "text",
        "days": "text",
        "names": "lines",
        "table": "table",
        "nested": "json",
        "deep": "json",
        "templates": "file",
    }
    known = by_name(fields)
    assert (known["colour"].choices, known["colour"].value) == (("red", "blue"), "red")
    assert (known["count"].low, known["count"].high) == ("1", "9")
    assert (known["share"].low, known["share"].high, known["share"].bounds) == ("", "1", "> 0, ≤ 1")
    assert known["is_on"].checked
    assert known["names"].value == "a\nb"
    assert known["level"].help == "How much."
    assert title_of("max_age_days") == "Max age days"


@pytest.mark.parametrize("kind", offered_kinds())
def test_a_form_as_it_is_shown_asks_for_the_defaults(kind: str) -> None:
    model = workflows()[kind].request
    shown = {each.name: each.value for each in form_of(model) if each.control != "checkbox" or each.checked}
    needed = {"where": "redis://shop", "snapshot": "3", "keep_days": "400d", "labels": "spend3"}
    shown |= {each.name: needed[each.name] for each in form_of(model) if each.required}
    options, problems, _ = read_form(model, shown)
    assert problems == {}
    request = parse_request(kind, options)
    chosen = request.model_dump(exclude_defaults=True).keys()
    assert chosen <= needed.keys()


def test_what_is_filled_in_is_read() -> None:
    given = {
        "name": "  a job ",
        "level": "2",
        "count": "4",
        "names": "x\r\n\r\n y \r\n",
        "table": "epochs=3\r\nmodel = a=b",
        "nested": '{"depth": 4}',
        "deep": '{"a": {"b": 1}}',
        "templates": '[zh.summary]\nempty = "无"',
        "unknown": "x",
    }
    options, problems, filled = read_form(Plugin, given)
    assert problems == {}
    request = Plugin.model_validate(options)
    assert (request.name, request.level, request.count, request.is_on) == ("a job", 2, 4, False)
    assert (request.names, request.table) == (("x", "y"), {"epochs": "3", "model": "a=b"})
    assert (request.nested.depth, request.deep) == (4, {"a": {"b": 1}})
    assert by_name(filled)["names"].value == "x\n\n y"
    assert by_name(filled)["share"].value == "", "what somebody has emptied stays empty"
    assert request.share == 0.5


def test_an_emptied_list_is_empty() -> None:
    options, _, _ = read_form(Plugin, {"names": ""})
    assert options["names"] == []


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("table", "epochs", "'epochs' is not name=value"),
        ("table", "=3", "'=3' is not name=value"),
        ("nested", "{", "it is not JSON"),
        ("deep", "[" * 100_000, "it is not JSON"),
        ("templates", "[zz]\na = 1\n", "the text has 'zz', which is not a language"),
        ("templates", "no toml at all!", "The template file the text cannot be read"),
    ],
)
def test_what_cannot_be_read_is_said_and_kept(name: str, text: str, problem: str) -> None:
    options, problems, filled = read_form(Plugin, {name: text})
    assert list(problems) == [name]
    assert problem in problems[name]
    assert name not in options
    assert by_name(filled)[name].value == text.strip()


def test_a_form_reads_no_file_of_the_server(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_text('[zh.summary]\nempty = "s3cret"')
    for path in ("secret", str(tmp_path / "secret"), "./secret", "../secret"):
        options, problems, _ = read_form(Plugin, {"templates": path})
        assert "templates" in problems
        assert "s3cret" not in str((options, problems))


def test_all_that_is_wrong_is_named_by_its_field() -> None:
    problems = field_problems("retrain", {"held_out": "0.9", "canary": "all", "nothing": 1, "seed": "x"})
    assert problems.keys() == {"held_out", "canary", "nothing", "seed"}
    assert problems["held_out"] == "Input should be less than or equal to 0.3"
    assert "'all' is no share of the users" in problems["canary"]
    assert field_problems("retrain", {"held_out": "0.2"}) == {}


def test_options_of_a_job_fill_its_form() -> None:
    fields = by_name(form_of(Plugin, {"count": 7, "names": ["x"], "table": {"a": [1, 2]}, "is_on": False}))
    assert (fields["count"].value, fields["names"].value, fields["table"].value) == ("7", "x", "a=1,2")
    assert not fields["is_on"].checked
