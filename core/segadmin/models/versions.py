"""Finds model versions and their metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, or_, select

from segadmin.contracts.option_text import option_text
from segadmin.errors import ConfigurationError, DataError, ModelNotFound, did_you_mean
from segadmin.evaluation.evaluated_on import EvaluatedOn
from segadmin.models.aliases import champion
from segadmin.models.manifest import backbone_options_of, model_name
from segadmin.settings import Settings
from segadmin.storage.database import reading, row_number
from segadmin.storage.records import Canary, CanaryState, Current, Evaluation, ModelState, ModelVersion

_CHAMPION = champion("")


@dataclass(frozen=True)
class VersionLine:
    """A model version in a list."""

    version: ModelVersion
    evaluations: Sequence[Evaluation]  #: its own, and those of the baselines of its job
    canary: float | None = None  #: the share of the users that it scores as a canary

    @property
    def name(self) -> str:
        """The pretrained model where one was named, else the backbone."""
        return model_name(self.version.backbone, backbone_options_of(self.version))

    @property
    def tested(self) -> Evaluation | None:
        """The evaluation on the test rows, if it was tested."""
        own = (row for row in self.evaluations if row.model_version_id == self.version.id)
        return next((row for row in own if row.split == EvaluatedOn.TEST), None)

    @property
    def best_baseline(self) -> str:
        """The best AUROC of a baseline and its name, such as ``0.8535 tabular``; empty without baselines."""
        baselines = [row for row in self.evaluations if row.model_version_id is None and row.split == EvaluatedOn.TEST]
        measured = [row for row in baselines if row.metrics["auroc"] is not None]
        best = max(measured, key=lambda row: row.metrics["auroc"], default=None)
        return f"{best.metrics['auroc']:.4f} {best.name}" if best else ""


def champions(session: Session) -> dict[str, int]:
    """Return the champion's number by label set."""
    rows = session.exec(select(Current).where(col(Current.name).startswith(_CHAMPION)).order_by(Current.name)).all()
    return {row.name.removeprefix(_CHAMPION): row.target_id for row in rows}


@dataclass(frozen=True)
class MadeWith:
    """A backbone as :func:`segadmin.contracts.resolve.resolve_backbone` returns it."""

    backbone: str
    options: Mapping[str, Any]

    def __contains__(self, version: ModelVersion) -> bool:
        """Whether ``version`` was made with it; an option is the same as a list and as the string that means it."""
        made_with = backbone_options_of(version)
        return version.backbone == self.backbone and all(
            name in made_with and option_text(made_with[name]) == option_text(value)
            for name, value in self.options.items()
        )


def find_version(
    session: Session, model: str, label_set: str | None = None, made_with: MadeWith | None = None
) -> ModelVersion:
    """Return a model version: ``model`` is its number, or ``champion`` (of ``label_set``, by default the only one).

    With ``made_with``, the champion if it was made so, else the newest version of its label set that was.

    Raises:
        ModelNotFound: there is no such version.
        ConfigurationError: there are several champions, or the version of this number was made otherwise.
        DataError: there is no champion yet, or no version was made so.
    """
    if model != "champion":
        number = row_number(model)
        version = session.get(ModelVersion, number) if number is not None else None
        if version is None:
            raise ModelNotFound(f"There is no model version {model!r}. See: segadmin models list")
        if made_with is not None and version not in made_with:
            raise ConfigurationError(
                f"Model version {model} is of {version.backbone!r}. Leave out --model or --backbone."
            )
        return version
    by_label_set = champions(session)
    if not by_label_set:
        challengers = [version for version in list_versions(session, label_set) if version.label_set]
        promote = f", or promote one: segadmin models promote {challengers[0].id}" if challengers else ""
        raise DataError(f"There is no champion model yet. Train one: segadmin enqueue retrain --wait{promote}")
    if label_set is None and len(by_label_set) > 1:
        raise ConfigurationError(f"Which champion? Add --labels; there are: {', '.join(by_label_set)}.")
    label_set = next(iter(by_label_set)) if label_set is None else label_set
    if label_set not in by_label_set:
        raise ModelNotFound(f"There is no champion for {label_set!r}.{did_you_mean(label_set, by_label_set)}")
    current = session.get_one(ModelVersion, by_label_set[label_set])
    if made_with is None or current in made_with:
        return current
    others = [version for version in list_versions(session, label_set) if version in made_with]
    if not others:
        name = made_with.options.get("model", made_with.backbone)
        raise DataError(f"No model of {label_set!r} has that backbone. Train one: segadmin enqueue retrain -b {name}")
    return others[0]


def list_versions(
    session: Session,
    label_set: str | None = None,
    *,
    state: ModelState | None = None,
    before: int | None = None,
    limit: int | None = None,
) -> Sequence[ModelVersion]:
    """Return the model versions, newest first: in ``state``, older than ``before``, at most ``limit``."""
    query = select(ModelVersion).order_by(col(ModelVersion.id).desc()).limit(limit)
    if label_set is not None:
        query = query.where(ModelVersion.label_set == label_set)
    if state is not None:
        query = query.where(ModelVersion.state == state)
    if before is not None:
        query = query.where(col(ModelVersion.id) < before)
    return session.exec(query).all()


def list_lines(
    settings: Settings,
    label_set: str | None = None,
    *,
    state: ModelState | None = None,
    before: int | None = None,
    limit: int | None = None,
) -> list[VersionLine]:
    """Return the model versions with their metrics, as :func:`list_versions` does."""
    with reading(settings) as session:
        running = select(Canary.challenger_id, Canary.share).where(Canary.state == CanaryState.RUNNING)
        shares = dict(session.exec(running).all())
        return [
            VersionLine(version, evaluations_of(session, version), shares.get(version.id or 0))
            for version in list_versions(session, label_set, state=state, before=before, limit=limit)
        ]


def evaluations_of(session: Session, version: ModelVersion) -> Sequence[Evaluation]:
    """Return a model version's evaluations and those of the baselines of its job, on the same rows."""
    of_baselines = (col(Evaluation.job_id) == version.job_id) & col(Evaluation.model_version_id).is_(None)
    own = col(Evaluation.model_version_id) == version.id
    return session.exec(select(Evaluation).where(or_(own, of_baselines)).order_by(col(Evaluation.id))).all()
