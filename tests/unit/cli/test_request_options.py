"""Commands made from request models: what they take, and what they make of it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from pydantic import AliasChoices, Field

from segadmin.errors import ConfigurationError
from segadmin.jobs import registry
from segadmin.jobs.registry import Option, Request, Stage, Workflow, register, workflows
from segadmin_api.cli.enqueue import app, options_of
from segadmin_api.cli.job_file import read_job_file, write_job_file
from segadmin_api.cli.output import UsageError

KINDS = ("compact", "deliver", "ingest", "pretrain", "refresh", "retain", "retrain", "score", "textualize", "tune")


class Colour(StrEnum):
    """A choice that is an enum."""

    RED = "red"
    BLUE = "blue"


class Everything(Request):
    """A field of every type that a request may have."""

    where: Annotated[str, Option(positional=True)] = Field(description="What to read.")
    title: str | None = Field(None, validation_alias=AliasChoices("title", "name"), description="What to call it.")
    count: int = Field(3, ge=1, lt=9, description="How many.")
    share: float | None = Field(None, gt=0, description="How much.")
    deep: bool = Field(False, description="Whether to go on.")
    side: Literal["left", "right"] = Field("left", description="Which side.")
    colour: Colour = Field(Colour.RED, description="Which colour.")
    order: Annotated[list[str], Option(metavar="NAME")] = Field(default_factory=lambda: ["a"], description="A name.")
    until: datetime | None = Field(None, description="When to stop.")
    words: Annotated[tuple[str, ...], Option("word")] = Field(
        (), validation_alias=AliasChoices("words", "terms"), description="A word."
    )
    settings: Annotated[dict[str, Any], Option("setting")] = Field({}, description="A setting.")
    text: Annotated[str, Option(read=Path.read_text)] = Field("", description="A file.")


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The kind of a job that somebody else registered."""
    monkeypatch.setattr(registry, "_registered", dict(workflows()))
    register(Workflow("everything", Everything, (Stage("prepare", lambda _: None),), "Do everything."))  # type: ignore[arg-type,return-value]
    yield "everything"


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("here", {}),
        ("here --count 3", {"count": 3}),
        ("here --share .5 --deep --side right", {"share": 0.5, "deep": True, "side": "right"}),
        ("here --colour blue --order b", {"colour": "blue", "order": ["b"]}),
        ("here --no-deep --until 2026-01-05", {"deep": False, "until": datetime(2026, 1, 5)}),
        ("here --word a --word b", {"words": ["a", "b"]}),
        ("here --setting a=1 --setting b=2=3", {"settings": {"a": "1", "b": "2=3"}}),
        ("here --title new", {"title": "new"}),
        ("here --name old", {"title": "old"}),
        ("here --terms a --word b", {"words": ["a", "b"]}),
    ],
)
def test_only_what_is_given_is_an_option(everything: str, words: str, options: Mapping[str, Any]) -> None:
    assert options_of(everything, words.split()) == {"where": "here", **options}


def test_a_file_is_read_where_the_field_says_so(everything: str, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("hello")
    assert options_of(everything, ["here", "--text", str(tmp_path / "words.txt")])["text"] == "hello"


def test_help_shows_descriptions_defaults_and_bounds_and_hides_old_names(everything: str) -> None:
    options = _options(everything)
    assert options["--count"] == "How many.  [1<=x<9]  [default: 3]"
    assert options["--share"] == "How much.  [0<x]"
    assert options["--side"] == "Which side.  [default: left]"
    assert options["--colour"] == "Which colour.  [default: red]"
    assert options["--order"] == "A name.  [repeatable]  [default: (a)]"
    assert options["--word"] == "A word.  [repeatable]"
    assert not {"--name", "--terms"} & set(options)


def test_a_missing_required_value_is_an_error(everything: str) -> None:
    with pytest.raises(UsageError, match="Missing argument 'WHERE'"):
        options_of(everything, [])
    with pytest.raises(UsageError, match="Missing option '--keep'"):
        options_of("retain", [])


@pytest.mark.parametrize("word", ["--wait", "--priority=3", "--key=x", "--json", "--print-config"])
def test_what_is_about_one_enqueue_is_no_option_of_the_job(word: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{word.partition('=')[0]} is not an option of the job"):
        options_of("compact", [word])


@pytest.mark.parametrize("kind", KINDS)
def test_every_option_of_a_built_in_kind_is_described(kind: str) -> None:
    assert all(text.strip() for text in _options(kind).values())
    assert workflows()[kind].summary.endswith(".")


def test_options_that_were_renamed_are_taken_and_not_listed() -> None:
    words = ["--also", "few", "--precision", ".7"]
    assert options_of("retrain", words) == {"auxiliary_labels": ["few"], "min_precision": 0.7}
    assert not {"--also", "--precision"} & set(_options("retrain"))


def test_a_search_does_not_offer_what_it_does_not_use() -> None:
    assert {"--search", "--seed"} <= set(_options("tune"))
    assert not {"--from", "--baseline", "--margin"} & set(_options("tune"))


def _options(kind: str) -> dict[str, str]:
    """Return the help text of each option, as ``enqueue KIND --help`` has it."""
    group: Any = typer.main.get_command(app)
    command = group.get_command(None, kind)
    context = command.make_context(kind, [], resilient_parsing=True)
    records = [option.get_help_record(context) for option in command.params if option.param_type_name == "option"]
    return {names.split()[0].rstrip(","): text for names, text in filter(None, records)}


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_of_a_request_describes_every_field_by_its_present_name(kind: str) -> None:
    model = workflows()[kind].request
    properties = model.model_json_schema().get("properties", {})
    assert set(properties) == set(model.model_fields)
    assert all(properties[name].get("description") for name in model.offered())


def test_a_job_file_has_the_default_of_every_field(everything: str) -> None:
    printed = write_job_file(everything, Everything(where="here", colour=Colour.BLUE, settings={"a": 1}))
    assert tomllib.loads(printed) == {"where": "here", "colour": "blue", "settings": {"a": 1}}
    for line in ("# count = 3", "# title =", "# deep = false", '# side = "left"', '# order = ["a"]', "# words = []"):
        assert line in printed.splitlines()


def test_a_job_file_with_an_old_and_a_new_name(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text('also = ["a"]\nauxiliary_labels = ["b"]\n')
    with pytest.raises(ConfigurationError, match=r"'also' is the old name of 'auxiliary_labels'\. Give one"):
        read_job_file("retrain", path)
