"""Jobs whose engine or GPU fails while they score."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlmodel import select

from segadmin.inference.predictor import forget_models
from segadmin.settings import Settings
from segadmin.snapshots.read import assignments
from segadmin.storage.database import transaction
from segadmin.storage.records import SegmentSnapshot, SnapshotState, Step, StepState
from tests.planted import retrain, through_the_engine

#: An engine that fails from its sixth call on, and a backbone whose GPU fails as long as there is a file.
PLUGIN = """
from pathlib import Path
import segadmin
from segadmin.contracts.engine import Engine
from segadmin_plugins.backbones.tabular import Tabular
from segadmin_plugins.engines.plain import Plain


class Failing(Engine):
    name = "failing"

    def precisions(self, device):
        return ("float32",)

    def tokens_at_once(self, text):
        return 512

    def reader(self, text, pad_id, precision):
        plain, calls = Plain().reader(text, pad_id, precision), []

        def read(texts):
            calls.append(1)
            if len(calls) > 5:
                raise RuntimeError("the session is gone")
            return plain(texts)

        return read


class OnGpu(Tabular):
    name = "on-gpu"

    def load(self, folder, settings=None):
        classifier = super().load(folder, settings)
        if Path(__file__).with_name("gpu-is-gone").exists():
            classifier.predict = gone
        return classifier


def gone(examples, progress):
    raise RuntimeError("CUDA error: device-side assert triggered\\nCompile with TORCH_USE_CUDA_DSA")


@segadmin.hookimpl
def register_engines():
    return [Failing]


@segadmin.hookimpl
def register_backbones():
    return [OnGpu]
"""


@pytest.fixture
def plugin(shop: Settings, tmp_path: Path) -> Settings:
    file = tmp_path / "failing_plugin.py"
    file.write_text(PLUGIN)
    return shop.model_copy(update={"plugin_files": (file,)})


def _snapshots(settings: Settings) -> list[SegmentSnapshot]:
    with transaction(settings) as session:
        published = SegmentSnapshot.state == SnapshotState.PUBLISHED
        return list(session.exec(select(SegmentSnapshot).where(published).order_by(SegmentSnapshot.id)))  # type: ignore[arg-type]


def _score_steps(settings: Settings, job_id: int) -> list[Step]:
    with transaction(settings) as session:
        return list(session.exec(select(Step).where(Step.job_id == job_id, Step.stage == "score")))


def test_a_snapshot_is_published_though_an_engine_fails_in_the_middle(plugin: Settings) -> None:
    options = {"epochs": "1", "width": "64", "layers": "1"}
    retrain(plugin, backbone="tiny", backbone_options=options).published()
    exact, failing = (plugin.model_copy(update={"engine": name}) for name in ("transformers", "failing"))
    for settings in (exact, failing):
        through_the_engine(settings, "score", {})
    before, after = _snapshots(plugin)[-2:]
    probabilities = [
        assignments(plugin, snapshot.id).sort("user_key").collect()["probabilities"].explode()
        for snapshot in (before, after)
    ]
    assert probabilities[0].len() == probabilities[1].len() > 0
    assert (probabilities[0] - probabilities[1]).abs().max() < 1e-5  # type: ignore[operator]
    (facts,) = after.inference
    assert facts["engine"] == "transformers"
    steps = _score_steps(plugin, after.job_id or 0)
    reasons = [step.result["inference"]["left_aside"] for step in steps if step.result]
    assert any("failing in float32: RuntimeError: the session is gone" in reason for (reason,) in reasons)


def test_a_step_whose_gpu_fails_is_tried_again_and_publishes_nothing(plugin: Settings, tmp_path: Path) -> None:
    retrain(plugin, backbone="on-gpu").published()
    count = len(_snapshots(plugin))
    (tmp_path / "gpu-is-gone").touch()
    forget_models()
    job_id = through_the_engine(plugin, "score", {})
    steps = _score_steps(plugin, job_id)
    assert {(step.state, step.attempt) for step in steps} == {(StepState.READY, 1)}
    assert all(step.not_before for step in steps)
    reason = (
        "predict of the backbone 'on-gpu' of failing_plugin.py lost its GPU: CUDA error: device-side assert triggered."
    )
    assert all(reason in (step.error or "") for step in steps)
    assert len(_snapshots(plugin)) == count
