"""The ``retrain`` job: fine-tune a backbone on labelled users, test it, and score everybody if it is good."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, Field
from sqlmodel import Session

from segadmin.contracts.backbone import Backbone
from segadmin.contracts.plugins import Plugins, load_plugins
from segadmin.contracts.resolve import resolve_backbone
from segadmin.errors import BackboneUnavailable, ConfigurationError
from segadmin.jobs.attempt import Attempt, StageResult
from segadmin.jobs.registry import Option, Stage, Workflow, register
from segadmin.labels.label_sets import find_label_set
from segadmin.models.versions import find_version
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.workflows.prepared import HELD_OUT
from segadmin.workflows.scoring import publish, score
from segadmin.workflows.text_options import TextRequest
from segadmin.workflows.textualize import TEXTUALIZE

#: Where nobody says which, and no version to go on from tells.
DEFAULT_BACKBONE = "minilm"


class Retrain(TextRequest):
    """Options of ``retrain``."""

    backbone: Annotated[str | None, Option(short="b", default=f"that of --from, else {DEFAULT_BACKBONE}")] = Field(
        None, description="A registered name, a Hugging Face id, or a folder."
    )
    backbone_options: Annotated[dict[str, Any], Option("backbone-option")] = Field(
        {}, description="Option of the backbone."
    )
    start_from: Annotated[str | None, Option("from", metavar="VERSION")] = Field(
        None,
        description="Continue from a model version or from `champion`; of a trained one, the seed and the held-out "
        "users are kept.",
    )
    replay: float = Field(
        0.2, ge=0, le=1, description="Fraction of the rows that version was trained on to train on again."
    )
    labels: str | None = Field(None, description="Label set; needed only where there are several.")
    auxiliary_labels: Annotated[tuple[str, ...], Option(metavar="LABELS")] = Field(
        (),
        validation_alias=AliasChoices("auxiliary_labels", "also"),
        description="Label set to learn at the same time, which helps where labels are few.",
    )
    split: Literal["time", "user"] = Field("time", description="How test rows are held out: by time or by user.")
    held_out: float = Field(
        HELD_OUT,
        gt=0,
        le=0.3,
        description="Fraction of users held out for validation; with --split user, as many again for the test.",
    )
    seed: int = Field(17, description="Random seed.")
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
            request = request.model_copy(update=_found(session, request))
        plugins = load_plugins(settings)
        request = request.model_copy(update=resolved_backbone(plugins, request.backbone, request.backbone_options))
        assert request.backbone is not None
        _check_able(plugins.find("backbone", request.backbone).load(), request)
        for baseline in request.baselines:
            plugins.find("backbone", baseline)
        trackers = [plugins.make("tracker", *each) for each in request.tracker_settings().items()]
        backbone = plugins.make("backbone", request.backbone, request.backbone_options)
        check_here(settings, plugins, backbone, *trackers)
        return request

    def tracker_settings(self) -> dict[str, dict[str, Any]]:
        """Return the options of each tracker.

        Raises:
            ConfigurationError: an option is of none of them.
        """
        options: dict[str, dict[str, Any]] = {name: {} for name in self.trackers or ()}
        for option, value in self.tracker_options.items():
            tracker, _, name = option.partition(".")
            if tracker not in options or not name:
                known = f"TRACKER.OPTION=VALUE, of one of the trackers {', '.join(options) or '(there are none)'}"
                raise ConfigurationError(f"The tracker option {option!r} is not {known}.")
            options[tracker][name] = value
        return options


def resolved_backbone(plugins: Plugins, backbone: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Return the fields ``backbone`` and ``backbone_options`` of a request, as the registry knows them."""
    name, known = resolve_backbone(plugins, backbone or DEFAULT_BACKBONE, options)
    return {"backbone": name, "backbone_options": known}


def check_here(settings: Settings, plugins: Plugins, *needed: Any) -> None:
    """Check what the workers will need, where they are on this machine.

    Raises:
        BackboneUnavailable: weights or libraries are missing.
    """
    if not settings.embedded_broker:
        return
    for each in needed:
        try:
            each.check(settings)
        except BackboneUnavailable as error:  # the name of a backbone whose plugin failed is taken for a model's
            raise BackboneUnavailable(f"{error}{plugins.failures}") from None


def _found(session: Session, request: Retrain) -> dict[str, Any]:
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
    return found


def _check_able(backbone: type[Backbone], request: Retrain) -> None:
    """Check that the backbone uses what it is given: what it would leave aside must not be asked for.

    Raises:
        ConfigurationError: it cannot go on from a version, or learn other labels beside.
    """
    for asked, able, option in (
        (request.start_from, backbone.goes_on, "--from"),
        (request.auxiliary_labels, backbone.learns_beside, "--auxiliary-labels"),
    ):
        if asked and not able:
            raise ConfigurationError(
                f"The backbone {backbone.name!r} cannot use {option}; language models can. Leave it out, or say "
                "--backbone minilm"
            )


def prepare(attempt: Attempt) -> StageResult:
    """Check the options, the weights and the data; decide the windows, the split and the features."""
    from segadmin.workflows.prepare_training import prepare as run

    return run(attempt)


def baselines(attempt: Attempt) -> StageResult:
    """Fit every baseline and report how it does on the test rows."""
    from segadmin.workflows.baselines import baselines as run

    return run(attempt)


def finetune(attempt: Attempt) -> StageResult:
    """Fit the backbone on the training rows and keep it as an artifact."""
    from segadmin.workflows.finetune import finetune as run

    return run(attempt)


def evaluate(attempt: Attempt) -> StageResult:
    """Load the artifact as scoring will, and measure it on rows that it did not learn from."""
    from segadmin.workflows.evaluate import evaluate as run

    return run(attempt)


def gate(attempt: Attempt) -> StageResult:
    """Promote the new model version, or keep it as a challenger and score nobody."""
    from segadmin.workflows.gate import gate as run

    return run(attempt)


register(
    Workflow(
        "retrain",
        Retrain,
        (
            # Where the weights are looked for must be where they will be used: the gpu queue.
            Stage("prepare", prepare, "gpu", holds="model"),
            TEXTUALIZE,
            Stage("baselines", baselines, after=("textualize",), cost=10),
            Stage("finetune", finetune, "gpu", after=("textualize",), cost=100),
            Stage("evaluate", evaluate, "gpu", after=("finetune", "baselines"), cost=15),
            # Only now: while a model is trained, the nightly refresh goes on with the one before.
            Stage("gate", gate, "gpu", after=("evaluate",), holds="snapshot"),
            Stage("score", score, "gpu", after=("gate",), per_buckets=True, cost=10),
            Stage("publish", publish, after=("score",)),
        ),
        "Fine-tune a backbone on labelled users, evaluate it, and, if it is good, put every user in a segment.",
    )
)
