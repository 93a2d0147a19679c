"""The options of ``segadmin enqueue KIND``, made from the kind's request model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

import typer
from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from segadmin.jobs.registry import Request, option_of
from segadmin_api.cli.output import UsageError, parse_options

#: How the bounds of a field are shown, as Click shows a range: ``0<=x<1``.
_LOW, _HIGH = {"ge": "{:g}<=", "gt": "{:g}<"}, {"le": "<={:g}", "lt": "<{:g}"}


def parameters(model: type[Request]) -> Iterator[inspect.Parameter]:
    """Yield the parameters of a Typer command that asks for ``model``; those of old names are hidden."""
    old = model.old_names()
    for name, field in model.offered().items():
        yield _parameter(name, name, field)
        for alias in (alias for alias, current in old.items() if current == name):
            yield _parameter(alias, name, field, hidden=True)


def given_options(model: type[Request], context: typer.Context) -> dict[str, Any]:
    """Return what was given on the command line, by field; nothing of what was left to the defaults."""
    given: dict[str, Any] = {}
    for parameter, name in (model.old_names() | {name: name for name in model.offered()}).items():
        source = context.get_parameter_source(parameter)
        if source is None or source.name != "COMMANDLINE":
            continue
        value = _value(context.params[parameter], name, model.model_fields[name])
        given[name] = [*given.get(name, ()), *value] if isinstance(value, list) else value
    return given


def check_needed(model: type[Request], options: dict[str, Any]) -> None:
    """Check that nothing that is needed is missing.

    Raises:
        UsageError: something is; naming it.
    """
    for name, field in model.offered().items():
        if field.is_required() and name not in options:
            raise UsageError(f"Missing {_called(name, field)}.")


def option_name(name: str, field: FieldInfo) -> str:
    """Return what a field is called on the command line, with ``--``."""
    return f"--{option_of(field).name or name.replace('_', '-')}"


def default_of(field: FieldInfo) -> Any:
    """Return the default of a field that has one, else ``None``; of an enum's member its value."""
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    return default.value if isinstance(default, Enum) else default


def _called(name: str, field: FieldInfo) -> str:
    return f"argument '{name.upper()}'" if option_of(field).positional else f"option '{option_name(name, field)}'"


def _value(value: Any, name: str, field: FieldInfo) -> Any:
    """Return the value of a field that an option's value stands for."""
    option = option_of(field)
    if option.read is not None:
        return option.read(value)
    for check in (fact for fact in field.metadata if isinstance(fact, BeforeValidator)):
        try:
            value = cast("Callable[[Any], Any]", check.func)(value)
        except ValueError as error:
            raise UsageError(f"Invalid value for {_called(name, field)}: {error}.") from None
    return parse_options(value, option_name(name, field)) if _is_table(field) else value


def _parameter(parameter: str, name: str, field: FieldInfo, *, hidden: bool = False) -> inspect.Parameter:
    """Return the ``parameter`` of the field ``name``: the field itself, or a hidden one of an old name."""
    option, taken = option_of(field), _type(field)
    shown: dict[str, Any] = {"help": _help(field), "metavar": _metavar(name, field, taken), "hidden": hidden}
    default = default_of(field)
    if option.default or (taken == list[str] and default):
        shown["show_default"] = option.default or ", ".join(map(str, default))
    if taken not in {bool, int, float, str}:
        default = None
    if option.positional:
        info = typer.Argument(**shown)
    else:
        info = typer.Option(*_flags(parameter, name, field, taken), **shown)
    optional = taken if default is not None else taken | None
    return inspect.Parameter(
        parameter, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[optional, info]
    )


def _flags(parameter: str, name: str, field: FieldInfo, taken: Any) -> list[str]:
    flag = option_name(name, field) if parameter == name else f"--{parameter.replace('_', '-')}"
    if taken is bool:
        return [f"{flag}/--no-{flag[2:]}"]
    short = option_of(field).short
    return [flag, f"-{short}"] if short and parameter == name else [flag]


def _type(field: FieldInfo) -> Any:
    """Return what Typer reads from the command line; a request checks the value itself."""
    kind = _without_none(field.annotation)
    if option_of(field).read is not None:
        return Path
    if _is_table(field) or get_origin(kind) in {tuple, list, frozenset, set}:
        return list[str]
    reads_text = any(isinstance(each, BeforeValidator) for each in field.metadata)
    return kind if kind in {bool, int, float, datetime} and not reads_text else str


def _without_none(annotation: Any) -> Any:
    """Return ``X`` of ``X | None``; of any other union, the whole."""
    if get_origin(annotation) not in {Union, UnionType}:
        return annotation
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    return kinds[0] if len(kinds) == 1 else annotation


def _is_table(field: FieldInfo) -> bool:
    return option_of(field).read is None and get_origin(_without_none(field.annotation)) is dict


def _metavar(name: str, field: FieldInfo, taken: Any) -> str | None:
    option, kind = option_of(field), _without_none(field.annotation)
    if option.metavar or option.positional:
        return option.metavar or name.upper()
    if choices := _choices(kind):
        return f"[{'|'.join(choices)}]"
    if _is_table(field):
        return "KEY=VALUE"
    return (option.name or "value").upper() if taken == list[str] else None


def _choices(kind: Any) -> list[str]:
    """Return the values that a type names, if it names them."""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [str(member.value) for member in kind]
    return [str(value) for value in get_args(kind)] if get_origin(kind) is Literal else []


def _help(field: FieldInfo) -> str:
    """Return the field's description with its bounds, as ``[0<=x<=1]``, and whether it may or must be given."""
    low, high = _bound(field, _LOW), _bound(field, _HIGH)
    facts = [
        f"{low}x{high}" if low or high else "",
        "repeatable" if _type(field) == list[str] else "",
        "required" if field.is_required() else "",
    ]
    return "  ".join([field.description or "", *(f"[{fact}]" for fact in facts if fact)])


def _bound(field: FieldInfo, forms: Mapping[str, str]) -> str:
    return next(
        (
            form.format(getattr(each, name))
            for name, form in forms.items()
            for each in field.metadata
            if hasattr(each, name)
        ),
        "",
    )
