"""What each model version said of its test rows: a table of the lake, from which users can be erased."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import polars as pl
from pydantic import BaseModel

from segadmin.errors import DataError
from segadmin.files import file_digest, inside
from segadmin.settings import Settings
from segadmin.storage.lake import Commit, Lake
from segadmin.storage.records import ModelVersion
from segadmin.storage.schema import PREDICTIONS


class _Kept(BaseModel):
    """What a manifest has of the predictions; the path, where an older segadmin wrote them into the work folder."""

    rows: int = 0
    path: str = ""
    sha256: str = ""


class _Manifest(BaseModel):
    """As much of a manifest as is read here: the whole model is in a layer above."""

    predictions: _Kept | None = None


def _kept(version: ModelVersion) -> _Kept:
    return _Manifest.model_validate(version.manifest).predictions or _Kept()


@dataclass(frozen=True)
class Predictions:
    """What a version said of its test rows, as far as that is kept."""

    rows: pl.DataFrame  #: ``user_key``, ``as_of``, ``target``, ``unseen``, ``events``, ``probabilities``
    erased: int = 0  #: test rows of users who were erased since: its figures count them


def keep_predictions(settings: Settings, job_id: int, artifact: str, rows: pl.DataFrame) -> dict[str, Any]:
    """Keep what the version made of ``artifact`` said, in one commit; a second time it is left out.

    Returns:
        What the version's manifest has of it.
    """
    frame = rows.with_columns(job_id=pl.lit(job_id), artifact=pl.lit(artifact))
    Lake.of(settings).append("predictions", frame, Commit(f"predictions-{job_id}-{artifact}", 1))
    return {"rows": rows.height}


def keep_old_predictions(settings: Settings, versions: Iterable[ModelVersion], without: Collection[int]) -> None:
    """Keep in the lake what older versions of segadmin left in the work folder, as far as it is still there.

    Args:
        settings: where the store is.
        versions: of models.
        without: keys of users to leave out.
    """
    for version in versions:
        rows = _in_work(settings, version)
        if rows is not None:
            left = rows.filter(~pl.col("user_key").is_in(list(without)))
            keep_predictions(settings, version.job_id, version.sha256, left)


def predictions_of(settings: Settings, version: ModelVersion) -> Predictions:
    """Return what a version said of its test rows.

    Raises:
        DataError: it is not kept any more, or all of the users were erased.
    """
    own = (pl.col("job_id") == version.job_id) & (pl.col("artifact") == version.sha256)
    columns = [name for name in PREDICTIONS if name not in {"job_id", "artifact"}]
    kept = Lake.of(settings).scan("predictions").filter(own).select(columns).sort("as_of", "user_key").collect()
    rows = _in_work(settings, version) if kept.is_empty() else kept
    kept_rows = _kept(version).rows
    if rows is None:
        raise DataError(
            f"What version {version.id} said of each of its {kept_rows:,} test rows is not kept any more: "
            "it was in the work folder, which was emptied, or all of those users were erased. Its figures are there, "
            f"see: segadmin models show {version.id}. For a card and comparisons train anew: segadmin enqueue retrain"
        )
    return Predictions(rows, max(kept_rows - rows.height, 0))


def _in_work(settings: Settings, version: ModelVersion) -> pl.DataFrame | None:
    """Return what an older version of segadmin wrote into the work folder; ``None`` where it is gone."""
    written = _kept(version)
    if not written.path:
        return None
    path = inside(settings.store_path, written.path)
    if not path.exists() or file_digest(path) != written.sha256:
        return None
    return pl.read_parquet(path, glob=False)
