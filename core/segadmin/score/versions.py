"""Which model version is meant."""

from __future__ import annotations

from sqlmodel import Session, col, select

from segadmin.errors import ConfigurationError, DataError, did_you_mean
from segadmin.pointers import champion
from segadmin.records import Current, ModelVersion

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
