"""The owner's example: ``segadmin enqueue retrain --backbone bert-base-chinese``, in Chinese from end to end.

The weights are random: no Chinese weights ship in a package. All else is as it would be: the architecture, a Chinese
vocabulary, a folder of weights, real workers over a real Redis.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from segadmin.settings import get_settings
from tests.conftest import Cli
from tests.models import make_model
from tests.servers import redis_server, worker

SHORT = ("max_tokens=32", "epochs=1", "batch_size=16")


@pytest.fixture
def shop(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """The command line of a running system with sixty households, their labels, and a folder of weights."""
    make_model("bert-chinese", tmp_path / "weights" / "bert-base-chinese")
    monkeypatch.setenv("SEGADMIN_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("SEGADMIN_LANGUAGE", "zh")
    get_settings.cache_clear()
    cli("data", "import", "completejourney", "--users", "60")
    cli("data", "label", "spend3")
    settings = get_settings()
    with redis_server(settings), worker(settings, app="segadmin_worker.app", concurrency=1):
        yield cli


def test_retrain_with_bert_base_chinese(shop: Cli) -> None:
    options = [word for pair in SHORT for word in ("--backbone-option", pair)]
    options += ["--baseline", "tabular", "--margin", "-1"]  # random weights are no match for trees
    output = shop("enqueue", "retrain", "--backbone", "bert-base-chinese", *options, "--wait").stdout
    assert "Version 1 is champion: there was no champion." in output
    version = json.loads(shop("models", "show", "champion", "--json").stdout)
    assert (version["backbone"], version["name"]) == ("hf", "bert-base-chinese")
    assert version["manifest"]["recipe"]["language"] == "zh"
    text = shop("users", "show", "1", "--text").stdout
    assert "近期消费" in text
    assert "购买" in text
    assert json.loads(shop("snapshots", "show", "--json").stdout)["users"] == 60
