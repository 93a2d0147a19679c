"""The stages of the main jobs, one after the other on real files and databases, and what their commands show."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from sqlmodel import select

from segadmin.errors import PluginError, StorageError
from segadmin.evaluation.reports import EvaluatedOn
from segadmin.jobs.requests import check_request
from segadmin.models.aliases import champion, pointed
from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.database import transaction
from segadmin.storage.records import Evaluation, ModelState, ModelVersion
from tests.conftest import Cli
from tests.planted import (
    LABELS,
    Run,
    label_future_spend,
    more_weeks,
    plant,
    planted_users,
    retrain,
)


def _figures(settings: Settings, split: str) -> dict[str, Evaluation]:
    with transaction(settings) as session:
        return {row.name: row for row in session.exec(select(Evaluation).where(Evaluation.split == split))}


def test_a_retrain_finds_the_planted_pattern_on_any_database(any_database: Settings) -> None:
    database.upgrade(any_database)
    users = plant(any_database)
    label_future_spend(any_database)
    run = retrain(any_database, baselines=["tfidf"]).all()
    test, unseen = _figures(any_database, "test"), _figures(any_database, EvaluatedOn.UNSEEN)
    assert set(test) == set(unseen) == {"tabular", "tfidf", "majority"}
    assert test["tabular"].metrics["auroc"] > 0.68  # who buys much goes on buying much
    assert test["majority"].metrics["auroc"] == 0.5
    assert test["tabular"].metrics["log_loss"] < test["majority"].metrics["log_loss"]
    assert test["tabular"].rows == test["tfidf"].rows == run.inputs["prepare"][0]["data"]["parts"]["test"]
    assert test["tabular"].model_version_id == 1
    assert test["tfidf"].model_version_id is None
    # None of them has a text that was trained on, which prepare does not know yet.
    assert 0 < unseen["tabular"].rows <= run.inputs["prepare"][0]["data"]["unseen"] < test["tabular"].rows
    verdict = {"promoted": True, "reason": "there was no champion", "model_version_id": 1}
    assert verdict.items() <= run.inputs["gate"][0].items()
    assert run.inputs["publish"][0]["users"] == 240
    more_weeks(any_database, users, range(14, 17))
    refreshed = Run(any_database, "refresh", {}).all()
    assert refreshed.inputs["publish"][0]["rescored"] > 0
    assert [outcome["snapshot_id"] for outcome in refreshed.inputs["outcomes"][0]["measured"]] == [1]


def test_a_split_by_user_has_only_unseen_test_users(shop: Settings) -> None:
    run = retrain(shop, split="user").until("gate")
    prepared = run.inputs["prepare"][0]
    assert prepared["data"]["parts"]["test"] == prepared["data"]["unseen"]
    splits = {row["split"] for row in run.inputs["evaluate"][0]["evaluations"]}
    assert splits == {"test", "validation"}


def test_the_same_seed_gives_the_same_model(shop: Settings) -> None:
    first, second = (retrain(shop, seed=5).until("gate").inputs for _ in range(2))
    assert first["evaluate"][0]["evaluations"] == second["evaluate"][0]["evaluations"]
    assert first["baselines"][0]["evaluations"] == second["baselines"][0]["evaluations"]


def test_only_training_rows_are_augmented(shop: Settings) -> None:
    run = retrain(shop, augment=2, drop_events=0.3).until("gate")
    written = run.inputs["textualize"]
    texts = pl.concat([pl.read_parquet(shop.store_path / files["training"]["path"]) for files in written])
    copies = pl.concat([pl.read_parquet(shop.store_path / files["augmented"]["path"]) for files in written])
    split = pl.read_parquet(shop.store_path / run.inputs["prepare"][0]["split"]["path"])
    learnt = split.filter(pl.col("part") == "train")
    both = copies.join(learnt, on=["user_key", "as_of"])
    assert both.height == copies.height
    assert 1.8 * learnt.height < copies.height <= 2 * learnt.height
    differ = copies.join(texts, on=["user_key", "as_of"]).filter(pl.col("phrase_hash") != pl.col("phrase_hash_right"))
    assert differ.height > 0.8 * copies.height  # where users did little, sometimes nothing is left out
    assert run.inputs["finetune"][0]["manifest"]["rows_learnt"] == learnt.height + copies.height


def test_an_equal_model_is_promoted_and_the_champion_retires(shop: Settings) -> None:
    run = retrain(shop).published()
    assert run.inputs["gate"][0]["promoted"]
    assert "on the same rows" in run.inputs["gate"][0]["reason"]
    with transaction(shop) as session:
        states = dict(session.exec(select(ModelVersion.id, ModelVersion.state)).all())
        assert pointed(session, champion(LABELS)) == 2
    assert states == {1: ModelState.RETIRED, 2: ModelState.CHAMPION}


def test_a_champion_with_another_textualizer_gets_its_own_text(shop: Settings) -> None:
    """Its figure on the new job's test rows must be the one it had itself: the rows are the same."""
    with transaction(shop) as session:
        own = session.exec(select(Evaluation).where(Evaluation.model_version_id == 1, Evaluation.split == "test")).one()
    run = retrain(shop, textualizer="summary", backbone="tfidf", backbone_options={}, baselines=[]).published()
    assert f"has {own.metrics['auroc']:.4f} on the same rows" in run.inputs["gate"][0]["reason"]


def test_a_champion_that_cannot_be_used_any_more_is_replaced(shop: Settings) -> None:
    with transaction(shop) as session:
        folder = shop.store_path / session.get_one(ModelVersion, 1).folder
    (folder / "trees.txt").unlink()
    verdict = retrain(shop, backbone_options={"rounds": "1"}).published().inputs["gate"][0]
    assert verdict["promoted"]
    assert "cannot be used any more" in verdict["reason"]


def test_the_second_of_two_concurrent_gates_is_repeated(shop: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segadmin.training.gate.TOLERANCE", 1.0)  # both are promoted, whichever households they drew
    first, second = retrain(shop).until("gate"), retrain(shop, seed=3).until("gate")
    begun = second.call(second.attempts("gate")[0])
    first.stage("gate")
    with pytest.raises(StorageError, match="champion:spend3 was 1 and has become 2 meanwhile"):
        second.finish(begun)
    assert "version 2" in second.stage("gate")[0]["reason"]


def test_a_backbone_that_fails_is_named(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from segadmin.settings import get_settings

    plugin = tmp_path / "clumsy.py"
    plugin.write_text(_CLUMSY)
    monkeypatch.setenv("SEGADMIN_PLUGIN_FILES", str(plugin))
    get_settings.cache_clear()
    mine = get_settings()
    plant(mine)
    label_future_spend(mine)
    run = retrain(mine, backbone="clumsy", backbone_options={}, baselines=[]).until("finetune")
    with pytest.raises(PluginError, match=r"The backbone 'clumsy' of clumsy.py failed in fit: ZeroDivisionError"):
        run.stage("finetune")


_CLUMSY = """
from dataclasses import dataclass
from typing import ClassVar
import segadmin

@dataclass(frozen=True)
class Clumsy(segadmin.Backbone):
    name: ClassVar[str] = "clumsy"
    def check(self, settings): pass
    def fit(self, train, validation, run): return 1 / 0
    def load(self, folder): pass

@segadmin.hookimpl
def register_backbones():
    return [Clumsy]
"""


def test_models_are_listed_and_shown_with_the_baselines_beside_them(shop: Settings, cli: Cli) -> None:
    listed = json.loads(cli("models", "list", "--json").stdout)
    assert [(model["id"], model["state"], model["backbone"]) for model in listed] == [(1, "champion", "tabular")]
    assert "tabular" in cli("models", "list").stdout
    shown = cli("models", "show", "champion").stdout
    for words in (
        "Baselines: majority",
        "AUROC",
        "confusion matrix",
        EvaluatedOn.UNSEEN,
        "temperature",
        "by time, seed 17",
    ):
        assert words in shown
    assert "texts had more, 0 phrases left out" in shown
    facts = json.loads(cli("models", "show", "1", "--json").stdout)
    on_test = {
        (row["name"], row["model_version_id"]): row["metrics"] for row in facts["evaluations"] if row["split"] == "test"
    }
    assert set(on_test) == {("tabular", 1), ("tabular", None), ("majority", None)}
    best = max(metrics["auroc"] for metrics in on_test.values())
    assert f"{best:.4f}*" in shown
    assert "0.5000*" not in shown
    assert Path(facts["path"], "manifest.json").is_file()
    missing = cli("models", "show", "9", check=False)
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    assert "There is no model version '9'" in missing.stderr


def test_snapshots_are_listed_shown_and_exported(shop: Settings, cli: Cli, tmp_path: Path) -> None:
    Run(shop, "score", {}).all()
    listed = json.loads(cli("snapshots", "list", "--json").stdout)
    assert [(snapshot["id"], snapshot["current"], snapshot["rescored"]) for snapshot in listed] == [
        (2, True, 240),
        (1, False, 240),
    ]
    shown = cli("snapshots", "show").stdout
    assert "snapshot 2" in shown
    assert "█" in shown
    assert "games ×" in shown
    facts = json.loads(cli("snapshots", "show", "1", "--json").stdout)
    assert [segment["segment"] for segment in facts["segments"]] == ["low", "mid", "high"]
    out = tmp_path / "high.csv"
    output = cli("snapshots", "export", "1", "--out", str(out), "--segment", "high", "--with-user-ids").stdout
    with out.open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert output == f"Wrote {len(rows)} users of snapshot 1 to {out}.\n"
    assert len(rows) == next(segment["users"] for segment in facts["segments"] if segment["segment"] == "high")
    assert all(row["user"].startswith("user-") for row in rows)
    pseudonymous = tmp_path / "all.csv"
    cli("snapshots", "export", "--out", str(pseudonymous))
    assert "user-" not in pseudonymous.read_text()


def test_a_user_is_shown_with_segment_history_and_text(shop: Settings, cli: Cli) -> None:
    more_weeks(shop, planted_users(shop), range(14, 15))
    Run(shop, "refresh", {}).all()
    facts = json.loads(cli("users", "show", "user-7", "--json", "--text").stdout)
    assert [entry["snapshot_id"] for entry in facts["history"]] == [2, 1]
    assert sum(facts["history"][0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    shown = cli("users", "show", facts["user_key"], "--text").stdout
    assert f"{LABELS}: {facts['history'][0]['segment']} · snapshot 2" in shown
    assert facts["text"][LABELS][0] in shown
    stranger = cli("users", "show", "nobody", check=False)
    assert (stranger.returncode, stranger.stdout) == (1, "")
    assert stranger.stderr.startswith("Error: There is no user 'nobody'")


def test_empty_lists_name_the_next_command(cli: Cli) -> None:
    assert "segadmin enqueue retrain" in cli("models", "list").stdout
    assert "segadmin enqueue retrain" in cli("snapshots", "list").stdout
    assert json.loads(cli("snapshots", "list", "--json").stdout) == []
    assert json.loads(cli("models", "list", "--json").stdout) == []
    assert "segadmin" in cli("snapshots", "show", check=False).stderr
    assert "no champion model yet" in cli("models", "show", "champion", check=False).stderr


def test_the_commands_start_without_the_heavy_libraries() -> None:
    code = (
        "import sys; from segadmin_api.cli import models, snapshots, users; "
        "print({'polars', 'pyarrow', 'deltalake', 'torch', 'sklearn', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_refresh_with_the_newest_model_of_a_backbone(shop: Settings, cli: Cli) -> None:
    retrain(shop, backbone="tfidf", backbone_options={"max_terms": "1"}, baselines=[]).published()
    with transaction(shop) as session:
        assert pointed(session, champion(LABELS)) == 1  # the new one is worse, so the champion stays
    refused = cli("enqueue", "refresh", "--backbone", "tiny", check=False)
    assert "No model of 'spend3' has that backbone. Train one: segadmin enqueue retrain -b tiny" in refused.stderr
    refused = cli("enqueue", "score", "--model", "1", "-b", "tfidf", check=False)
    assert "Model version 1 is of 'tabular'. Leave out --model or --backbone." in refused.stderr
    for backbone, version in (("tabular", 1), ("tfidf", 2), (None, 1)):
        options = check_request(shop, "refresh", {"backbone": backbone})
        assert Run(shop, "refresh", options).stage("prepare")[0]["model_version_id"] == version
