"""The rows of a retrain that was run before, and what its models said of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def steps_of(job: int) -> Sequence[Any]:
    """Return the steps of a job."""
    from sqlmodel import select

    from segadmin.settings import get_settings
    from segadmin.storage.database import transaction
    from segadmin.storage.records import Step

    with transaction(get_settings()) as session:
        return session.exec(select(Step).where(Step.job_id == job)).all()


def dataset(job: int) -> Any:
    """Return the rows of a retrain, as its steps read them."""
    import polars as pl

    from segadmin.labels.equal_texts import separate_equal_texts
    from segadmin.settings import get_settings
    from segadmin.text.features import feature_names
    from segadmin.training.dataset import Dataset, text_hashes
    from segadmin.workflows.textualize import TextOutput
    from segadmin.workflows.training_data import PreparedTraining

    settings, steps = get_settings(), steps_of(job)
    prepared = PreparedTraining.read(next(step.result for step in steps if step.stage == "prepare"))
    files = [TextOutput.read(step.result).training for step in steps if step.stage == "textualize"]
    texts = [pl.read_parquet(settings.store_path / file.path) for file in files if file]
    prepared_split = pl.read_parquet(settings.store_path / prepared.split.path)
    hashes = text_hashes(texts, prepared.recipe.language)
    split, _ = separate_equal_texts(prepared_split, hashes, prepared.request.split)
    return Dataset.of(texts, split, prepared.segments, feature_names(prepared.recipe))
