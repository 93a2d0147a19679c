from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from segadmin.contracts.backbone import Examples
from segadmin.models.manifest import ModelManifest, TrainingData
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from segadmin.storage.records import ModelVersion
from segadmin.text.recipe import Recipe
from segadmin.training.gate import compare_auroc, unseen_by
from tests.stores import empty_store

START = datetime(2025, 1, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("challenger", "rival", "promoted"),
    [(0.81, 0.80, True), (0.7951, 0.80, True), (0.7949, 0.80, False), (None, 0.8, False), (0.8, None, False)],
)
def test_a_model_that_is_not_worse_by_more_than_the_tolerance_is_promoted(
    challenger: float | None, rival: float | None, promoted: bool
) -> None:
    verdict = compare_auroc(challenger, rival, "the champion (version 3)")
    assert verdict.promoted is promoted
    if challenger is not None and rival is not None:
        champion = "the champion (version 3) has 0.8000 on the same rows"
        assert verdict.reason == f"test AUROC {challenger:.4f}, and {champion}"


def test_test_rows_that_the_champion_was_trained_on_do_not_count_nor_do_copies_of_them(settings: Settings) -> None:
    empty_store(settings)
    Lake.of(settings).append("trainings", pl.DataFrame({"user_key": [1, 2], "job_id": [5, 5]}))
    data = TrainingData(cutoffs={"train": (START,)})
    manifest = ModelManifest(backbone="any", recipe=Recipe(textualizer="any", textualizer_version="1"), data=data)
    champion = ModelVersion(
        label_set="any", backbone="any", textualizer="any", segments=[], folder="", sha256="", job_id=5,
        manifest=manifest.as_json(),
    )  # fmt: skip
    rows = pl.DataFrame(
        [(1, "train", 70), (2, "test", 71), (3, "test", 70), (4, "test", 72), (5, "test", None)],
        schema=["user_key", "part", "text"],
        orient="row",
    ).with_columns(as_of=START)
    test = Examples(rows.filter(pl.col("part") == "test"), (), ())
    assert unseen_by(settings, champion, test, rows).frame["user_key"].to_list() == [4, 5]
    assert unseen_by(settings, champion, test, rows.clear()).frame["user_key"].to_list() == [3, 4, 5]
