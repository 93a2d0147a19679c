"""What can be asked of ``retrain``: the labels, the backbone, the split, and when the model is good enough."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import AliasChoices, BeforeValidator, Field
from sqlmodel import Session

from segadmin.contracts.backbone import Backbone
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError
from segadmin.jobs.registry import Option
from segadmin.labels.label_sets import find_label_set
from segadmin.labels.parts import HELD_OUT, SplitBy
from segadmin.models.manifest import manifest_of
from segadmin.models.versions import find_version
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.workflows.backbone_options import DEFAULT_SHOWN, check_here, chosen_backbone, resolved_backbone
from segadmin.workflows.option_values import Days, share_of
from segadmin.workflows.text_options import TextRequest


class Retrain(TextRequest):
    """Options of ``retrain``."""

    common: ClassVar[tuple[str, ...]] = ("labels", "backbone", "backbone_options", "start_from", "reason")

    backbone: Annotated[str | None, Option(short="b", default=f"that of --from, else {DEFAULT_SHOWN}")] = Field(
        None, description="A registered name, a Hugging Face id, or a folder."
    )
    backbone_options: Annotated[dict[str, Any], Option("backbone-option")] = Field(
        {}, description="Option of the backbone."
    )
    start_from: Annotated[str | None, Option("from", metavar="VERSION")] = Field(
        None,
        description="Continue from a model version or from `champion`; of one that was trained here, the seed and the "
        "held-out users are kept.",
    )
    replay: float = Field(
        0.2, ge=0, le=1, description="Fraction of the rows that version was trained on to train on again."
    )
    labels: str | None = Field(None, description="Label set; needed only where there are several.")
    extend_labels: bool = Field(
        False, description="Label later cut-offs first, by the label set's own definition, as far as events go."
    )
    auxiliary_labels: Annotated[tuple[str, ...], Option(metavar="LABELS")] = Field(
        (),
        validation_alias=AliasChoices("auxiliary_labels", "also"),
        description="Label set to learn at the same time, which helps where labels are few.",
    )
    split: SplitBy = Field(SplitBy.TIME, description="How test rows are held out: by time or by user.")
    held_out: float = Field(
        HELD_OUT,
        gt=0,
        le=0.3,
        description="Fraction of users held out for validation; with --split user, as many again for the test.",
    )
    seed: int = Field(17, ge=0, le=2**32 - 1, description="Random seed.")
    margin: float = Field(
        0.0, ge=-1, le=1, description="Promote only if the test AUROC is above each baseline's by this much."
    )
    min_precision: Annotated[float | None, Option(default="every user is assigned")] = Field(
        None,
        gt=0,
        lt=1,
        validation_alias=AliasChoices("min_precision", "precision"),
        description="Minimum precision per segment; users below it stay unassigned.",
    )
    augment: int = Field(0, ge=0, le=20, description="Augmented copies per training row.")
    drop_events: float = Field(0.1, ge=0, lt=1, description="Fraction of events left out of an augmented copy.")
    baselines: Annotated[tuple[str, ...], Option("baseline")] = Field(
        ("tabular", "tfidf"), description="Backbone to train for comparison."
    )
    reason: Annotated[str | None, Option(metavar="TEXT", default="none")] = Field(
        None, max_length=500, description="Why this is done, for people who look at the job."
    )
    force: bool = Field(False, description="Go on although events of the last days seem to be missing.")
    canary: Annotated[float | None, BeforeValidator(share_of), Option(metavar="SHARE", default="all at once")] = Field(
        None,
        gt=0,
        lt=1,
        description="Let the new model first score this share of the users, such as 5%, and compare it with the other.",
    )
    canary_days: Annotated[Days, Option("canary-time", metavar="7d")] = Field(
        7.0, gt=0, le=365, description="With --canary: how long, in the time of the events, before it is decided."
    )
    trackers: Annotated[tuple[str, ...] | None, Option("tracker", default="SEGADMIN_TRACKERS")] = Field(
        None, description="Experiment tracker: tensorboard, wandb, mlflow, or none."
    )
    tracker_options: Annotated[dict[str, Any], Option("tracker-option")] = Field(
        {}, description="Option of a tracker, such as mlflow.uri=http://mlflow:5000."
    )

    def completed(self, settings: Settings) -> Self:
        """Return the request with its labels, its backbone and its trackers."""
        wanted = settings.trackers if self.trackers is None else self.trackers
        request = super().completed(settings).model_copy(update={"trackers": () if wanted == ("none",) else wanted})
        with reading(settings) as session:
            request = request.model_copy(update=_resolved_names(session, request))
        plugins = load_plugins(settings)
        plugins.check_engine()
        request = request.model_copy(update=request.backbone_fields(settings))
        assert request.backbone is not None
        _check_able(plugins.find("backbone", request.backbone).load(), request)
        if request.canary is None and request.canary_days != type(request).model_fields["canary_days"].default:
            raise ConfigurationError("--canary-time says how long a canary runs. Add --canary 5%, or leave it out.")
        for baseline in request.baselines:
            if plugins.find("backbone", baseline).load().uses_unlabelled_users:
                raise ConfigurationError(
                    f"--baseline {baseline} would get no unlabelled users. Train it as the model: --backbone {baseline}"
                )
        trackers = [plugins.make("tracker", *each) for each in request.tracker_settings().items()]
        backbone = plugins.make("backbone", request.backbone, request.backbone_options)
        check_here(settings, plugins, backbone, *trackers)
        return request

    def backbone_fields(self, settings: Settings) -> dict[str, Any]:
        """Return the fields of the backbone; a version to continue from has its options, whatever the language."""
        plugins = load_plugins(settings)
        if self.start_from is not None and self.backbone is not None:
            return resolved_backbone(plugins, self.backbone, self.backbone_options)
        language = self.language or settings.language  # jobs of earlier releases are stored without one
        return chosen_backbone(plugins, self.backbone, self.backbone_options, language)

    def tracker_settings(self) -> dict[str, dict[str, Any]]:
        """Return the options of each tracker.

        Raises:
            ConfigurationError: an option is of none of them.
        """
        options: dict[str, dict[str, Any]] = {name: {} for name in self.trackers or ()}
        for option, value in self.tracker_options.items():
            tracker, _, name = option.partition(".")
            if tracker not in options or not name:
                expected = f"TRACKER.OPTION=VALUE, of one of the trackers {', '.join(options) or '(there are none)'}"
                raise ConfigurationError(f"The tracker option {option!r} is not {expected}.")
            options[tracker][name] = value
        return options


def _resolved_names(session: Session, request: Retrain) -> dict[str, Any]:
    """Return the names that ``request`` leaves open, checked against what there is.

    Raises:
        DataError: there are no such labels.
        ConfigurationError: there is no such version, or it is of another backbone.
    """
    labels = find_label_set(session, request.labels).name
    for name in request.auxiliary_labels:
        if find_label_set(session, name).name == labels:
            raise ConfigurationError(
                f"--auxiliary-labels {name} names the labels that are learnt anyway. Leave it out."
            )
    names: dict[str, Any] = {"labels": labels}
    if request.start_from is not None:
        version = find_version(session, request.start_from, labels)
        trained_options = manifest_of(version).backbone_options
        if request.backbone in {None, version.backbone}:
            options = trained_options | request.backbone_options
            names |= {"backbone": version.backbone, "backbone_options": options}
        elif request.backbone != "stacked" and trained_options.get("model") != request.backbone:
            raise ConfigurationError(
                f"Model version {version.id} is of {version.backbone!r} and cannot become {request.backbone!r}. "
                "Leave out --backbone, or say stacked."
            )
        names["start_from"] = str(version.id)
    return names


def _check_able(backbone: type[Backbone], request: Retrain) -> None:
    """Check that the backbone uses what it is given: what it would leave aside must not be asked for.

    Raises:
        ConfigurationError: it cannot go on from a version, or learn other labels beside.
    """
    for wanted, able, option in (
        (request.start_from, backbone.supports_warm_start, "--from"),
        (request.auxiliary_labels, backbone.supports_auxiliary_tasks, "--auxiliary-labels"),
    ):
        if wanted and not able:
            raise ConfigurationError(
                f"The backbone {backbone.name!r} cannot use {option}; language models can. Leave it out, or say "
                "--backbone minilm"
            )
