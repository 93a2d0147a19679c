from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import BackboneUnavailable
from segadmin.settings import Settings
from segadmin_plugins.backbones import requirements as installed
from segadmin_plugins.backbones.hf import HuggingFace
from segadmin_plugins.backbones.transformer.weights_lookup import identity, locate
from tests.models import make_model


def _model(folder: Path, weights: str = "model.safetensors") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / weights).write_bytes(b"")
    return folder


def test_a_folder_comes_first_then_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(home=tmp_path, weights=tmp_path / "weights")
    assert locate("google-bert/bert-base-chinese", settings) is None
    short = _model(tmp_path / "weights" / "bert-base-chinese")
    assert locate("google-bert/bert-base-chinese", settings) == short
    full = _model(tmp_path / "weights" / "google-bert" / "bert-base-chinese")
    assert locate("google-bert/bert-base-chinese", settings) == full
    here = _model(tmp_path / "google-bert" / "bert-base-chinese")
    assert locate("google-bert/bert-base-chinese", settings) == here


def test_the_cache_of_hugging_face_comes_last(tmp_path: Path) -> None:
    cache = tmp_path / "hub" / "models--bert-base-chinese"
    snapshot = _model(cache / "snapshots" / ("0" * 40))
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0" * 40)
    assert _in_a_new_process("locate", "bert-base-chinese", HF_HUB_CACHE=str(tmp_path / "hub")) == str(snapshot)


def test_the_identity_of_weights(tmp_path: Path) -> None:
    snapshot = _model(tmp_path / "hub/models--bert-base-chinese/snapshots" / ("a1" * 20))
    (snapshot / "model.safetensors").write_bytes(b"weights")
    alone = hashlib.sha256(b"weights").hexdigest()
    weights_identity = identity("bert-base-chinese", snapshot)
    assert weights_identity == {"model": "bert-base-chinese", "revision": "a1" * 20, "sha256": alone}
    shards = _model(tmp_path / "shards", "model-00001-of-00002.safetensors")
    (shards / "model-00002-of-00002.safetensors").write_bytes(b"weights")
    done = subprocess.run("sha256sum *.safetensors", shell=True, cwd=shards, capture_output=True, check=True)
    assert identity("here", shards) == {
        "model": "here",
        "revision": None,
        "sha256": hashlib.sha256(done.stdout).hexdigest(),
    }


def test_weights_that_cannot_be_obtained(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(BackboneUnavailable) as error:
        HuggingFace(model="bert-base-chinese").check(settings)
    for words in (
        "'bert-base-chinese'",
        "SEGADMIN_WEIGHTS (not set)",
        "Hugging Face cache",
        "HF_HUB_OFFLINE is set",
        "hf download bert-base-chinese",
        "HF_ENDPOINT=https://hf-mirror.com",
    ):
        assert words in str(error.value)


def test_a_pickle_is_not_loaded(tmp_path: Path, settings: Settings) -> None:
    folder = _model(tmp_path / "old", "pytorch_model.bin")
    with pytest.raises(BackboneUnavailable, match="only a pickle"):
        HuggingFace(model=str(folder)).check(settings)


def test_a_model_must_be_named(settings: Settings) -> None:
    with pytest.raises(BackboneUnavailable, match="--backbone bert-base-chinese"):
        HuggingFace().check(settings)


@pytest.mark.parametrize("name", ["tabular", "tfidf", "tiny", "minilm", "hf"])
def test_missing_libraries_are_named(name: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "find_spec", lambda _module: None)
    with pytest.raises(BackboneUnavailable, match=r"pip install 'segadmin\[worker\]'"):
        load_plugins(settings).make("backbone", name, {"model": "x"} if name == "hf" else {}).check(settings)


def test_the_weights_of_minilm_come_with_the_demo(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    find = installed.find_spec
    monkeypatch.setattr(installed, "find_spec", lambda module: None if module.startswith("gt_") else find(module))
    with pytest.raises(BackboneUnavailable, match=r"pip install 'segadmin\[demo\]'"):
        load_plugins(settings).make("backbone", "minilm", {}).check(settings)


def test_checking_loads_no_heavy_library(tmp_path: Path) -> None:
    assert _in_a_new_process("imports", str(make_model("bart", tmp_path / "model"))) == "[]"


class Mirror(BaseHTTPRequestHandler):
    """Answers what huggingface_hub asks a hub, from the folder ``root``."""

    root: Path

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        name = path.rpartition("/")[2]
        if path.startswith("/api/models/shop/bert/tree/"):
            files = [{"type": "file", "path": p.name, "size": p.stat().st_size, "oid": "2" * 40} for p in self._files()]
            self._answer(json.dumps(files).encode())
        elif path.startswith("/api/models/shop/bert"):
            files = [{"rfilename": p.name} for p in self._files()]
            self._answer(json.dumps({"id": "shop/bert", "sha": "1" * 40, "siblings": files}).encode())
        elif path.startswith("/shop/bert/resolve/") and (self.root / name).exists():
            self._answer((self.root / name).read_bytes())
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _files(self) -> list[Path]:
        return sorted(self.root.iterdir())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{len(body)}"')
        self.send_header("X-Repo-Commit", "1" * 40)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    """The address of a mirror of the hub that has one model, ``shop/bert``."""
    handler = type("Handler", (Mirror,), {"root": make_model("bert", tmp_path / "served")})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_mirror_of_the_hub(mirror: str, tmp_path: Path) -> None:
    online = {"HF_ENDPOINT": mirror, "HF_HUB_OFFLINE": "0", "HF_HUB_CACHE": str(tmp_path / "hub")}
    assert _in_a_new_process("check", "shop/bert", **online) == "ok"
    assert not list((tmp_path / "hub").rglob("*.safetensors")), "checking downloads nothing"
    folder = Path(_in_a_new_process("fetch", "shop/bert", **online))
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in folder.iterdir()}
    # Afterwards the mirror is not needed.
    assert _in_a_new_process("fetch", "shop/bert", HF_HUB_CACHE=str(tmp_path / "hub")) == str(folder)
    refused = _in_a_new_process("check", "shop/other", **online)
    assert mirror in refused
    assert "no such model" in refused
    nowhere = _in_a_new_process("check", "shop/other", **(online | {"HF_ENDPOINT": "http://127.0.0.1:9"}))
    assert "cannot be asked" in nowhere


_PROGRAM = """
import sys
from segadmin.errors import BackboneUnavailable
from segadmin.settings import Settings
from segadmin_plugins.backbones.hf import HuggingFace
from segadmin_plugins.backbones.transformer.weights_lookup import fetch, locate
what, model = sys.argv[1:]
settings = Settings()
if what == "locate":
    print(locate(model, settings))
elif what == "fetch":
    print(fetch(model, settings))
else:
    try:
        HuggingFace(model=model).check(settings)
        heavy = {"torch", "transformers", "sklearn", "polars", "lightgbm"} & set(sys.modules)
        print("ok" if what == "check" else sorted(heavy))
    except BackboneUnavailable as error:
        print(error)
"""


def _in_a_new_process(what: str, model: str, **environment: str) -> str:
    """Run in a process of its own: huggingface_hub reads its settings when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, what, model],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1", **environment},
        timeout=120,
    )
    assert not done.returncode, done.stderr
    return done.stdout.strip()
