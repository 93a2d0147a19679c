"""Users of whom too little is known are put in no segment, and counted: in snapshots, exports and refreshes."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from sqlmodel import select

from segadmin.errors import ConfigurationError
from segadmin.jobs.requests import check_request
from segadmin.settings import Settings
from segadmin.snapshots.read import assignments
from segadmin.storage.database import transaction
from segadmin.storage.records import NOT_ENOUGH, Evaluation, ModelVersion
from tests.conftest import Cli
from tests.planted import Run, retrain


def test_uncertain_users_stay_unassigned(shop: Settings, cli: Cli, tmp_path: Path) -> None:
    job = retrain(shop, precision=0.5).all()
    snapshot = job.inputs["publish"][0]["snapshot_id"]
    rows = assignments(shop, snapshot).collect()
    left_out = rows.filter(pl.col("segment").is_null())
    assert 0 < left_out.height < rows.height
    assert left_out["probability"].null_count() == 0
    with transaction(shop) as session:
        version = session.get_one(ModelVersion, job.inputs["evaluate"][0]["model_version_id"])
        test = session.exec(
            select(Evaluation).where(Evaluation.model_version_id == version.id, Evaluation.split == "test")
        ).one()
    assert any(threshold is not None for threshold in version.manifest["thresholds"])
    assert 0 < test.metrics["coverage"] < 1
    assert test.metrics["precision_placed"] > max(0.5, test.metrics["accuracy"])

    shown = json.loads(cli("snapshots", "show", str(snapshot), "--json").stdout)
    [counted] = [segment for segment in shown["segments"] if segment["segment"] == NOT_ENOUGH]
    assert counted["users"] == left_out.height
    assert sum(segment["users"] for segment in shown["segments"]) == rows.height
    assert NOT_ENOUGH in cli("snapshots", "show", str(snapshot)).stdout
    cli("snapshots", "export", "--out", str(tmp_path / "all.csv"))
    exported = pl.read_csv(tmp_path / "all.csv")
    assert exported.height == rows.height
    assert exported["segment"].null_count() == left_out.height
    some = f"{left_out['user_key'][0] & (2**64 - 1):016x}"
    assert NOT_ENOUGH in cli("users", "show", some).stdout
    assert "Abstention" in _card(cli, tmp_path)

    again = Run(shop, "refresh", check_request(shop, "refresh", {})).all()
    assert again.inputs["publish"][0]["moved"] == 0
    assert again.inputs["publish"][0]["rescored"] == 0


def test_a_model_that_assigns_too_few_users_is_not_promoted(shop: Settings) -> None:
    job = retrain(shop, precision=0.9999).until("score")
    verdict = job.inputs["gate"][0]
    assert not verdict["promoted"]
    assert "users would stay unassigned" in verdict["reason"]


def test_a_precision_above_one_is_refused(shop: Settings) -> None:
    with pytest.raises(ConfigurationError, match="precision"):
        check_request(shop, "retrain", {"precision": 1.5})


def _card(cli: Cli, folder: Path) -> str:
    cli("models", "card", "champion", "--out", str(folder / "card.html"))
    return (folder / "card.html").read_text()
