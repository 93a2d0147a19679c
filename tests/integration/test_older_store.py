"""A store that segadmin wrote before stage results and manifests had versions: models, snapshots and jobs under way.

``tests/data/store_of_0_1.tar.xz`` is a home of 90 planted users, made by the commit before the folders were rearranged:
job 1 is a finished ``retrain``, job 2 a ``retrain`` and job 3 a ``pretrain`` whose texts are written.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from segadmin.contracts.plugins import load_plugins
from segadmin.inference.predictor import load_predictor
from segadmin.jobs import control
from segadmin.jobs.dispatch import StepMessage
from segadmin.jobs.run import run_step
from segadmin.models.manifest import manifest_of
from segadmin.models.registry import compare_versions
from segadmin.settings import Settings
from segadmin.snapshots.read import assignments
from segadmin.storage import database
from segadmin.storage.database import transaction, upgrade
from segadmin.storage.records import JobState, ModelState, ModelVersion, StepState
from tests.conftest import Cli

ARCHIVE = Path(__file__).parents[1] / "data" / "store_of_0_1.tar.xz"


@pytest.fixture
def older(settings: Settings) -> Iterator[Settings]:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(settings.root.parent, filter="data")
    upgrade(settings)
    yield settings
    database.engine(settings).dispose()


def version_of(settings: Settings, number: int) -> ModelVersion:
    with transaction(settings) as session:
        return session.get_one(ModelVersion, number)


def finish(settings: Settings, job_id: int) -> JobState:
    """Run the steps of a job that are ready, as workers would, to its end."""
    todo = [step.id for step in control.view(settings, job_id).steps if step.state == StepState.READY]

    def dispatch(messages: Sequence[StepMessage]) -> None:
        todo.extend(message.step_id for message in messages)

    while todo:
        run_step(settings, dispatch, todo.pop() or 0, "me")
    return control.view(settings, job_id).job.state


def test_the_older_model_gives_the_same_probabilities(older: Settings) -> None:
    version = version_of(older, 1)
    manifest = manifest_of(version)
    assert (manifest.manifest_version, manifest.segments, manifest.backbone) == (0, ("low", "mid", "high"), "tabular")
    predictor = load_predictor(older, load_plugins(older), version)
    assert predictor.features == manifest.features
    before = assignments(older, 1).collect()
    assert before.height == 90


def test_a_started_retrain_is_finished(older: Settings) -> None:
    assert finish(older, 2) == JobState.SUCCEEDED
    version = version_of(older, 2)
    assert version.state in {ModelState.CHAMPION, ModelState.CHALLENGER}, "the gate has judged it"
    manifest = manifest_of(version)
    parent = manifest_of(version_of(older, 1))
    assert (manifest.seed, manifest.split, manifest.data.parts) == (parent.seed, parent.split, parent.data.parts)
    assert manifest.rows_learnt > parent.rows_learnt, "the augmented copies were learnt too"
    assert compare_versions(older, "1", "2").rows == parent.data.parts["test"]


def test_a_started_pretraining_is_finished(older: Settings) -> None:
    assert finish(older, 3) == JobState.SUCCEEDED
    manifest = manifest_of(version_of(older, 2))
    assert manifest.pretrained is not None
    assert manifest.pretrained.texts > 0


def test_commands_read_an_older_store(older: Settings, cli: Cli) -> None:
    assert "tabular" in cli("models", "show", "1").stdout
    assert "1" in cli("snapshots", "show", "1").stdout
    assert cli("users", "show", "user-7").returncode == 0
    assert cli("models", "card", "1", "--out", str(older.root.parent / "card.html")).returncode == 0
    again = cli("enqueue", "refresh")
    assert again.returncode == 0, again.stderr
