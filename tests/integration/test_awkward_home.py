"""Everything on one machine, in a folder whose name libraries misread: sockets, database, workers, the lake."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from segadmin.settings import Settings, get_settings
from tests.conftest import Cli


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings of a home with spaces, Chinese, an escape, a pattern and a fragment in its name."""
    monkeypatch.setenv("SEGADMIN_HOME", str(tmp_path / "my shop #1 店%20*[x];'"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


def test_jobs_run_in_a_home_of_any_name(settings: Settings, cli: Cli, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("-e [1]?.csv", "e%20#.csv")]
    for number, path in enumerate(files):
        path.write_text(f"user,kind,item,at\nu{number},view,a,2024-03-01\nx{number},stare,a,2024-03-02\n")
    cli("data", "import", "events", str(files[0]))
    try:
        assert "Ready." in cli("up", "--detach", "--cpu", "1", "--no-flower", "--no-web").stdout
        cli("enqueue", "ingest", str(files[1]), "--wait")
        findings = {
            finding["what"]: finding["level"] for finding in json.loads(cli("doctor", "--json", check=False).stdout)
        }
        assert (findings["broker"], findings["database"], findings["store"]) == ("ok", "ok", "ok")
    finally:
        stopped = cli("down").stdout
    assert "Stopped." in stopped
    assert "2 events of 2 users" in cli("data", "profile").stdout
    out = tmp_path / "out #[y].csv"
    assert "Wrote 2 rows" in cli("data", "quarantine", "--out", str(out)).stdout
    assert {"x0", "x1"} <= set(out.read_text(encoding="utf-8-sig").replace(",", " ").split())
    assert (settings.root / "segadmin.db").is_file()
    assert not [path.name for path in tmp_path.iterdir() if "%25" in path.name]  # nothing was made under its URL
