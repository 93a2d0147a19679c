"""What is asked of a job: parsed and checked before anything is saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import ValidationError

from segadmin.errors import ConfigurationError, did_you_mean
from segadmin.jobs.registry import Request, option_of, workflow_of
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.store import check_folder, known_store
from segadmin.urls import mask_all, replace_secrets

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Json = dict[str, Any]


def check_request(settings: Settings, kind: str, options: Json) -> Json:
    """Return ``options`` completed with the defaults, or say what is wrong with them.

    Raises:
        ConfigurationError: an unknown kind or option, or a value that cannot be used.
        DataError: there are no events, or no such labels.
        SegadminError: the folder is not the database's store; see :func:`segadmin.storage.store.check_folder`.
        PluginNotFound: there is no such backbone, textualizer, tracker or source.
    """
    request = parse_request(kind, options)
    if settings.embedded_broker:  # the workers are on this machine, and so is the store
        check_folder(settings)
    with reading(settings) as session:
        known_store(session)
    return request.completed(settings).model_dump(mode="json")


def default_options(kind: str, options: Json) -> Json:
    """Return ``options`` completed with the defaults; only their form is checked.

    Raises:
        ConfigurationError: an unknown kind or option, or a value that cannot be used.
    """
    return parse_request(kind, options).model_dump(mode="json")


def chosen_options(kind: str, options: Json) -> Json:
    """Return those of ``options`` that are not the defaults: what somebody asked for, whatever is current now.

    Raises:
        ConfigurationError: an unknown kind or option, or a value that cannot be used.
    """
    return parse_request(kind, options).model_dump(mode="json", exclude_defaults=True)


def check_options(kind: str, options: Json) -> None:
    """Check the form of some of a request's options; others may be missing.

    Raises:
        ConfigurationError: an unknown kind or option, or a value that cannot be used.
    """
    _validate(kind, options, partial=True)


def field_problems(kind: str, options: Json) -> dict[str, str]:
    """Return field → what is wrong with its value, as far as that is known without looking at anything else.

    Raises:
        ConfigurationError: an unknown kind, or a password where none may be.
    """
    model = workflow_of(kind).request
    _refuse_secrets(kind, options)
    try:
        model.model_validate(options)
    except ValidationError as error:
        return {str(problem["loc"][0]) if problem["loc"] else "": _reason(problem) for problem in error.errors()}
    return {}


def current_names(kind: str, options: Json) -> Json:
    """Return ``options``, stored by whatever version, under the names that they have now."""
    names = workflow_of(kind).request.old_names()
    return {names.get(name, name): value for name, value in options.items()}


def parse_request(kind: str, options: Json) -> Request:
    """Return the request that ``options`` make.

    Raises:
        ConfigurationError: an unknown kind or option, or a value that cannot be used.
    """
    request = _validate(kind, options)
    assert request is not None
    return request


def _validate(kind: str, options: Json, *, partial: bool = False) -> Request | None:
    """Return the request; ``None`` where it is ``partial`` and something that is needed is missing."""
    model = workflow_of(kind).request
    _refuse_secrets(kind, options)
    try:
        request = model.model_validate(options)
    except ValidationError as error:
        problems = [problem for problem in error.errors() if not (partial and problem["type"] == "missing")]
        if not problems:
            return None
        raise ConfigurationError(_explain(kind, model, problems[0])) from None
    _refuse_secrets(kind, request.model_dump(mode="json"))  # also in what was read from files, such as a mapping
    return request


def _refuse_secrets(kind: str, options: Json) -> None:
    """Keep passwords out of SQL, where the options of jobs and schedules are stored.

    Raises:
        ConfigurationError: a text in ``options`` holds a password or a token itself, or is one by its option's name.
    """

    def refuse(path: tuple[str, ...], _text: str, shown: str) -> NoReturn:
        raise ConfigurationError(
            f"A job of the kind {kind} cannot use {'.'.join(path)}={shown!r}: jobs are stored, and passwords are "
            "not. Write $SHOP_PASSWORD (in single quotes) for the password, and set SHOP_PASSWORD in the workers' "
            "environment."
        )

    replace_secrets(options, refuse)


def _explain(kind: str, model: type[Request], problem: ErrorDetails) -> str:
    option = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden" and option in model.old_names():
        new = model.old_names()[option]
        return f"A job of the kind {kind} has {option!r} and {new!r}, its new name. Give one of them."
    if problem["type"] == "extra_forbidden":
        return f"A job of the kind {kind} has no option {option!r}.{did_you_mean(option, model.model_fields)}"
    if problem["type"] == "missing":
        return f"A job of the kind {kind} needs the option {option!r}."
    reason = _reason(problem)
    shown = mask_all(problem["input"], tuple(option.split(".")))
    field = model.model_fields.get(option)
    name = "" if field is None else option_of(field).name
    flag = f" (--{name})" if name else ""  # people may know the option by another name only
    return f"A job of the kind {kind} cannot use {option}={shown!r}{flag}: {reason}."


def _reason(problem: ErrorDetails) -> str:
    return str(problem.get("ctx", {}).get("error", problem["msg"])).rstrip(".")
