"""The ``pretrain`` job: a language model reads all users' texts, labelled or not, before it is fine-tuned."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field

from segadmin.contracts.plugins import load_plugins
from segadmin.jobs.attempt import Attempt, Json, StageOutput, StageResult
from segadmin.jobs.plugin_guard import calling
from segadmin.jobs.registry import Option, Stage, Workflow, register
from segadmin.models.manifest import ModelManifest, PretrainingData
from segadmin.settings import Settings
from segadmin.storage.records import ModelState, ModelVersion
from segadmin.workflows.artifacts import model_facts, save_model
from segadmin.workflows.backbone_options import DEFAULT_SHOWN, check_here, chosen_backbone
from segadmin.workflows.prepared import Prepared
from segadmin.workflows.text_options import TextRequest
from segadmin.workflows.textualize import TEXTUALIZE, lake_now, training_texts

if TYPE_CHECKING:
    from sqlmodel import Session


class Pretrain(TextRequest):
    """Options of ``pretrain``."""

    common: ClassVar[tuple[str, ...]] = ("backbone", "backbone_options", "until")

    backbone: Annotated[str | None, Option(short="b", default=DEFAULT_SHOWN)] = Field(
        None, description="A registered language model, a Hugging Face id, or a folder."
    )
    backbone_options: Annotated[dict[str, Any], Option("backbone-option")] = Field(
        {}, description="Option of the backbone."
    )
    until: Annotated[datetime | None, Option(default="where the labels' test rows begin, else the newest event")] = (
        Field(None, description="Texts end here (UTC).")
    )
    windows: int = Field(4, ge=1, le=60, description="Texts per user, each half a window earlier than the next.")
    mask: float = Field(0.15, gt=0, lt=1, description="Fraction of tokens to mask, in encoders.")
    whole_phrases: bool = Field(False, description="Mask whole phrases instead of single tokens.")
    new_words: int = Field(0, ge=0, le=50_000, description="Number of the shop's own words to add to the vocabulary.")
    seed: int = Field(17, ge=0, le=2**32 - 1, description="Random seed.")

    def completed(self, settings: Settings) -> Self:
        """Return the request with its backbone."""
        plugins = load_plugins(settings)
        request = super().completed(settings)
        assert request.language is not None, "it was completed"
        chosen = chosen_backbone(plugins, request.backbone, request.backbone_options, request.language)
        request = request.model_copy(update=chosen)
        assert request.backbone is not None
        check_here(settings, plugins, plugins.make("backbone", request.backbone, request.backbone_options))
        return request


class PreparedPretraining(Prepared):
    """Whom to read, and until when."""

    request: Pretrain
    until: datetime

    @property
    def backbone(self) -> str:
        """The backbone, as the registry knows it."""
        assert self.request.backbone is not None, "the request was completed"
        return self.request.backbone

    @classmethod
    def upgraded(cls, written: Json) -> Json:
        """Return what was written before there were versions."""
        request = {"backbone": written["backbone"], "backbone_options": written["backbone_options"]}
        until = written["data"]["until"]
        return {**super().upgraded(written), "request": request | {"seed": written["seed"]}, "until": until}


class PretrainOutput(StageOutput):
    """The artifact, and what pretraining reported."""

    stage: ClassVar[str] = "pretrain"

    folder: str  #: relative to the store
    sha256: str
    report: dict[str, Any] = {}
    model_version_id: int = 0  #: set by the transaction that finishes the step


def prepare(attempt: Attempt) -> StageResult:
    """Check the weights and decide the windows: whom to read, and until when."""
    from segadmin.storage.lake import Lake
    from segadmin.text.plan import TextPlan
    from segadmin.training.preparation import check_backbones
    from segadmin.training.pretraining import first_event, last_moment, rows_of, windows_until

    settings, request = attempt.settings, Pretrain.model_validate(attempt.options)
    assert request.backbone is not None, "the request was completed"
    check_backbones(settings, load_plugins(settings), {request.backbone: request.backbone_options})
    versions, end = lake_now(settings)
    lake = Lake.of(settings)
    start = first_event(lake)
    until = last_moment(settings, request.until, start, end)
    recipe = request.recipe(settings)
    windows = windows_until(recipe.window(until), request.windows, start)
    rows = attempt.write(rows_of(lake, windows), "rows")
    plan = TextPlan(recipe=recipe, training=windows, lake=versions)
    return StageResult(PreparedPretraining(text=plan, wanted=(rows,), request=request, until=until))


def pretrain(attempt: Attempt) -> StageResult:
    """Let the backbone read, and keep what it has become as a model version to start from."""
    from segadmin.contracts.backbone import Backbone, FitContext, Pretraining
    from segadmin.inference.predictor import forget_models
    from segadmin.training.pretraining import texts_apart
    from segadmin.training.records import record_training_users

    prepared, request = attempt.output(PreparedPretraining), Pretrain.model_validate(attempt.options)
    settings, plugins = attempt.settings, load_plugins(attempt.settings)
    forget_models()
    texts, held_out = texts_apart(training_texts(attempt), prepared.until, request.seed)
    backbone: Backbone = plugins.make("backbone", prepared.backbone, prepared.request.backbone_options)
    how = Pretraining(mask=request.mask, whole_phrases=request.whole_phrases, new_words=request.new_words)
    run = FitContext(settings, attempt.checkpoints, request.seed, attempt.progress, attempt.log)
    with calling(attempt, plugins.find("backbone", prepared.backbone), "pretrain"):
        model = backbone.pretrain(texts, held_out, run, how)
    record_training_users(settings, attempt.job_id, attempt.step_id, [texts])
    manifest = ModelManifest(
        **model_facts(attempt, prepared, prepared.backbone, prepared.request.backbone_options, request.seed),
        report=model.report,
        pretrained=PretrainingData(
            until=prepared.until,
            windows=tuple(window.as_of for window in prepared.text.training),
            **asdict(how),
            texts=len(texts),
            held_out=len(held_out),
        ),
    )
    saved = save_model(attempt, model, manifest)

    def commit(session: Session) -> Json:
        version = ModelVersion(
            label_set="",
            state=ModelState.PRETRAINED,
            backbone=prepared.backbone,
            textualizer=prepared.recipe.textualizer,
            segments=[],
            folder=saved.folder,
            sha256=saved.sha256,
            manifest=manifest.as_json(),
            job_id=attempt.job_id,
        )
        session.add(version)
        session.flush()
        return {"model_version_id": version.id}

    output = PretrainOutput(folder=saved.folder, sha256=saved.sha256, report=model.report)
    return StageResult(output, commit=commit)


register(
    Workflow(
        "pretrain",
        Pretrain,
        (
            Stage("prepare", prepare, "gpu"),
            TEXTUALIZE,
            Stage("pretrain", pretrain, "gpu", after=("textualize",), cost=100),
        ),
        "Adapt a language model to all users' texts, labelled or not; `retrain --from` continues from the result.",
    )
)
