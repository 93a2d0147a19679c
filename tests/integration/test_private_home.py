"""A home is private whatever the umask of who runs segadmin: every command and part, and all that they leave."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from segadmin.settings import Settings
from segadmin_worker.services import free_port
from tests.commands import CommandServer

Run = Callable[..., str]


@pytest.fixture
def run(settings: Settings, commands: CommandServer) -> Run:
    """Run ``segadmin`` under a umask and return what it printed."""

    def command(umask: int, *words: str, **environment: str) -> str:
        ports = {name: str(free_port(0)) for name in ("SEGADMIN_WEB_PORT", "SEGADMIN_FLOWER_PORT")}
        environment = {**os.environ, "COLUMNS": "160", **ports, **environment}
        done = commands.run(words, environment, timeout=280, umask=umask)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return command


def open_to_others(root: Path, folder: int = 0o700, file: int = 0o600) -> list[str]:
    """Return what is under ``root``, and ``root`` itself, with more rights than it should have."""
    too_open = []
    for path in [root, *root.rglob("*")]:
        facts = path.lstat()
        allowed = folder if stat.S_ISDIR(facts.st_mode) else file
        if not stat.S_ISLNK(facts.st_mode) and stat.S_IMODE(facts.st_mode) & 0o777 & ~allowed & ~0o100:
            too_open.append(f"{stat.filemode(facts.st_mode)} {path.relative_to(root.parent)}")
    return too_open


def import_shop(run: Run, umask: int, folder: Path, users: int) -> None:
    run(umask, "data", "generate", "--users", str(users), "--out", str(folder))
    run(umask, "data", "import", "items", str(folder / "items.parquet"))
    run(umask, "data", "import", "events", *map(str, sorted((folder / "events").iterdir())))
    run(umask, "data", "import", "labels", str(folder / "labels.parquet"), "--name", "planted")


@pytest.mark.slow
def test_services_and_jobs_leave_no_file_open_to_others(run: Run, settings: Settings, tmp_path: Path) -> None:
    umask = 0o000
    # Which users are tested on depends on the home's secret: of these there are always enough.
    import_shop(run, umask, tmp_path / "shop", users=150)
    (tmp_path / "bad.csv").write_text("user,kind,item,at\nu1,stare,a,2024-03-01\n")
    bad = str(json.loads(run(umask, "data", "import", "events", str(tmp_path / "bad.csv"), "--json"))["id"])
    run(umask, "up", "--detach", "--cpu", "1")
    try:
        retrain = (
            "enqueue",
            "retrain",
            "--labels",
            "planted",
            "--split",
            "user",
            "--backbone",
            "tiny",
            "--margin",
            "-1",
            "--wait",
        )
        run(umask, *retrain, "--backbone-option", "epochs=1")
        run(umask, "enqueue", "compact", "--wait")
        assert open_to_others(settings.root) == []  # while all runs: sockets, locks, write-ahead logs
        assert {"redis.sock", "web.log", "flower.log", "supervisor.json"} <= {
            path.name for path in settings.run_path.iterdir()
        }
    finally:
        run(umask, "down")
    out = tmp_path / "out"
    out.mkdir(mode=0o700)
    run(umask, "snapshots", "export", "--out", str(out / "segments.csv"))
    run(umask, "data", "quarantine", "--import", bad, "--out", str(out / "bad.csv"))
    run(umask, "data", "profile", "--html", str(out / "profile.html"))
    run(umask, "models", "export", "1", "--out", str(out / "model"))
    assert open_to_others(out) == []
    assert open_to_others(settings.root) == []
    assert {"lake", "models", "work", "import.lock", "store.json"} <= {
        path.name for path in settings.store_path.iterdir()
    }
    rights = [finding for finding in json.loads(run(umask, "doctor", "--json")) if finding["what"] == "rights"]
    assert [finding["level"] for finding in rights] == ["ok"]


def test_the_usual_umask_leaves_no_file_open_to_others(run: Run, settings: Settings, tmp_path: Path) -> None:
    import_shop(run, 0o022, tmp_path / "shop", users=20)
    run(0o022, "snapshots", "list")
    assert open_to_others(settings.root) == []
    assert open_to_others(tmp_path / "shop") == []


def test_a_group_can_read_a_shared_home(run: Run, settings: Settings, tmp_path: Path) -> None:
    run(0o022, "data", "generate", "--users", "20", "--out", str(tmp_path / "shop"), SEGADMIN_UMASK="007")
    files = sorted((tmp_path / "shop" / "events").iterdir())
    run(0o022, "data", "import", "events", *map(str, files), SEGADMIN_UMASK="007")
    assert open_to_others(settings.root, folder=0o770, file=0o660) == []
    shared = [settings.root, settings.store_path, settings.store_path / "lake" / "users"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in shared} == {0o770}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (settings.store_path / "lake").rglob("*.parquet")} == {0o660}
    assert stat.S_IMODE((settings.root / "segadmin.db").stat().st_mode) == 0o660
