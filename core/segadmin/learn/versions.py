"""Model versions: which one is meant, and how good it is."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session, col, or_, select

from segadmin.errors import ConfigurationError, DataError, did_you_mean
from segadmin.pointers import champion
from segadmin.records import Current, Evaluation, ModelVersion

_CHAMPION = champion("")


def champions(session: Session) -> dict[str, int]:
    """Return the champion's number by label set."""
    rows = session.exec(select(Current).where(col(Current.name).startswith(_CHAMPION)).order_by(Current.name)).all()
    return {row.name.removeprefix(_CHAMPION): row.target_id for row in rows}


def find_version(session: Session, model: str, label_set: str | None = None) -> ModelVersion:
    """Return the model version that ``model`` means: ``champion`` (of ``label_set``, or the only one) or a number.

    Raises:
        ConfigurationError: there is no such version, or several champions.
        DataError: there is no champion yet.
    """
    if model != "champion":
        version = session.get(ModelVersion, int(model)) if model.isdigit() else None
        if version is None:
            raise ConfigurationError(f"There is no model version {model!r}. See: segadmin models list")
        return version
    known = champions(session)
    if not known:
        raise DataError("There is no champion model yet. Train one: segadmin enqueue retrain --wait")
    if label_set is None and len(known) > 1:
        raise ConfigurationError(f"Which champion? Add --labels; there are: {', '.join(known)}.")
    label_set = next(iter(known)) if label_set is None else label_set
    if label_set not in known:
        raise ConfigurationError(f"There is no champion for {label_set!r}.{did_you_mean(label_set, known)}")
    return session.get_one(ModelVersion, known[label_set])


def list_versions(session: Session, label_set: str | None = None) -> Sequence[ModelVersion]:
    """Return the model versions, newest first."""
    chosen = select(ModelVersion).order_by(col(ModelVersion.id).desc())
    if label_set is not None:
        chosen = chosen.where(ModelVersion.label_set == label_set)
    return session.exec(chosen).all()


def evaluations_of(session: Session, version: ModelVersion) -> Sequence[Evaluation]:
    """Return a model version's evaluations and those of the baselines fitted beside it, on the same rows."""
    beside = (col(Evaluation.job_id) == version.job_id) & col(Evaluation.model_version_id).is_(None)
    own = col(Evaluation.model_version_id) == version.id
    return session.exec(select(Evaluation).where(or_(own, beside)).order_by(col(Evaluation.id))).all()
