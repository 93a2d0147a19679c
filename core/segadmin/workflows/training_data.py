"""What the stages of ``retrain`` and ``tune`` share: the prepared job, and its labelled rows with their texts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict

from segadmin.jobs.attempt import Attempt, Json, StepFile
from segadmin.models.manifest import TrainingData
from segadmin.workflows.prepared import PreparedSegments
from segadmin.workflows.retrain_request import Retrain
from segadmin.workflows.textualize import TextOutput

if TYPE_CHECKING:
    import polars as pl

    from segadmin.contracts.backbone import Examples, UnlabelledUsers
    from segadmin.training.context import RunContext
    from segadmin.training.dataset import Dataset


class AuxiliaryTask(BaseModel):
    """Another label set that is learnt at the same time as the one that counts."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    segments: tuple[str, ...]
    rows: StepFile  #: ``user_key``, ``as_of``, ``observed_from``, ``target``


class ParentVersion(BaseModel):
    """The model version that a fit begins as."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    version: int
    folder: str
    sha256: str


class PreparedTraining(PreparedSegments):
    """A training job whose options, weights and data were checked."""

    request_type: ClassVar[type[Retrain]] = Retrain

    request: Retrain  #: as it is carried out: with the parent's seed and held-out users, say
    split: StepFile  #: as :func:`segadmin.labels.split.split_rows` returns it, and ``observed_from``
    auxiliary: dict[str, AuxiliaryTask] = {}
    parent: ParentVersion | None = None
    update: bool = False  #: the parent was trained on these labels, and only what is new is learnt
    data: TrainingData = TrainingData()

    @property
    def backbone(self) -> str:
        """The backbone that is fitted, as the registry names it."""
        assert self.request.backbone is not None, "prepare resolves it"
        return self.request.backbone

    @classmethod
    def upgraded(cls, written: Json) -> Json:
        """Return what was written before there were versions, with the request that it copied from."""
        fields = {*cls.request_type.model_fields, *cls.request_type.old_names()}
        request = {name: written[name] for name in fields if name in written}
        request |= {"labels": written["label_set"], "trackers": tuple(written.get("trackers") or ())}
        request["also"] = tuple(written.get("also") or ())
        request["tracker_options"] = {
            f"{tracker}.{option}": value
            for tracker, options in (written.get("trackers") or {}).items()
            for option, value in (options or {}).items()
        }
        return {
            **super().upgraded(written),
            "request": request,
            "split": written["rows"],
            "auxiliary": written.get("also") or {},
            "parent": written.get("start"),
        }


def training_context(attempt: Attempt) -> RunContext:
    """Return what a fit gets from the step that runs it."""
    from functools import partial

    from segadmin.jobs.plugin_guard import calling
    from segadmin.training.context import RunContext

    return RunContext(attempt.settings, attempt.checkpoints, attempt.progress, attempt.log, partial(calling, attempt))


def augmented_texts(attempt: Attempt) -> list[pl.DataFrame]:
    """Return the augmented copies of training rows, a frame for each step that wrote some."""
    return [attempt.read(texts.augmented) for texts in attempt.outputs(TextOutput) if texts.augmented]


def read_split(
    attempt: Attempt, prepared: PreparedTraining, texts: list[pl.DataFrame]
) -> tuple[pl.DataFrame, TrainingData]:
    """Return the split with equal texts in one part, and its description.

    It is computed by every stage that reads texts: ``prepare`` has none, and the same texts give the same split.

    Raises:
        DataError: so few rows have texts of their own that a part has too few.
    """
    from segadmin.training.dataset import text_hashes
    from segadmin.training.preparation import separated_split

    hashes = text_hashes(texts, prepared.recipe.language)
    split, by = attempt.read(prepared.split), prepared.request.split
    return separated_split(split, hashes, prepared.data, prepared.segments, by)


def read_dataset(prepared: PreparedTraining, texts: list[pl.DataFrame], split: pl.DataFrame) -> Dataset:
    """Return every part of ``split`` (of :func:`read_split`) with its texts.

    Raises:
        StorageError: labelled users have no text.
    """
    from segadmin.text.features import feature_names
    from segadmin.training.dataset import Dataset

    return Dataset.of(texts, split.drop("text"), prepared.segments, feature_names(prepared.recipe))


def read_auxiliary(
    attempt: Attempt, prepared: PreparedTraining, texts: list[pl.DataFrame], split: pl.DataFrame
) -> dict[str, Examples]:
    """Return the rows of the auxiliary label sets with their texts, by name, without texts that ``split`` held out."""
    from segadmin.text.features import feature_names
    from segadmin.training.dataset import labelled

    features = feature_names(prepared.recipe)
    tasks = {
        name: labelled(texts, attempt.read(task.rows), task.segments, features)
        for name, task in prepared.auxiliary.items()
    }
    return {name: _without_held_out_texts(rows, prepared, split) for name, rows in tasks.items()}


def _without_held_out_texts(rows: Examples, prepared: PreparedTraining, split: pl.DataFrame) -> Examples:
    """Return ``rows`` less those whose text is that of a held-out user of ``split``."""
    import polars as pl

    from segadmin.labels.equal_texts import held_out_texts

    held_out = held_out_texts(split, prepared.request.split)
    return replace(rows, frame=rows.frame.filter(~pl.col("phrase_hash").is_in(held_out.implode())))


def read_unlabelled(
    attempt: Attempt, prepared: PreparedTraining, texts: list[pl.DataFrame], split: pl.DataFrame
) -> UnlabelledUsers | None:
    """Return the users without labels with their texts and outcomes, if the backbone uses them.

    Those whose text ``split`` held out are left out.
    """
    import polars as pl

    from segadmin.contracts.backbone import UnlabelledUsers
    from segadmin.text.features import feature_names
    from segadmin.training.dataset import labelled

    if prepared.text.outcomes is None or prepared.unlabelled is None:
        return None
    files = [output.outcomes for output in attempt.outputs(TextOutput) if output.outcomes]
    outcomes = pl.concat(attempt.read(file) for file in files)
    rows = attempt.read(prepared.unlabelled).join(outcomes, on=["user_key", "as_of"])
    users = labelled(texts, rows, prepared.segments, feature_names(prepared.recipe))
    users = _without_held_out_texts(users, prepared, split)
    return UnlabelledUsers(users, feature_names(prepared.text.outcomes.recipe))
