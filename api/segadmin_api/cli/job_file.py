"""Job files: what ``segadmin enqueue KIND --config FILE.toml`` asks for."""

from __future__ import annotations

import textwrap
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from segadmin.errors import ConfigurationError, did_you_mean
from segadmin.jobs.registry import Request, option_of, workflow_of
from segadmin.jobs.requests import check_options
from segadmin_api.cli.request_options import default_of, option_name

_WIDTH = 100  #: of the comments in a printed file


def read_job_file(kind: str, path: Path) -> dict[str, Any]:
    """Return the options in a job file: its top-level keys are the fields of the kind's request.

    Where the command line takes a file, so does the key; from the job file's folder, if it is there.

    Raises:
        ConfigurationError: it cannot be read, or has an option that the kind does not have or cannot use.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"The job file {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"The job file {path} is not TOML in UTF-8: {error}.") from None
    model = workflow_of(kind).request
    old = model.old_names()
    for name in given:
        if name in old and old[name] in given:
            raise ConfigurationError(f"{path}: {name!r} is the old name of {old[name]!r}. Give one of them.")
    options = {old.get(name, name): value for name, value in given.items()}
    for name in options:
        if name not in model.offered():
            raise ConfigurationError(f"{path}: a job of the kind {kind} has no option {name!r}.{_meant(name, model)}")
    options = {name: _read(name, value, model, path.parent) for name, value in options.items()}
    try:
        check_options(kind, options)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None
    return options


def merge(options: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return ``options`` with those ``over`` them; tables such as ``backbone_options`` are merged key by key."""
    merged = dict(options)
    for name, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = {**merged[name], **value} if both else value
    return merged


def write_job_file(kind: str, request: Request) -> str:
    """Return a job file that asks for ``request``: what is left to the defaults stands in comments."""
    import tomlkit

    chosen = request.model_dump(mode="json", exclude_defaults=True)
    document = tomlkit.document()
    document.add(tomlkit.comment(f"segadmin enqueue {kind} --config FILE.toml"))
    fields = type(request).offered()
    # Keys that follow a table would be the table's.
    for name in sorted(fields, key=lambda name: isinstance(chosen.get(name), dict)):
        field = fields[name]
        document.add(tomlkit.nl())
        default = option_of(field).default
        for line in textwrap.wrap(f"{field.description or ''}{default and f' Default: {default}.'}", _WIDTH):
            document.add(tomlkit.comment(line))
        if name in chosen:
            document.add(name, tomlkit.item(_without_nulls(chosen[name])))
        else:
            document.add(tomlkit.comment(f"{name} = {_default(field)}".rstrip()))
    return tomlkit.dumps(document)


def _default(field: FieldInfo) -> str:
    """Return a field's default as TOML writes it; nothing for what it cannot write."""
    import tomlkit

    value = default_of(field)
    if value is None or isinstance(value, BaseModel):
        return ""
    return "{}" if value == {} else tomlkit.item(list(value) if isinstance(value, tuple) else value).as_string()


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _read(name: str, value: Any, model: type[Request], folder: Path) -> Any:
    read = option_of(model.model_fields[name]).read
    if read is None or not isinstance(value, str):
        return value
    beside = folder / value
    return read(beside if beside.is_file() else Path(value))


def _meant(name: str, model: type[Request]) -> str:
    """Return the field that was probably meant, also where ``name`` is what the command line calls it."""
    called = {option_name(field, info)[2:]: field for field, info in model.offered().items()}
    meant = called.get(name) or called.get(name.replace("_", "-"))
    return f" Did you mean {meant!r}?" if meant else did_you_mean(name, model.offered())
