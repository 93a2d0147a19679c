"""The manifest of a model version: everything needed to use the model, or to reproduce it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from segadmin.errors import StorageError
from segadmin.evaluation.membership import MembershipAttack
from segadmin.evaluation.policy import Hysteresis, Policy
from segadmin.labels.parts import HELD_OUT, EqualTexts, Part, SplitBy
from segadmin.storage.records import ModelVersion
from segadmin.text.recipe import Recipe
from segadmin.timezones import UtcMoment

#: Increased when a field changes its meaning; new fields have defaults.
MANIFEST_VERSION = 1


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, defer_build=True)


class Calibration(_Model):
    """The temperature of the logits, and the calibration error on validation before and after scaling."""

    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)
    ece_before: float | None = None
    ece_after: float | None = None
    rows: int = 0


class SegmentRows(_Model):
    """The number of rows of a segment in a part."""

    part: Part
    segment: str
    rows: int


class TrainingData(_Model):
    """A description of the training data, with digests that identify it."""

    rows: int = 0
    users: int = 0
    parts: dict[str, int] = {}  #: rows by part
    unseen: int = 0  #: test rows of users who are not in training, nor is their text
    equal_texts: EqualTexts | None = None  #: ``None``: an older release, which did not look for them
    segments: tuple[SegmentRows, ...] = ()
    cutoffs: dict[str, tuple[UtcMoment, ...]] = {}  #: by part, in order
    labeler: str = ""
    definition: dict[str, Any] = {}  #: of the label set
    latest_event: UtcMoment | None = None
    training_keys_sha256: str = ""

    def cutoffs_of(self, part: Part) -> tuple[datetime, ...]:
        """Return the cut-offs of the rows of ``part``, in order."""
        return self.cutoffs.get(part, ())

    @property
    def trained_cutoffs(self) -> tuple[datetime, ...]:
        """The cut-offs that the version or its parent was trained on, in order."""
        return tuple(sorted({*self.cutoffs_of(Part.TRAIN), *self.cutoffs_of(Part.LEARNT)}))


class PretrainingData(_Model):
    """The data and options of domain-adaptive pretraining."""

    until: UtcMoment
    windows: tuple[UtcMoment, ...] = ()
    mask: float | None = None
    whole_phrases: bool = False
    new_words: int = 0
    texts: int = 0
    held_out: int = 0  #: texts that were held out for measurement


class Imported(_Model):
    """Where an imported version comes from; in SQL only, the artifact is as it was exported."""

    store: str = ""  #: id of the store
    version: int = 0  #: its number there
    signed_by: str = ""  #: the public key that its signature was checked with; empty if it was not
    tested: dict[str, float] = {}  #: its metrics there
    elsewhere: bool = True  #: whether that is another store, with users of its own


class ModelManifest(_Model):
    """The description of a model version."""

    manifest_version: int = 0  #: 0: written before manifests had versions
    backbone: str
    backbone_options: dict[str, Any] = {}
    backbone_distribution: str = ""
    recipe: Recipe
    seed: int = 17
    report: dict[str, Any] = {}  #: what the backbone reported
    versions: dict[str, str] = {}  #: of Python and of libraries
    job: int | None = None
    created: UtcMoment | None = None
    #: Of a version that is pretrained only; such a version has none of what follows.
    pretrained: PretrainingData | None = None
    label_set: str = ""
    segments: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    feature_limits: tuple[tuple[float, float] | None, ...] = ()
    features_clipped: int = 0  #: values beyond the limits, in training
    rows_learnt: int = 0  #: copies included
    calibration: Calibration = Calibration()
    policy: Policy | None = None
    precision: float | None = None  #: requested minimum precision per segment
    thresholds: tuple[float | None, ...] = ()  #: by segment; empty if all users are assigned
    hysteresis: Hysteresis | None = None  #: ``None``: an older release, which chose no margins
    learnt_beside: dict[str, tuple[str, ...]] = {}  #: auxiliary label sets and their segments
    started_from: int | None = None  #: number of the parent version
    split: SplitBy = SplitBy.TIME
    held_out: float = HELD_OUT
    data: TrainingData = TrainingData()
    text: tuple[dict[str, int], ...] = ()  #: report of each textualize step
    imported: Imported | None = None
    #: Only in SQL, since it is measured after the artifact is written; ``None`` also in versions of older releases.
    membership: MembershipAttack | None = None

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        for what, values, names in (
            ("thresholds", self.thresholds, self.segments),
            ("margins", self.hysteresis.margins if self.hysteresis else (), self.segments),
            ("feature limits", self.feature_limits, self.features),
        ):
            if values and len(values) != len(names):
                raise ValueError(f"{len(values)} {what} for {len(names)}")
        return self

    @property
    def is_from_elsewhere(self) -> bool:
        """Whether it was trained on the users of another store."""
        return self.imported is not None and self.imported.elsewhere

    @property
    def name(self) -> str:
        """The display name: the pretrained model if one was given, else the backbone."""
        return model_name(self.backbone, self.backbone_options)

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object that is stored in the artifact and in SQL."""
        fields = self.model_dump(mode="json") | {"manifest_version": MANIFEST_VERSION}
        left_out = {name for name in ("pretrained", "imported") if fields[name] is None}
        return {name: value for name, value in fields.items() if name not in left_out}

    def without_references(self) -> ModelManifest:
        """Return what another store can use: no numbers of jobs and versions, and no digest of users."""
        data = self.data.model_copy(update={"training_keys_sha256": ""})
        return self.model_copy(update={"job": None, "started_from": None, "imported": None, "data": data})


def model_name(backbone: str, options: dict[str, Any]) -> str:
    """Return the display name of a model: the pretrained model if one was given, else the backbone."""
    return str(options.get("model") or backbone)


def manifest_of(version: ModelVersion) -> ModelManifest:
    """Return the manifest that SQL has of a version, whichever segadmin wrote it.

    Raises:
        StorageError: it is not one.
    """
    return parse_manifest(version.manifest, f"of model version {version.id}", "the database")


def parse_manifest(written: dict[str, Any] | bytes, whose: str, kept_in: str) -> ModelManifest:
    """Return the manifest in a JSON object.

    Args:
        written: the object or its text, whichever segadmin wrote it.
        whose: for the error, such as ``of model version 3``.
        kept_in: what to restore if it is damaged.

    Raises:
        StorageError: it is not one.
    """
    try:
        if isinstance(written, bytes):
            return ModelManifest.model_validate_json(written)
        return ModelManifest.model_validate(written)
    except ValidationError as error:
        raise StorageError(
            f"The manifest {whose} cannot be read ({error.errors()[0]['msg']}). Restore {kept_in} from a backup, or "
            "train again: segadmin enqueue retrain"
        ) from None


class _BackboneOptions(BaseModel):
    """As much of a manifest as lists of versions need."""

    backbone_options: dict[str, Any] = {}


def backbone_options_of(version: ModelVersion) -> dict[str, Any]:
    """Return the options of a version's backbone, without reading the rest of its manifest."""
    try:
        return _BackboneOptions.model_validate(version.manifest).backbone_options
    except ValidationError:  # a list of all versions must not fail because one of them is damaged
        return {}
