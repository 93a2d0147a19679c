"""What stages keep is read by its type, whichever version wrote it."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from segadmin.errors import StorageError
from segadmin.jobs.attempt import Json, StageOutput
from segadmin.jobs.registry import workflows
from segadmin.workflows.publishing import PublishOutput
from segadmin.workflows.retrain import BaselinesOutput, EvaluateOutput, FinetuneOutput
from segadmin.workflows.scored import GateOutput, ScoreOutput
from segadmin.workflows.scoring import OutcomesOutput
from segadmin.workflows.textualize import TextOutput

FILE = {"path": "work/job-1/a.parquet", "sha256": "0" * 64, "rows": 3}
RECIPE = {"textualizer": "mixed", "textualizer_version": "1"}
#: As segadmin 0.1 wrote them, before results had versions.
WRITTEN: list[tuple[type[StageOutput], Json]] = [
    (TextOutput, {"buckets": [0, 7], "training": FILE, "augmented": None, "scoring": None, "report": {"users": 3}}),
    (BaselinesOutput, {"evaluations": [{"name": "majority"}], "reports": {}, "predictions": {"tabular": FILE}}),
    (
        FinetuneOutput,
        {"folder": "models/a", "sha256": "b", "manifest": {"backbone": "tiny", "recipe": RECIPE}, "report": {}},
    ),
    (EvaluateOutput, {"evaluations": [], "model_version_id": 4}),
    (GateOutput, {"promoted": True, "reason": "there was no champion", "model_version_id": 4}),
    (ScoreOutput, {"buckets": [0, 7], "scores": FILE, "rescored": 2, "carried": 1}),
    (OutcomesOutput, {"measured": [{"snapshot_id": 1, "rows": 3}], "note": ""}),
    (PublishOutput, {"snapshot_id": 2, "users": 3, "rescored": 2, "carried": 1, "moved": 0}),
]


@pytest.mark.parametrize(("kind", "written"), WRITTEN, ids=lambda value: getattr(value, "__name__", ""))
def test_what_was_written_before_there_were_versions_is_read(kind: type[StageOutput], written: Json) -> None:
    output = kind.read(written)
    assert output.version == 0
    kept = output.as_json()
    assert kept["version"] == kind.current_version
    assert kind.read(kept).model_dump(exclude={"version"}) == output.model_dump(exclude={"version"})


def test_a_newer_form_reads_the_older_one_by_its_upgrade() -> None:
    class Counted(StageOutput):
        stage: ClassVar[str] = "count"
        current_version: ClassVar[int] = 2

        users: int

        @classmethod
        def upgraded(cls, written: Json) -> Json:
            return {"users": written["n"]}

    assert Counted.read({"version": 1, "n": 5}).users == 5
    assert Counted.read(Counted(users=6).as_json()).users == 6
    with pytest.raises(StorageError, match="cannot be read"):
        Counted.read({"version": 2, "n": 5})


def test_every_output_belongs_to_a_stage_that_there_is() -> None:
    stages = {stage.name for workflow in workflows().values() for stage in workflow.stages}

    def outputs(kind: type[Any]) -> set[type[Any]]:
        return {each for sub in kind.__subclasses__() for each in (sub, *outputs(sub))}

    own = {kind for kind in outputs(StageOutput) if kind.__module__.startswith("segadmin.")}
    assert len(own) > 10
    assert {kind.stage for kind in own} <= stages
