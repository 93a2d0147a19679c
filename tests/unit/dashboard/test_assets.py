from __future__ import annotations

import hashlib
import json

import pytest

from segadmin_api.dashboard.assets import FOLDER, asset, file_of
from segadmin_api.http.pages.files import static_file

VERSIONS = json.loads((FOLDER / "vendor" / "versions.json").read_text())


def test_vendored_files_are_those_whose_versions_are_recorded() -> None:
    files = {
        path.name: path for path in (FOLDER / "vendor").iterdir() if path.name not in {"echarts.js", "versions.json"}
    }
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()} == {
        name: facts["sha256"] for name, facts in VERSIONS.items()
    }


def test_the_path_of_a_file_changes_with_its_content() -> None:
    digest = hashlib.sha256((FOLDER / "app.js").read_bytes()).hexdigest()[:12]
    assert asset("app.js") == f"/static/{digest}/app.js"


@pytest.mark.parametrize(
    "name", ["", "../render.py", "vendor", "vendor/versions.json", "/etc/passwd", "nothing.js", "a\0b.js", "a" * 9000]
)
def test_no_other_file_is_served(name: str) -> None:
    assert file_of(name) is None


def test_a_file_is_kept_only_under_the_path_of_its_content() -> None:
    digest = asset("app.js").split("/")[2]
    assert "immutable" in static_file(digest, "app.js").headers["cache-control"]
    assert "cache-control" not in static_file("0" * 12, "app.js").headers, "the server adds no-store"
