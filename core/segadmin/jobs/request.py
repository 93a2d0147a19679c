"""What can be asked of each kind of job, checked before anything is saved."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlmodel import col, select

from segadmin.database import transaction
from segadmin.errors import ConfigurationError, DataError, did_you_mean
from segadmin.learn.resolve import resolve_backbone
from segadmin.plugins import load_plugins
from segadmin.records import Current, LabelSet, ModelVersion, Store
from segadmin.settings import Language, Settings


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Text(_Request):
    textualizer: str = "mixed"
    textualizer_options: dict[str, Any] = {}
    language: Language | None = None  #: default: ``SEGADMIN_LANGUAGE``
    window_days: float = Field(112.0, gt=0)


class Retrain(_Text):
    """Options of ``retrain``."""

    backbone: str = "minilm"
    backbone_options: dict[str, Any] = {}
    labels: str | None = None  #: default: the only label set there is
    split: Literal["time", "user"] = "time"
    seed: int = 17
    baselines: tuple[str, ...] = ("tabular", "tfidf")


class Score(_Request):
    """Options of ``score`` and ``refresh``."""

    model: str = "champion"  #: or the number of a model version
    labels: str | None = None  #: default: the only label set with a champion


class Textualize(_Text):
    """Options of ``textualize``."""


REQUESTS: dict[str, type[_Request]] = {
    "retrain": Retrain,
    "score": Score,
    "refresh": Score,
    "textualize": Textualize,
}


def check_request(settings: Settings, kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return ``options`` completed with the defaults, or say what is wrong with them.

    Only what SQL and the plugin registry know is looked at: it must be quick, and this machine may be one that
    only enqueues.

    Raises:
        ConfigurationError: an unknown kind or option, or a value that cannot be used.
        DataError: there are no events, or no such labels.
        PluginNotFound: there is no such backbone or textualizer.
    """
    request = _request(kind, options)
    checked = request.model_dump(mode="json")
    _check_store(settings)
    if isinstance(request, _Text):
        plugins = load_plugins(settings)
        plugins.find("textualizer", request.textualizer)
        if request.textualizer_options:
            plugins.make("textualizer", request.textualizer, request.textualizer_options)
    if isinstance(request, Retrain):
        name, backbone_options = resolve_backbone(plugins, request.backbone, request.backbone_options)
        checked |= {"backbone": name, "backbone_options": backbone_options}
        for baseline in request.baselines:
            plugins.find("backbone", baseline)
        checked["labels"] = _label_set(settings, request.labels)
        if settings.embedded_broker:  # the workers are on this machine: what they will miss is missed here
            plugins.make("backbone", name, backbone_options).check(settings)
    if isinstance(request, Score):
        checked["labels"] = _scored_label_set(settings, request)
    return checked


def check_kind(kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return ``options`` completed with the defaults; only their form is checked.

    Raises:
        ConfigurationError: an unknown kind or option, or a value that cannot be used.
    """
    return _request(kind, options).model_dump(mode="json")


def _request(kind: str, options: dict[str, Any]) -> _Request:
    if kind not in REQUESTS:
        raise ConfigurationError(f"There is no job kind {kind!r}.{did_you_mean(kind, REQUESTS)}")
    try:
        return REQUESTS[kind].model_validate(options)
    except ValidationError as error:
        raise ConfigurationError(_explain(kind, error)) from None


def _explain(kind: str, error: ValidationError) -> str:
    first = error.errors()[0]
    option = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"A {kind} job has no option {option!r}.{did_you_mean(option, REQUESTS[kind].model_fields)}"
    return f"A {kind} job cannot use {option}={first['input']!r}: {first['msg']}."


def _check_store(settings: Settings) -> None:
    with transaction(settings) as session:
        if session.get(Store, 1) is None:
            raise DataError(
                "There are no events yet. Import some: segadmin data import events FILE, or try: segadmin demo"
            )


def _label_set(settings: Settings, name: str | None) -> str:
    with transaction(settings) as session:
        known = list(session.exec(select(LabelSet.name)).all())
    if name in known:
        return str(name)
    if not known:
        raise DataError(
            "There are no labels to learn from. Import some: segadmin data import labels FILE, "
            "or derive them: segadmin data label NAME --labeler future-spend"
        )
    if name is None:
        if len(known) == 1:
            return known[0]
        raise ConfigurationError(f"Which labels? Add --labels; there are: {', '.join(sorted(known))}.")
    raise ConfigurationError(f"There are no labels {name!r}.{did_you_mean(name, known)}")


def _scored_label_set(settings: Settings, request: Score) -> str:
    with transaction(settings) as session:
        if request.model != "champion":
            version = session.get(ModelVersion, int(request.model)) if request.model.isdigit() else None
            if version is None:
                raise ConfigurationError(f"There is no model version {request.model!r}. See: segadmin models list")
            return version.label_set
        names = session.exec(select(Current.name).where(col(Current.name).startswith("champion:"))).all()
    known = [name.removeprefix("champion:") for name in names]
    if request.labels in known:
        return str(request.labels)
    if not known:
        raise DataError("There is no champion model yet. Train one: segadmin enqueue retrain --wait")
    if request.labels is None:
        if len(known) == 1:
            return known[0]
        raise ConfigurationError(f"Which champion? Add --labels; there are: {', '.join(sorted(known))}.")
    raise ConfigurationError(f"There is no champion for {request.labels!r}.{did_you_mean(request.labels, known)}")
