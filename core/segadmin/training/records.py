"""Records of every fit: the training users and the versions of libraries."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable

import polars as pl

from segadmin.contracts.backbone import Examples
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.lake import Commit, Lake
from segadmin.storage.records import ModelVersion

#: Libraries whose versions can change what a model does.
_LIBRARIES = ("segadmin", "lightgbm", "numpy", "polars", "scikit-learn", "tokenizers", "torch", "transformers")


def record_training_users(
    settings: Settings, job_id: int, step_id: int, training_rows: Iterable[Examples], *, parent: int | None = None
) -> None:
    """Record the users whose events a model was trained on, so that an erasure can name the model.

    It also knows what ``parent`` was trained on, the model version that it began as.
    """
    users = pl.concat(examples.frame.select("user_key") for examples in training_rows)
    if parent is not None:
        users = pl.concat([users, _users_of(settings, parent)])
    users = users.unique()
    commit = Commit(f"training-{job_id}-{step_id}", 1)
    Lake.of(settings).append("trainings", users.with_columns(job_id=pl.lit(job_id)), commit)


def _users_of(settings: Settings, version: int) -> pl.DataFrame:
    """Return the recorded ``user_key`` of a model version; of one from another store there are none here."""
    with reading(settings) as session:
        job_id = session.get_one(ModelVersion, version).job_id
    trainings = Lake.of(settings).scan("trainings").filter(pl.col("job_id") == job_id)
    return trainings.select("user_key").collect()


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that can change what a model does."""
    versions = {"python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
