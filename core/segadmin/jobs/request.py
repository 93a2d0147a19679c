"""What can be asked of each kind of job, checked before anything is saved."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from segadmin.database import transaction
from segadmin.errors import ConfigurationError, did_you_mean
from segadmin.events.mapping import Mapping
from segadmin.learn.labels import find_label_set
from segadmin.learn.resolve import resolve_backbone
from segadmin.learn.versions import MadeWith, find_version
from segadmin.plugins import load_plugins
from segadmin.settings import Language, Settings
from segadmin.store import known_store
from segadmin.text.templates import check_templates


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Text(_Request):
    textualizer: str = "mixed"
    textualizer_options: dict[str, Any] = {}
    language: Language | None = None  #: default: ``SEGADMIN_LANGUAGE``
    window_days: float = Field(112.0, gt=0)
    #: what a file says instead of the textualizers' own templates, by language
    templates: dict[Language, dict[str, tuple[str, ...]]] = {}


class Retrain(_Text):
    """Options of ``retrain``."""

    backbone: str = "minilm"
    backbone_options: dict[str, Any] = {}
    labels: str | None = None  #: default: the only label set there is
    split: Literal["time", "user"] = "time"
    seed: int = 17
    margin: float = Field(0.0, ge=-1, le=1)  #: by how much the test AUROC must be above each baseline's
    augment: int = Field(0, ge=0, le=20)  #: copies of each training row that say the same otherwise
    drop_events: float = Field(0.1, ge=0, lt=1)  #: share of the events that a copy leaves out
    baselines: tuple[str, ...] = ("tabular", "tfidf")
    trackers: tuple[str, ...] | None = None  #: default: ``SEGADMIN_TRACKERS``
    tracker_options: dict[str, Any] = {}  #: such as ``{"mlflow.uri": "http://mlflow:5000"}``

    def tracker_settings(self) -> dict[str, dict[str, Any]]:
        """Return the options of each tracker.

        Raises:
            ConfigurationError: an option is of none of them.
        """
        found: dict[str, dict[str, Any]] = {name: {} for name in self.trackers or ()}
        for option, value in self.tracker_options.items():
            tracker, _, name = option.partition(".")
            if tracker not in found or not name:
                known = f"TRACKER.OPTION=VALUE, of one of the trackers {', '.join(found) or '(there are none)'}"
                raise ConfigurationError(f"The tracker option {option!r} is not {known}.")
            found[tracker][name] = value
        return found


class Score(_Request):
    """Options of ``score`` and ``refresh``."""

    model: str = "champion"  #: or the number of a model version
    labels: str | None = None  #: default: the only label set with a champion
    backbone: str | None = None  #: the newest model with this one, where the champion has another
    backbone_options: dict[str, Any] = {}

    @property
    def made_with(self) -> MadeWith | None:
        """What the model must be made with, if anything."""
        return None if self.backbone is None else MadeWith(self.backbone, self.backbone_options)


class Textualize(_Text):
    """Options of ``textualize``."""


class Ingest(_Request):
    """Options of ``ingest``."""

    where: str
    table: Literal["events", "items"] = "events"
    source: str | None = None
    source_options: dict[str, Any] = {}
    mapping: Mapping = Mapping()


class Retain(_Request):
    """Options of ``retain``."""

    keep_days: float = Field(ge=1)


class Compact(_Request):
    """Options of ``compact``: none."""


REQUESTS: dict[str, type[_Request]] = {
    "retrain": Retrain,
    "score": Score,
    "refresh": Score,
    "textualize": Textualize,
    "ingest": Ingest,
    "retain": Retain,
    "compact": Compact,
}


def check_request(settings: Settings, kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return ``options`` completed with the defaults, or say what is wrong with them.

    Only what SQL and the plugin registry know is looked at: it must be quick, and this machine may be one that
    only enqueues.

    Raises:
        ConfigurationError: an unknown kind or option, or a value that cannot be used.
        DataError: there are no events, or no such labels.
        PluginNotFound: there is no such backbone, textualizer or tracker.
    """
    request = _request(kind, options)
    if isinstance(request, Score) and request.backbone is not None:
        name, known = resolve_backbone(load_plugins(settings), request.backbone, request.backbone_options)
        request = request.model_copy(update={"backbone": name, "backbone_options": known})
    if isinstance(request, Retrain) and request.trackers is None:
        request = request.model_copy(update={"trackers": settings.trackers})
    checked = request.model_dump(mode="json")
    with transaction(settings) as session:
        known_store(session)
        if isinstance(request, Retrain):
            checked["labels"] = find_label_set(session, request.labels).name
        if isinstance(request, Score):
            checked["labels"] = find_version(session, request.model, request.labels, request.made_with).label_set
    if isinstance(request, _Text):
        plugins = load_plugins(settings)
        plugins.find("textualizer", request.textualizer)
        if request.textualizer_options:
            plugins.make("textualizer", request.textualizer, request.textualizer_options)
        for templates in request.templates.values():
            check_templates(plugins, templates)
    if isinstance(request, Retrain):
        name, backbone_options = resolve_backbone(plugins, request.backbone, request.backbone_options)
        checked |= {"backbone": name, "backbone_options": backbone_options}
        for baseline in request.baselines:
            plugins.find("backbone", baseline)
        trackers = [plugins.make("tracker", *asked) for asked in request.tracker_settings().items()]
        if settings.embedded_broker:  # the workers are on this machine: what they will miss is missed here
            for needed in (plugins.make("backbone", name, backbone_options), *trackers):
                needed.check(settings)
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
