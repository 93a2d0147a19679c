"""What can be asked of each kind of job, checked before anything is saved."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlmodel import Session

from segadmin.contracts.backbone import Backbone
from segadmin.contracts.plugins import Plugins, load_plugins
from segadmin.contracts.resolve import resolve_backbone
from segadmin.contracts.templates import check_templates
from segadmin.errors import BackboneUnavailable, ConfigurationError, did_you_mean
from segadmin.events.mapping import Mapping
from segadmin.labels.label_sets import find_label_set
from segadmin.models.versions import MadeWith, find_version
from segadmin.settings import Language, Settings
from segadmin.storage.database import reading
from segadmin.storage.records import ModelState, ModelVersion
from segadmin.storage.store import check_folder, known_store
from segadmin.training.search_space import choices
from segadmin.urls import has_secret, mask_all, mask_url
from segadmin.workflows.prepared import HELD_OUT


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Text(_Request):
    textualizer: str = "mixed"
    textualizer_options: dict[str, Any] = {}
    language: Language | None = None  #: default: ``SEGADMIN_LANGUAGE``
    window_days: float = Field(112.0, gt=0)
    max_phrases: int = Field(96, ge=1, le=10_000)  #: a user's phrases beyond these are not kept
    #: what a file says instead of the textualizers' own templates, by language
    templates: dict[Language, dict[str, tuple[str, ...]]] = {}


#: Where nobody says which, and no version to go on from tells.
DEFAULT_BACKBONE = "minilm"


class Retrain(_Text):
    """Options of ``retrain``."""

    backbone: str | None = None  #: default: that of the version to go on from, else :data:`DEFAULT_BACKBONE`
    backbone_options: dict[str, Any] = {}
    start_from: str | None = None  #: ``champion``, or the number of a model version, pretrained or trained
    replay: float = Field(0.2, ge=0, le=1)  #: share of what that version has learnt that it is shown again
    labels: str | None = None  #: default: the only label set there is
    also: tuple[str, ...] = ()  #: label sets to learn at the same time
    split: Literal["time", "user"] = "time"
    held_out: float = Field(HELD_OUT, gt=0, le=0.3)  #: share of the users who choose when to stop
    seed: int = 17
    margin: float = Field(0.0, ge=-1, le=1)  #: by how much the test AUROC must be above each baseline's
    #: how often those put in a segment shall be right; who cannot be is put in none. Default: everybody is put in one
    precision: float | None = Field(None, gt=0, lt=1)
    augment: int = Field(0, ge=0, le=20)  #: copies of each training row that say the same otherwise
    drop_events: float = Field(0.1, ge=0, lt=1)  #: share of the events that a copy leaves out
    baselines: tuple[str, ...] = ("tabular", "tfidf")
    trackers: tuple[str, ...] | None = None  #: default: ``SEGADMIN_TRACKERS``; ``none`` for none
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


class Tune(Retrain):
    """Options of ``tune``: those of ``retrain``, of which the search tries other ``backbone_options``."""

    baselines: tuple[str, ...] = ()
    search: dict[str, str] = {}  #: option of the backbone → its values; default: what the backbone says
    trials: int = Field(20, ge=1, le=10_000)
    parallel: int = Field(2, ge=1, le=64)  #: steps that run trials at the same time, where there are workers
    minutes: float | None = Field(None, gt=0)  #: no trial begins later, and those that run are pruned


class Pretrain(_Text):
    """Options of ``pretrain``."""

    backbone: str = DEFAULT_BACKBONE
    backbone_options: dict[str, Any] = {}
    until: datetime | None = None  #: texts end here; default: where the labels' test rows begin, else now
    windows: int = Field(4, ge=1, le=60)  #: so many texts of each user, each half a window before the next
    mask: float = Field(0.15, gt=0, lt=1)  #: share of what is hidden and to be guessed, in encoders
    whole_phrases: bool = False  #: hide whole phrases, not single tokens
    new_words: int = Field(0, ge=0, le=50_000)  #: of the shop's own, to be added to the vocabulary
    seed: int = 17


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
    "pretrain": Pretrain,
    "retrain": Retrain,
    "tune": Tune,
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
        SegadminError: the folder is not the database's store; see :func:`segadmin.storage.store.check_folder`.
        PluginNotFound: there is no such backbone, textualizer, tracker or source.
    """
    request = _request(kind, options)
    if isinstance(request, Score) and request.backbone is not None:
        name, known = resolve_backbone(load_plugins(settings), request.backbone, request.backbone_options)
        request = request.model_copy(update={"backbone": name, "backbone_options": known})
    if isinstance(request, _Text) and request.language is None:  # who asks decides, and not the worker's setting
        request = request.model_copy(update={"language": settings.language})
    if isinstance(request, Retrain):
        asked = settings.trackers if request.trackers is None else request.trackers
        request = request.model_copy(update={"trackers": () if asked == ("none",) else asked})
    checked = request.model_dump(mode="json")
    if settings.embedded_broker:  # the workers are on this machine, and so is the store
        check_folder(settings)
    with reading(settings) as session:
        known_store(session)
        if isinstance(request, Retrain):
            request = _completed(session, request)
            checked |= request.model_dump(mode="json")
        if isinstance(request, Score):
            version = find_version(session, request.model, request.labels, request.made_with)
            checked["labels"] = _usable(version).label_set
    if isinstance(request, _Text):
        plugins = load_plugins(settings)
        plugins.find("textualizer", request.textualizer)
        if request.textualizer_options:
            plugins.make("textualizer", request.textualizer, request.textualizer_options)
        for templates in request.templates.values():
            check_templates(plugins, templates)
    if isinstance(request, Ingest) and request.source is not None:
        load_plugins(settings).find("source", request.source)
    if isinstance(request, Retrain | Pretrain):
        checked |= _check_model(settings, plugins, request)
    return checked


def _check_model(settings: Settings, plugins: Plugins, request: Retrain | Pretrain) -> dict[str, Any]:
    """Return the backbone and its options, and what is searched, after checking all that is to be fitted."""
    wanted = request.backbone or DEFAULT_BACKBONE
    name, options = resolve_backbone(plugins, wanted, request.backbone_options)
    checked: dict[str, Any] = {"backbone": name, "backbone_options": options}
    trackers: dict[str, dict[str, Any]] = {}
    if isinstance(request, Tune):
        checked["search"] = _search(plugins, name, options, request)
    if isinstance(request, Retrain):
        _check_able(plugins.find("backbone", name).load(), request)
        for baseline in request.baselines:
            plugins.find("backbone", baseline)
        trackers = request.tracker_settings()
    made = [plugins.make("tracker", *asked) for asked in trackers.items()]
    if settings.embedded_broker:  # the workers are on this machine: what they will miss is missed here
        for needed in (plugins.make("backbone", name, options), *made):
            try:
                needed.check(settings)
            except BackboneUnavailable as error:  # the name of a backbone whose plugin failed is taken for a model's
                raise BackboneUnavailable(f"{error}{plugins.failures}") from None
    return checked


def _completed(session: Session, request: Retrain) -> Retrain:
    """Return ``request`` with the names that it leaves open, and checked against what there is.

    Raises:
        DataError: there are no such labels.
        ConfigurationError: there is no such version, or it is of another backbone.
    """
    labels = find_label_set(session, request.labels).name
    for name in request.also:
        if find_label_set(session, name).name == labels:
            raise ConfigurationError(f"--also {name} names the labels that are learnt anyway. Leave it out.")
    found: dict[str, Any] = {"labels": labels}
    if request.start_from is not None:
        version = find_version(session, request.start_from, labels)
        known = version.manifest["backbone_options"]
        if request.backbone in {None, version.backbone}:
            options = known | request.backbone_options
            found |= {"backbone": version.backbone, "backbone_options": options}
        elif request.backbone != "stacked" and known.get("model") != request.backbone:
            raise ConfigurationError(
                f"Model version {version.id} is of {version.backbone!r} and cannot become {request.backbone!r}. "
                "Leave out --backbone, or say stacked."
            )
        found["start_from"] = str(version.id)
    return request.model_copy(update=found)


def _search(plugins: Plugins, backbone: str, options: dict[str, Any], request: Tune) -> dict[str, str]:
    """Return what is searched, by default what the backbone says, less the options that are given.

    Raises:
        ConfigurationError: the backbone has no such option, cannot use a value, or says nothing to search.
    """
    space = dict(request.search) or dict(plugins.find("backbone", backbone).load().search)
    space = {name: words for name, words in space.items() if name not in options or name in request.search}
    found = choices(space)
    if not found:
        raise ConfigurationError(
            f"The backbone {backbone!r} does not say what to search. Say it: --search learning_rate=1e-5..1e-3:log"
        )
    plugins.make("backbone", backbone, options | {one.name: one.an_example for one in found})
    return space


def _check_able(backbone: type[Backbone], request: Retrain) -> None:
    """Check that the backbone uses what it is given: what it would leave aside must not be asked for.

    Raises:
        ConfigurationError: it cannot go on from a version, or learn other labels beside.
    """
    for asked, able, option in (
        (request.start_from, backbone.goes_on, "--from"),
        (request.also, backbone.learns_beside, "--also"),
    ):
        if asked and not able:
            raise ConfigurationError(
                f"The backbone {backbone.name!r} cannot use {option}; language models can. Leave it out, or say "
                "--backbone minilm"
            )


def _usable(version: ModelVersion) -> ModelVersion:
    """Return ``version``.

    Raises:
        ConfigurationError: it is pretrained only, and knows no segments.
    """
    if version.state == ModelState.PRETRAINED:
        raise ConfigurationError(
            f"Model version {version.id} is pretrained only and knows no segments. Teach it: "
            f"segadmin enqueue retrain --from {version.id}"
        )
    return version


def check_kind(kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return ``options`` completed with the defaults; only their form is checked.

    Raises:
        ConfigurationError: an unknown kind or option, or a value that cannot be used.
    """
    return _request(kind, options).model_dump(mode="json")


def chosen(kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return those of ``options`` that are not the defaults: what somebody asked for, whatever is current now.

    Raises:
        ConfigurationError: an unknown kind or option, or a value that cannot be used.
    """
    return _request(kind, options).model_dump(mode="json", exclude_defaults=True)


def _request(kind: str, options: dict[str, Any]) -> _Request:
    if kind not in REQUESTS:
        raise ConfigurationError(f"There is no job kind {kind!r}.{did_you_mean(kind, REQUESTS)}")
    _refuse_secrets(kind, options)
    try:
        return REQUESTS[kind].model_validate(options)
    except ValidationError as error:
        raise ConfigurationError(_explain(kind, error)) from None


def _refuse_secrets(kind: str, value: Any, option: str = "") -> None:
    """Keep passwords out of SQL, where the options of jobs and schedules are stored.

    Raises:
        ConfigurationError: a URL in ``value`` holds a password or a token itself.
    """
    if isinstance(value, dict):
        for name, inner in value.items():
            _refuse_secrets(kind, inner, f"{option}.{name}".lstrip("."))
    elif isinstance(value, list | tuple):
        for inner in value:
            _refuse_secrets(kind, inner, option)
    elif isinstance(value, str) and has_secret(value):
        raise ConfigurationError(
            f"A {kind} job cannot use {option}={mask_url(value)!r}: jobs are stored, and passwords are not. Write "
            "$SHOP_PASSWORD (in single quotes) for the password, and set SHOP_PASSWORD in the workers' environment."
        )


def _explain(kind: str, error: ValidationError) -> str:
    first = error.errors()[0]
    option = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"A {kind} job has no option {option!r}.{did_you_mean(option, REQUESTS[kind].model_fields)}"
    return f"A {kind} job cannot use {option}={mask_all(first['input'])!r}: {first['msg']}."
