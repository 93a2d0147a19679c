"""Settings: where they come from, and what is said when one cannot be used."""

from __future__ import annotations

import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from segadmin.errors import ConfigurationError
from segadmin.events.import_request import ImportRequest
from segadmin.events.inbox import Inbox
from segadmin.events.ingest import import_file
from segadmin.settings import Settings, get_settings
from segadmin.storage.database import ensure_schema
from tests.conftest import Cli


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("BUCKETS", "12", "must be a power of two"),
        ("FAN_OUT", "many", "valid integer"),
        ("LANGUAGE", "fr", "'en' or 'zh'"),
        ("LEASE_SECONDS", "0", "greater than 0"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(cli: Cli, name: str, value: str, words: str) -> None:
    done = cli("jobs", "list", check=False, **{f"SEGADMIN_{name}": value})
    assert done.returncode == 1
    assert f"SEGADMIN_{name}={value!r}" in done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_secrets_are_generated_once_and_private(settings: Settings) -> None:
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda _: settings.create_secret(), range(8)))
    assert len(secrets) == 1
    mode = (settings.root / "user_key_secret").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert [path.name for path in settings.root.iterdir()] == ["user_key_secret"]


def test_a_long_home_gets_a_short_socket(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / ("x" * 120))
    assert len(str(settings.redis_socket)) < 100
    assert settings.redis_socket != Settings(home=tmp_path / ("y" * 120)).redis_socket


def test_what_is_given_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGADMIN_FAN_OUT", "7")
    monkeypatch.setenv("segadmin_web_hosts", "Shop.example, *.shop.example")
    assert Settings().fan_out == 7
    assert Settings(fan_out=2).fan_out == 2
    assert Settings().web_hosts == ("shop.example", "*.shop.example"), "the case of a name does not matter"
    assert "fan_out" in Settings().model_fields_set, "chosen, as an argument is"


def test_secrets_do_not_print(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGADMIN_USER_KEY_SECRET", "top-secret")
    get_settings.cache_clear()
    assert "top-secret" not in repr(get_settings())
    get_settings.cache_clear()


def test_settings_are_frozen(settings: Settings) -> None:
    with pytest.raises(ValueError, match="frozen"):
        settings.buckets = 4  # type: ignore[misc]


def test_a_configuration_error_is_raised_not_a_validation_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGADMIN_BUCKETS", "3")
    get_settings.cache_clear()
    with pytest.raises(ConfigurationError, match=r"Change or unset SEGADMIN_BUCKETS"):
        get_settings()


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("WEB_HOSTS", "shop.example:8000", "'shop.example:8000' is not a host name"),
        ("WEB_HOSTS", "https://shop.example", "is not a host name"),
        ("WEB_HOSTS", "shop.*", "is not a host name"),
        ("WEB_PROXIES", "10.0.0.1/8", "'10.0.0.1/8' is not an address or a network such as 10.0.0.0/8"),
        ("WEB_PROXIES", "*", "is not an address or a network"),
        ("WEB_CONNECTIONS", "0", "greater than or equal to 1"),
        ("WEB_HEAD_SECONDS", "0", "greater than 0"),
    ],
)
def test_bounds_of_the_web_part_are_checked(
    name: str, value: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"SEGADMIN_{name}", value)
    get_settings.cache_clear()
    with pytest.raises(ConfigurationError, match=re.escape(problem)):
        get_settings()


def test_names_of_the_web_part_are_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGADMIN_WEB_HOSTS", "Shop.example, *.shop.example,2001:db8::1")
    monkeypatch.setenv("SEGADMIN_WEB_PROXIES", "10.0.0.0/8,::1")
    get_settings.cache_clear()
    assert get_settings().web_hosts == ("shop.example", "*.shop.example", "2001:db8::1")
    assert get_settings().web_proxies == ("10.0.0.0/8", "::1")


@pytest.mark.parametrize("blank", ["", " ", "\t\n", "\ufeff", "\u200b\u200b"])
def test_an_empty_secret_in_the_environment_is_refused_by_every_command(cli: Cli, blank: str, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user,kind,item,at\na,view,i,2026-01-01\n")
    done = cli("data", "import", "events", str(tmp_path / "events.csv"), check=False, SEGADMIN_USER_KEY_SECRET=blank)
    assert done.returncode == 1
    assert re.fullmatch(r"Error: SEGADMIN_USER_KEY_SECRET=\*\*\*: it is empty, .* Set a secret\. .*\n", done.stderr)
    with pytest.raises(ValueError, match="it is empty, so everybody could compute the user keys"):
        Settings(home=tmp_path / "home", user_key_secret=blank)  # type: ignore[arg-type]


@pytest.mark.parametrize("blank", [b"", b" \n", b"\xef\xbb\xbf\n", b"\0\0", "pipe"])
def test_an_empty_secret_in_a_file_is_refused_by_an_import_of_a_file_and_of_posted_events(
    settings: Settings, tmp_path: Path, blank: bytes | str
) -> None:
    (tmp_path / "events.csv").write_text(f"user,kind,item,at\na,view,i,{datetime.now(UTC):%Y-%m-%d}\n")
    settings.root.mkdir()
    secret = settings.root / "user_key_secret"
    if isinstance(blank, bytes):
        secret.write_bytes(blank)
    else:
        os.mkfifo(secret)
    ensure_schema(settings)
    box = Inbox.of(settings)
    box.add(['{"user": "a", "kind": "view", "item": "i", "at": "2026-01-31"}'])
    for where in (str(tmp_path / "events.csv"), "inbox://"):
        with pytest.raises(ConfigurationError, match=r"user_key_secret (is empty|cannot be read: it is not a plain)"):
            import_file(settings, ImportRequest("events", where))
    assert len(box.batches()) == 1, "it waits until there is a secret again"
    secret.unlink()
    assert import_file(settings, ImportRequest("events", "inbox://"))[0].rows_kept == 1
