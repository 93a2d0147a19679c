"""Names and values of strangers: a terminal obeys no control character in them, and a pattern in them is a name."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from segadmin.events.erase import forget
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.profile import profile
from segadmin.printable import printable
from segadmin.settings import Settings
from segadmin.storage.compaction import compact
from segadmin.storage.lake import Lake
from segadmin_api.cli.several import expand
from tests.conftest import Cli

#: Sets the title of a terminal, and hides what follows.
CODES = "\x1b]0;owned\x07\x1b[8m\x9b8m\u202e"


def test_no_command_sends_the_control_characters_of_data(settings: Settings, cli: Cli, tmp_path: Path) -> None:
    events, labels = tmp_path / f"e{CODES}.csv", tmp_path / "l.csv"
    rows = [f"u1,view,a{CODES},2026-01-01,c{CODES}", f"u2{CODES},v{CODES},b,2026-01-01,c", f"u3,view,c,n{CODES},c"]
    events.write_text("\n".join(["user,kind,item,at,category", *rows, ""]))
    labels.write_text(f"user,segment,at\nu1,vip{CODES},2026-01-02\n")
    key = f"shop{CODES}"
    for words in (
        ("data", "preview", str(events)),
        ("data", "import", "events", str(events)),
        ("data", "import", "labels", str(labels), "--name", "mine"),
        ("data", "list"),
        ("data", "profile"),
        ("data", "quarantine"),
        ("data", "quarantine", "--json"),
        ("keys", "create", key, "--json"),
        ("keys", "list"),
        ("keys", "revoke", f"no{CODES}"),
        ("schedule", "add", f"night{CODES}", "compact", "--cron", "0 3 * * *"),
        ("schedule", "list"),
        ("schedule", "show", f"night{CODES}"),
        ("audit", "list"),
        ("users", "show", f"u{CODES}"),
        ("jobs", "list", "--state", f"x{CODES}"),
    ):
        done = cli(*words, check=False)
        assert "Traceback" not in done.stderr
        for printed in (done.stdout, done.stderr):
            assert printable(printed) == printed, words


def test_a_terminal_sees_the_codes_and_obeys_none(settings: Settings, tmp_path: Path) -> None:
    events = tmp_path / "e.csv"
    events.write_text(f"user,kind,item,at\nu1,view{CODES},a,2026-01-01\n")
    import_file(settings, ImportRequest("events", str(events)))
    controller, screen = pty.openpty()
    command = [sys.executable, "-m", "segadmin_api.cli", "data", "quarantine"]
    subprocess.run(command, stdout=screen, stderr=screen, env={**os.environ, "COLUMNS": "200"}, check=True)
    os.close(screen)
    sent = b""
    try:
        while part := os.read(controller, 65536):
            sent += part
    except OSError:  # the end
        pass
    os.close(controller)
    assert rb"view\x1b]0;owned\x07\x1b[8m" in sent
    assert b"\x1b]" not in sent
    assert b"\x1b[8m" not in sent


def test_a_home_whose_name_is_a_pattern_leaves_its_neighbours_alone(tmp_path: Path) -> None:
    homes = {name: Settings(home=tmp_path / name / "home[1]*") for name in ("shop[1]*", "shop1", "shop1x", "shop[1]")}
    for name, settings in homes.items():
        for file, user in (("e[1]*.csv", "own"), ("e1.csv", "other"), ("e1x.csv", "more")):
            path = tmp_path / name / file
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"user,kind,item,at\n{user} of {name},view,a,2026-01-01\n")
        import_file(settings, ImportRequest("events", str(tmp_path / name / "e[1]*.csv")))
    chosen = homes["shop[1]*"]
    assert (profile(chosen).events, profile(chosen).users) == (1, 1)
    assert expand([str(tmp_path / "shop[1]*" / "e1*.csv")]) == [
        str(tmp_path / "shop[1]*" / file) for file in ("e1.csv", "e1x.csv")
    ]
    assert expand([str(tmp_path / "shop[1]*" / "e[1]*.csv")]) == [str(tmp_path / "shop[1]*" / "e[1]*.csv")]
    import_file(chosen, ImportRequest("events", str(tmp_path / "shop[1]*" / "e1.csv")))
    compact(chosen)
    assert forget(chosen, ["own of shop[1]*"])[0].rows["events"] == 1
    left = {name: Lake.of(settings).scan("users").collect()["user"].to_list() for name, settings in homes.items()}
    assert left == {name: ["other of shop[1]*"] if name == "shop[1]*" else [f"own of {name}"] for name in homes}
