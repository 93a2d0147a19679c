"""What segadmin makes is private whatever the umask of who runs it; and what is not is found, with the command."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from segadmin import preflight
from segadmin.events.inbox import Inbox
from segadmin.files import make_folder, put_once
from segadmin.permissions import exposures
from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.lake import Lake
from segadmin.storage.store import open_store
from tests.conftest import Cli


@pytest.fixture(params=[0o000, 0o022], ids=["umask000", "umask022"])
def _wide(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("_wide")
def test_a_program_with_another_umask_makes_a_private_home(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path / "a" / "home",
        store=tmp_path / "b" / "store",
        database_url=f"sqlite:///{tmp_path}/c/shop.db",
    )
    database.upgrade(settings)
    open_store(settings)
    Inbox.of(settings).add(["{}"])
    private = [settings.root, settings.store_path, tmp_path / "a", tmp_path / "b", tmp_path / "c"]
    assert {oct(mode(path)) for path in private} == {"0o700"}
    files = [*settings.database_files, settings.root / "user_key_secret", settings.store_path / "store.json"]
    assert {oct(mode(path)) for path in files} == {"0o600"}
    assert list(exposures(settings)) == []
    database.engine(settings).dispose()


@pytest.mark.usefixtures("_wide")
@pytest.mark.parametrize(("umask", "folder", "file"), [("027", 0o750, 0o640), ("007", 0o770, 0o660)])
def test_a_group_gets_what_the_setting_leaves_it(tmp_path: Path, umask: str, folder: int, file: int) -> None:
    settings = Settings(home=tmp_path / "home", umask=umask)  # type: ignore[arg-type]
    open_store(settings)
    assert mode(settings.root) & 0o777 & ~0o022 == folder & ~0o022
    assert mode(settings.root) & 0o007 == 0
    assert mode(settings.root / "segadmin.db") & ~0o022 == file & ~0o022
    assert mode(settings.root / "user_key_secret") == 0o640  # read by the group, and changed by nobody
    assert list(exposures(settings)) == []
    database.engine(settings).dispose()


@pytest.mark.parametrize("value", ["077", "0077", "027", "0027", "007"])
def test_the_umask_is_written_as_shells_do(value: str) -> None:
    assert Settings(umask=value).umask_bits == int(value, 8)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["022", "000", "77", "", "0o77", "private", "777"])
def test_a_umask_that_lets_everybody_in_is_refused(cli: Cli, settings: Settings, value: str) -> None:
    done = cli("jobs", "list", check=False, SEGADMIN_UMASK=value)
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: SEGADMIN_UMASK={value!r}: Input should be '077', '027' or '007'. Change or unset SEGADMIN_UMASK.\n"
    )
    assert not settings.root.exists()


def test_what_was_open_before_is_counted_and_the_command_closes_it(settings: Settings) -> None:
    open_store(settings)
    database.engine(settings).dispose()
    (settings.root / "out.csv").touch()
    for path in (settings.root, settings.store_path):
        path.chmod(0o755)
    (settings.root / "out.csv").chmod(0o644)
    [exposure] = exposures(settings)
    root = f"{settings.root} (drwxr-xr-x)"
    assert str(exposure) == f"3 files and folders are open to other users of this machine, such as {root}"
    assert list(preflight.exposed(settings)) == [
        f"{root} is open to other users of this machine. Run: chmod -R go-rwx {settings.root}"
    ]
    subprocess.run(shlex.split(exposure.fix), check=True)
    assert list(exposures(settings)) == []


def test_only_files_that_others_can_reach_count(settings: Settings) -> None:
    inner = settings.root / "run"
    make_folder(inner, 0)
    (inner / "web.log").touch()
    (inner / "web.log").chmod(0o666)
    settings.root.chmod(0o700)
    assert list(exposures(settings)) == []
    settings.root.chmod(0o711)  # its names are hidden, and what is known to be there is open
    assert [exposure.count for exposure in exposures(settings)] == [3]


def test_a_group_that_may_read_must_not_write(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", umask="027")
    make_folder(settings.root, 0o027)
    (settings.root / "a").touch()
    (settings.root / "a").chmod(0o660)
    [exposure] = exposures(settings)
    assert (exposure.count, exposure.example) == (1, settings.root / "a")
    assert exposure.fix == f"chmod -R g-w,o-rwx {settings.root}"


def test_links_are_not_followed_and_a_home_that_is_one_is_looked_at(tmp_path: Path) -> None:
    make_folder(tmp_path / "real", 0)
    (tmp_path / "real").chmod(0o755)
    (tmp_path / "home").symlink_to(tmp_path / "real")
    settings = Settings(home=tmp_path / "home")
    (settings.root / "loop").symlink_to(settings.root)
    (settings.root / "elsewhere").symlink_to("/etc")
    [exposure] = exposures(settings)
    assert (exposure.count, exposure.example) == (1, tmp_path / "real")


def test_a_store_and_a_database_elsewhere_are_looked_at(tmp_path: Path) -> None:
    database_file = tmp_path / "x%20y" / "shop.db"
    settings = Settings(
        home=tmp_path / "home", store=tmp_path / "store", database_url=f"sqlite:///{tmp_path}/x%2520y/shop.db"
    )
    for path in (settings.root, settings.store_path, database_file.parent):
        make_folder(path, 0o077)
    database_file.touch()
    database_file.chmod(0o644)
    settings.store_path.chmod(0o755)
    assert [exposure.example for exposure in exposures(settings)] == [settings.store_path, database_file]


def test_a_file_is_written_once_and_whole(tmp_path: Path) -> None:
    put_once(tmp_path / "a", "first", 0o077)
    put_once(tmp_path / "a", "second", 0o077)
    assert (tmp_path / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_tables_of_a_private_store_are_private(settings: Settings) -> None:
    before = os.umask(0)
    try:
        open_store(settings)
        lake = Lake.of(settings)
        lake.append("items", lake.scan("items").collect())
    finally:
        os.umask(before)
    assert list(exposures(settings)) == []
