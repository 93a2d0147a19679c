"""``segadmin backbones``: weights are listed, brought from a folder with checksums, and checked."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Cli
from tests.models import make_model


def test_a_model_is_pulled_from_a_folder_listed_and_checked(cli: Cli, tmp_path: Path) -> None:
    make_model("bert", tmp_path / "made")
    weights = {"SEGADMIN_WEIGHTS": str(tmp_path / "weights"), "HF_HOME": str(tmp_path / "cache")}
    listed = " ".join(cli("backbones", "list", **weights).stdout.split())
    assert "Download one: segadmin backbones pull" in listed
    assert "--backbone e5 (zh; its weights are here)" in listed
    backbones = {row["name"]: row for row in json.loads(cli("backbones", "list", "--json").stdout)["backbones"]}
    assert (backbones["minilm"]["default_for"], backbones["tiny"]["problem"]) == (["en"], None)
    assert backbones["hf"]["problem"].startswith("It needs a model")
    made = str(tmp_path / "made")
    pulled = json.loads(cli("backbones", "pull", "shop/bert", "--from", made, "--json", **weights).stdout)
    assert pulled["where"] == str(tmp_path / "weights" / "shop" / "bert")
    [model] = json.loads(cli("backbones", "list", "--json", **weights).stdout)["models"]
    assert (model["name"], model["usable"], model["size"]) == ("shop/bert", True, pulled["size"])
    checked = json.loads(cli("backbones", "check", "shop/bert", "--json", **weights).stdout)
    assert checked["compared"] >= 3
    assert any("a fit on 4 texts" in note for note in checked["notes"])
    assert cli("backbones", "check", "tiny", **weights).stdout.startswith("tiny can be used\n")
    (tmp_path / "weights" / "shop" / "bert" / "config.json").write_text("{}")
    broken = cli("backbones", "check", "shop/bert", check=False, **weights)
    assert broken.returncode == 1
    assert "config.json has other content than was pulled" in broken.stderr


def test_a_failed_pull_explains_why(cli: Cli, tmp_path: Path) -> None:
    weights = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    offline = cli("backbones", "pull", "bert-base-chinese", check=False, **weights)
    assert "HF_HUB_OFFLINE is set" in offline.stderr
    unset = cli("backbones", "pull", "shop/bert", "--from", str(tmp_path), check=False, **weights)
    assert "SEGADMIN_WEIGHTS=/srv/weights" in unset.stderr
    empty = cli(
        "backbones", "pull", "a", "--from", str(tmp_path), check=False, SEGADMIN_WEIGHTS=str(tmp_path / "w"), **weights
    )
    assert "has no config.json" in empty.stderr


def test_a_model_that_shares_its_embedding_can_be_used_and_one_without_a_classifier_cannot(
    cli: Cli, tmp_path: Path
) -> None:
    bart = make_model("bart", tmp_path / "bart")
    output = cli("backbones", "check", str(bart), "--backbone-option", "tuner=lora").stdout
    assert output.startswith(f"{bart} can be used: {bart}\n")
    assert "a fit on 4 texts, saved as merged and loaded again" in output
    config = json.loads((bart / "config.json").read_text())
    (bart / "config.json").write_text(json.dumps(config | {"model_type": "pegasus"}))
    refused = cli("backbones", "check", str(bart), check=False)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "model type 'pegasus', of which transformers has no sequence classifier" in refused.stderr
