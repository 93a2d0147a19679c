"""Stores a new model version with its metrics on each split, and those of the baselines of its job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlmodel import Session, col, delete

from segadmin.storage.records import Evaluation, ModelVersion


def record_evaluations(
    session: Session, version: ModelVersion, own: Sequence[Mapping[str, Any]], baselines: Sequence[Mapping[str, Any]]
) -> int:
    """Add ``version``, its metrics and those of the baselines of its job; return its number."""
    session.add(version)
    session.flush()
    assert version.id is not None
    job = version.job_id
    # A job that was retried from its start already has baselines in the table.
    session.exec(delete(Evaluation).where(col(Evaluation.job_id) == job, col(Evaluation.model_version_id).is_(None)))
    session.add_all([Evaluation(model_version_id=version.id, job_id=job, **row) for row in own])
    session.add_all([Evaluation(job_id=job, **row) for row in baselines])
    session.flush()
    return version.id
