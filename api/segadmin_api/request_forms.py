"""Forms of the kinds of jobs, made from their request models, and the options that a filled one stands for."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from segadmin.contracts.option_text import option_text
from segadmin.errors import SegadminError
from segadmin.jobs.registry import Request, option_of

Control = Literal["checkbox", "choice", "whole", "number", "text", "lines", "table", "file", "json"]
#: Bounds of a number that a browser knows; it has none that leave out their end.
_LOW, _HIGH = "ge", "le"
_SIMPLE: dict[Any, Control] = {bool: "checkbox", int: "whole", float: "number"}
#: What may be the name of something that segadmin brings, and is no path.
_NAME = re.compile(r"[\w-]+")
#: How bounds are shown.
_SIGNS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}"}


@dataclass(frozen=True)
class FormField:
    """A field of a form, with what stands in it."""

    name: str
    control: Control
    title: str  #: its name in words
    help: str
    required: bool = False
    common: bool = True  #: shown at once
    choices: tuple[str, ...] = ()
    low: str = ""
    high: str = ""
    bounds: str = ""  #: the same in signs, also those that leave out their end
    default: str = ""  #: what is taken where nothing stands in it, in words
    value: str = ""
    error: str = ""

    @property
    def checked(self) -> bool:
        """Whether a checkbox is."""
        return self.value == "true"


class NotUsable(ValueError):
    """What stands in a field cannot be read."""


def form_of(model: type[Request], options: Mapping[str, Any] | None = None) -> list[FormField]:
    """Return the fields of a form: needed ones first, then common ones, then the others; with ``options`` in them."""
    fields = [_field(model, name, field, (options or {}).get(name)) for name, field in model.offered().items()]
    order = {name: place for place, name in enumerate(model.common)}
    return sorted(fields, key=lambda each: (not each.required, not each.common, order.get(each.name, len(order))))


def read_form(model: type[Request], given: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str], list[FormField]]:
    """Return the options that a filled form stands for, field → what cannot be read, and the form as it was filled.

    Args:
        model: of the kind.
        given: field → its text; unchecked boxes are missing.
    """
    options: dict[str, Any] = {}
    problems: dict[str, str] = {}
    filled: list[FormField] = []
    for each in form_of(model):
        text = given.get(each.name, "").replace("\r\n", "\n").strip()
        filled.append(replace(each, value=text))
        if each.control == "checkbox":
            options[each.name] = text == "true"
        elif each.control == "lines" and each.value and not text:  # there is a default, and somebody has emptied it
            options[each.name] = []
        elif text:
            try:
                options[each.name] = _value(model.model_fields[each.name], each, text)
            except NotUsable as error:
                problems[each.name] = str(error)
    return options, problems, filled


def split_fields(fields: Sequence[FormField]) -> tuple[list[FormField], list[FormField]]:
    """Return the fields that are shown at once, and the others."""
    return [each for each in fields if each.common], [each for each in fields if not each.common]


def with_errors(fields: Sequence[FormField], problems: Mapping[str, str]) -> list[FormField]:
    """Return the fields with what is wrong with them."""
    return [replace(each, error=problems.get(each.name, "")) for each in fields]


def _field(model: type[Request], name: str, field: FieldInfo, chosen: Any) -> FormField:
    option, control = option_of(field), _control(field)
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    shown = default if chosen is None else chosen
    bounds = {sign: getattr(fact, sign) for fact in field.metadata for sign in _SIGNS if hasattr(fact, sign)}
    numbers = control in {"whole", "number"}
    return FormField(
        name,
        control,
        title_of(name),
        field.description or "",
        required=field.is_required(),
        common=field.is_required() or not model.common or name in model.common,
        choices=_choices(_without_none(field.annotation)) if control == "choice" else (),
        low=_plain(bounds[_LOW]) if numbers and _LOW in bounds else "",
        high=_plain(bounds[_HIGH]) if numbers and _HIGH in bounds else "",
        bounds=", ".join(_SIGNS[sign].format(_plain(bound)) for sign, bound in bounds.items() if sign in _SIGNS),
        default=option.default,
        value=_text(control, shown),
    )


def title_of(name: str) -> str:
    """Return the name of a field in words."""
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def _control(field: FieldInfo) -> Control:
    kind = _without_none(field.annotation)
    if option_of(field).read is not None:
        return "file"
    if get_origin(kind) is dict:
        return "json" if _is_nested(get_args(kind)[1]) else "table"
    if get_origin(kind) in {tuple, list, frozenset, set}:
        return "lines"
    if _is_nested(kind):
        return "json"
    if _choices(kind):
        return "choice"
    reads_text = any(isinstance(fact, BeforeValidator) for fact in field.metadata)
    return "text" if reads_text else _SIMPLE.get(kind, "text")


def _is_nested(kind: Any) -> bool:
    """Return whether values of a type consist of others."""
    return get_origin(kind) in {dict, tuple, list} or (isinstance(kind, type) and issubclass(kind, BaseModel))


def _value(field: FieldInfo, form: FormField, text: str) -> Any:
    """Return the value that the text of a field stands for.

    Raises:
        NotUsable: it cannot be read.
    """
    if form.control == "lines":
        return [line.strip() for line in text.split("\n") if line.strip()]
    if form.control == "table":
        return dict(_pair(line) for line in text.split("\n") if line.strip())
    if form.control == "json":
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise NotUsable(f"it is not JSON: {error}") from None
    if form.control == "choice":
        kind = _without_none(field.annotation)
        return next((value for value in get_args(kind) if str(value) == text), text)
    return _read_file(field, text) if form.control == "file" else text


def _pair(line: str) -> tuple[str, str]:
    name, sign, value = line.strip().partition("=")
    if not sign or not name.strip():
        raise NotUsable(f"{line.strip()!r} is not name=value")
    return name.strip(), value.strip()


def _read_file(field: FieldInfo, text: str) -> Any:
    """Return what the command line would read from a file with this text, or by the name of a shipped one."""
    read = option_of(field).read
    assert read is not None
    if _NAME.fullmatch(text) and not Path(text).exists():  # whoever sends a form reads no file of the server
        try:
            return read(Path(text))
        except SegadminError as error:
            raise NotUsable(str(error)) from None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "form.toml"
        path.write_text(text, encoding="utf-8")
        try:
            return read(path)
        except SegadminError as error:
            raise NotUsable(str(error).replace(str(path), "the text")) from None


def _text(control: Control, value: Any) -> str:
    """Return a value as it stands in a field."""
    if value in (None, (), [], {}) or (control == "file" and not isinstance(value, str)):
        return ""
    if control == "checkbox":
        return "true" if value else ""
    if control == "lines":
        return "\n".join(str(_plain(each)) for each in value)
    if control == "table":
        return "\n".join(f"{name}={option_text(each)}" for name, each in value.items())
    if control == "json":
        return json.dumps(value.model_dump(mode="json") if isinstance(value, BaseModel) else value, ensure_ascii=False)
    return _plain(value)


def _plain(value: Any) -> str:
    value = value.value if isinstance(value, Enum) else value
    return f"{value:g}" if isinstance(value, float) and value == int(value) else str(value)


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) not in {Union, UnionType}:
        return annotation
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    return kinds[0] if len(kinds) == 1 else annotation


def _choices(kind: Any) -> tuple[str, ...]:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return tuple(str(member.value) for member in kind)
    return tuple(str(value) for value in get_args(kind)) if get_origin(kind) is Literal else ()
