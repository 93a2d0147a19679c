"""Finding the steps of a job whose output files are gone or damaged, and what has to run again because of it.

Of a job that has done what it is for, nothing is: the stages that are left may fail, and read what they need anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement
from sqlmodel import col, or_, select

from segadmin.errors import StorageError
from segadmin.files import file_digest, folder_damage, inside
from segadmin.jobs.attempt import Json, StepFile
from segadmin.jobs.registry import workflows
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.records import Job, Step, StepState
from segadmin.storage.store import check_known

_FILE = frozenset(StepFile.model_fields)


@dataclass(frozen=True)
class LostOutput:
    """A table or a model's folder that is no longer what a step wrote; or a table of the lake, at a gone version."""

    step_id: int
    stage: str
    path: str  #: relative to the store


@dataclass(frozen=True)
class LostOutputs:
    """All lost outputs of a job."""

    outputs: tuple[LostOutput, ...] = ()
    later_stages: frozenset[str] = frozenset()  #: the stages after theirs

    @property
    def steps(self) -> ColumnElement[bool]:
        """The condition for the steps that have to run again."""
        lost = {output.step_id for output in self.outputs}
        return or_(col(Step.id).in_(lost), col(Step.stage).in_(self.later_stages))


def lost_outputs(settings: Settings, job_id: int) -> LostOutputs:
    """Return the outputs of a job's succeeded steps that are gone or damaged, in the order of the steps.

    All of the files are read, to compare them with their SHA-256.

    Raises:
        ConfigurationError, StoreMissing, StorageError: the store itself is not in its folder; see
            :func:`segadmin.storage.store.check_folder`.
    """
    with reading(settings) as session:
        kind = session.get_one(Job, job_id).kind
        steps = session.exec(select(Step).where(Step.job_id == job_id).order_by(col(Step.id))).all()
    if _is_done(kind, steps):
        return LostOutputs()
    written = [
        (LostOutput(step.id or 0, step.stage, path), digest)
        for step in steps
        if step.state == StepState.SUCCEEDED
        for path, digest in _written(step.result)
    ]
    if written:
        check_known(settings)
    lost = [output for output, digest in written if _is_lost(settings, output.path, digest)]
    outputs = (*_lost_versions(settings, steps), *lost)
    return LostOutputs(outputs, _stages_after(steps, {output.stage for output in outputs}))


def _is_done(kind: str, steps: Sequence[Step]) -> bool:
    """Whether only stages that may fail are left."""
    workflow = workflows().get(kind)
    may_fail = {stage.name for stage in workflow.stages if stage.may_fail} if workflow is not None else set()
    return {step.stage for step in steps if not step.state.done} <= may_fail


def _lost_versions(settings: Settings, steps: Sequence[Step]) -> Iterator[LostOutput]:
    """Yield the tables of the lake at versions that steps have chosen and an erasure has removed."""
    from segadmin.storage.lake import Lake  # not above: it imports much

    for step in steps:
        versions = (step.result.get("text") or {}).get("lake") if step.state == StepState.SUCCEEDED else None
        for table in Lake.of(settings, versions).gone() if versions else []:
            yield LostOutput(step.id or 0, step.stage, f"lake/{table}")


def _stages_after(steps: Sequence[Step], stages: Set[str]) -> frozenset[str]:
    later: frozenset[str] = frozenset()
    while following := {step.stage for step in steps if (stages | later) & set(step.after)} - later:
        later |= following
    return later


def _written(result: Json) -> Iterator[tuple[str, str]]:
    """Yield path and SHA-256 of what a step recorded as its output: tables, and the folder of a model."""
    if isinstance(result.get("folder"), str) and isinstance(result.get("sha256"), str):
        yield result["folder"], result["sha256"]
    yield from _tables(result)


def _tables(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value.keys() == _FILE:
        yield value["path"], value["sha256"]
    elif isinstance(value, dict | list):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _tables(entry)


def _is_lost(settings: Settings, path: str, digest: str) -> bool:
    try:
        output = inside(settings.store_path, path)
        if output.is_dir():
            return folder_damage(output, digest) is not None
        return not output.is_file() or file_digest(output) != digest
    except (StorageError, OSError):  # a link, or a disk that cannot read it
        return True
