"""The predictions of each model version for its test rows: a lake table, from which users can be erased."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import polars as pl
from pydantic import BaseModel, ValidationError

from segadmin.errors import DataError
from segadmin.files import file_digest, inside
from segadmin.settings import Settings
from segadmin.storage.lake import Commit, Lake
from segadmin.storage.records import ModelVersion
from segadmin.storage.schema import PREDICTIONS


class _Entry(BaseModel):
    """The manifest's entry about predictions; with a path if an older release wrote them into the work folder."""

    rows: int = 0
    path: str = ""
    sha256: str = ""


class _Manifest(BaseModel):
    """The part of a manifest that this module reads; the complete model is in a higher layer."""

    predictions: _Entry | None = None
    imported: dict[str, Any] | None = None


def _manifest(version: ModelVersion) -> _Manifest:
    try:
        return _Manifest.model_validate(version.manifest)
    except ValidationError:
        return _Manifest()


def _entry(version: ModelVersion) -> _Entry:
    return _manifest(version).predictions or _Entry()


@dataclass(frozen=True)
class Predictions:
    """The stored predictions of a version for its test rows."""

    rows: pl.DataFrame  #: ``user_key``, ``as_of``, ``target``, ``unseen``, ``events``, ``probabilities``
    erased: int = 0  #: test rows of users erased since; the metrics still include them


def keep_predictions(settings: Settings, job_id: int, artifact: str, rows: pl.DataFrame) -> dict[str, Any]:
    """Store the predictions of the version with ``artifact`` in one commit; a repeated call writes nothing.

    Returns:
        The entry for the version's manifest.
    """
    frame = rows.with_columns(job_id=pl.lit(job_id), artifact=pl.lit(artifact))
    Lake.of(settings).append("predictions", frame, Commit(f"predictions-{job_id}-{artifact}", 1))
    return {"rows": rows.height}


def keep_old_predictions(settings: Settings, versions: Iterable[ModelVersion], without: Collection[int]) -> None:
    """Copy predictions that older releases stored in the work folder to the lake, if they still exist.

    Args:
        settings: location of the store.
        versions: model versions.
        without: keys of users to leave out.
    """
    for version in versions:
        rows = _in_work(settings, version)
        if rows is not None:
            remaining = rows.filter(~pl.col("user_key").is_in(list(without)))
            keep_predictions(settings, version.job_id, version.sha256, remaining)


def predictions_of(settings: Settings, version: ModelVersion) -> Predictions:
    """Return the predictions of a version for its test rows.

    Raises:
        DataError: the version was imported, or they were deleted, or all of the users were erased.
    """
    if _manifest(version).imported is not None:
        raise DataError(
            f"Version {version.id} was imported and has not been tested on users of this store. Continue from it: "
            f"segadmin enqueue retrain --from {version.id}"
        )
    is_own = (pl.col("job_id") == version.job_id) & (pl.col("artifact") == version.sha256)
    columns = [name for name in PREDICTIONS if name not in {"job_id", "artifact"}]
    stored = Lake.of(settings).scan("predictions").filter(is_own).select(columns).sort("as_of", "user_key").collect()
    rows = _in_work(settings, version) if stored.is_empty() else stored
    test_rows = _entry(version).rows
    if rows is None:
        raise DataError(
            f"The predictions of version {version.id} for its {test_rows:,} test rows no longer exist: they were in "
            "the work folder, which was emptied, or all of those users were erased. Its metrics are kept, see: "
            f"segadmin models show {version.id}. For a card and comparisons train again: segadmin enqueue retrain"
        )
    return Predictions(rows, max(test_rows - rows.height, 0))


def _in_work(settings: Settings, version: ModelVersion) -> pl.DataFrame | None:
    """Return the predictions that an older release wrote into the work folder; ``None`` if they are gone."""
    entry = _entry(version)
    if not entry.path:
        return None
    path = inside(settings.store_path, entry.path)
    if not path.exists() or file_digest(path) != entry.sha256:
        return None
    return pl.read_parquet(path, glob=False)
