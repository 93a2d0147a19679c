"""What starts something checks all settings first; what goes wrong later is no caller's business."""

from __future__ import annotations

import gzip
import json
import socket
from pathlib import Path

import pytest
import zstandard

from segadmin.events.inbox import Inbox
from segadmin.jobs import control
from segadmin.settings import Settings
from segadmin_worker.services import free_port
from tests.conftest import Cli
from tests.integration.test_web import event, post
from tests.servers import web_server

COMMANDS = [("up", "--detach"), ("up",), ("web",), ("worker",), ("beat",), ("flower",)]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_nothing_starts_with_settings_that_cannot_be_used(
    cli: Cli, settings: Settings, tmp_path: Path, command: tuple[str, ...]
) -> None:
    mapping, plugin = tmp_path / "shop.toml", tmp_path / "mine.py"
    mapping.write_text('[kinds]\n"Product Viewed" = "viewed"\n')
    plugin.write_text("import nosuchmodule")
    done = cli(
        *command,
        check=False,
        SEGADMIN_EVENTS_MAPPING=str(mapping),
        SEGADMIN_TRACKERS="tensorbord",
        SEGADMIN_BROKER_URL="reddis://:hidden@127.0.0.1:1/0",
        SEGADMIN_EVENT_MAPPING="x",
        SEGADMIN_PLUGIN_FILES=str(plugin),
        # Another test may hold the ports that are used where none is named.
        SEGADMIN_WEB_PORT=str(free_port(0)),
        SEGADMIN_FLOWER_PORT=str(free_port(0)),
    )
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0] == (
        "Warning: SEGADMIN_EVENT_MAPPING is no setting. Did you mean SEGADMIN_EVENTS_MAPPING? "
        "Rename it, or unset SEGADMIN_EVENT_MAPPING."
    )
    assert lines[1].startswith(f"Warning: The plugin file {plugin} is not loaded: it cannot be imported: ModuleNot")
    assert lines[2].startswith("Error: SEGADMIN_TRACKERS='tensorbord': There is no tracker 'tensorbord'.")
    assert lines[3] == (
        f"Error: SEGADMIN_EVENTS_MAPPING='{mapping}': kinds.Product Viewed: there is no kind 'viewed'. "
        "Did you mean 'view'? Correct the file, or unset SEGADMIN_EVENTS_MAPPING."
    )
    assert lines[4].startswith("Error: SEGADMIN_BROKER_URL='reddis://:***@127.0.0.1:1/0': there is no such broker.")
    assert len(lines) == 5
    assert cli("status", check=False).returncode == 1


@pytest.mark.parametrize("command", ["up", "web", "worker", "beat", "flower", "doctor"])
def test_an_empty_user_key_secret_is_refused_at_once(cli: Cli, settings: Settings, command: str) -> None:
    done = cli(command, check=False, SEGADMIN_USER_KEY_SECRET="", SEGADMIN_HEARTBEAT_SECONDS="nan")
    assert done.returncode == 1
    assert "SEGADMIN_USER_KEY_SECRET=***: it is empty" in done.stdout + done.stderr
    assert "SEGADMIN_HEARTBEAT_SECONDS='nan': " in done.stdout + done.stderr
    assert not settings.root.exists()


@pytest.mark.parametrize(("command", "variable"), [("web", "SEGADMIN_WEB_PORT"), ("flower", "SEGADMIN_FLOWER_PORT")])
def test_a_taken_port_is_named(cli: Cli, command: str, variable: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        by_variable = cli(command, check=False, **{variable: port})
        by_option = cli(command, "--port", port, check=False)
    message = f"{port}: 127.0.0.1 port {port}: Address already in use. Choose another port, or free it.\n"
    assert (by_variable.returncode, by_variable.stderr) == (1, f"Error: {variable}={message}")
    assert (by_option.returncode, by_option.stderr) == (1, f"Error: --port={message}")
    nowhere = cli(command, "--address", "no.such.host.invalid", check=False)
    assert nowhere.returncode == 1
    assert nowhere.stderr.startswith("Error: --address=no.such.host.invalid: it is not an address of this machine")


def test_two_services_cannot_share_a_port(cli: Cli) -> None:
    done = cli("up", "--detach", check=False, SEGADMIN_WEB_PORT="8159", SEGADMIN_FLOWER_PORT="8159")
    assert done.stderr == "Error: SEGADMIN_WEB_PORT and SEGADMIN_FLOWER_PORT are both 8159. Change one of them.\n"
    assert done.returncode == 1


def test_doctor_lists_every_setting_that_cannot_be_used(cli: Cli, tmp_path: Path) -> None:
    done = cli(
        "doctor",
        check=False,
        SEGADMIN_WEIGHTS=str(tmp_path),
        SEGADMIN_BROKER_CA=str(tmp_path / "no.pem"),
        SEGADMIN_EVENTS_MAPPING=str(tmp_path / "no.toml"),
        SEGADMIN_BROKER_URL="amqp://me:hidden@127.0.0.1:1",
    )
    assert done.returncode == 1
    assert f"✓ setting weights: '{tmp_path}'" in done.stdout
    assert f"✗ setting broker_ca: SEGADMIN_BROKER_CA='{tmp_path / 'no.pem'}': it cannot be read: No such" in done.stdout
    assert "✗ setting events_mapping: " in done.stdout
    assert "✗ broker: The broker amqp://me:***@127.0.0.1:1 does not answer" in done.stdout
    assert "✓ store: " in done.stdout, "the other checks go on"


def test_a_mapping_broken_later_is_logged_and_not_shown_to_clients(
    settings: Settings, cli: Cli, tmp_path: Path
) -> None:
    mapping = tmp_path / "shop.toml"
    mapping.write_text("[kinds]\nViewed = 'view'\n")
    with web_server(settings, SEGADMIN_EVENTS_MAPPING=str(mapping)) as url:
        key = cli("keys", "create", "shop").stdout.strip()
        body = json.dumps(event(1, kind="Viewed")).encode()
        assert post(url, body, key)[1]["usable"] == 1
        mapping.write_text("[kinds]\nViewed = 'viewed'\n")
        status, problem = post(url, body, key)
        assert (status, problem["title"]) == (503, "Service Unavailable")
        assert problem["detail"] == "The server cannot do this at the moment; see its log. Try again later."
        assert len(Inbox.of(settings).batches()) == 1, "nothing that was refused is kept"
        mapping.write_text("[kinds]\nViewed = 'cart'\n")
        assert post(url, body, key)[1]["usable"] == 1, "what changed is read"
    log = (settings.root / "web.log").read_text()
    assert f"POST /v1/events: The mapping {mapping}: kinds.Viewed: there is no kind 'viewed'." in log
    keys = {line.job.idempotency_key for line in control.list_jobs(settings)}
    assert len(keys) == len(control.list_jobs(settings)) >= 2, "each mapping has an import of its own"


def test_compressed_events_are_taken(settings: Settings, cli: Cli) -> None:
    lines = "\n".join(json.dumps(event(n)) for n in range(300)).encode()
    with web_server(settings) as url:
        key = cli("keys", "create", "shop").stdout.strip()
        plain = post(url, lines, key, "application/x-ndjson")
        packed = post(url, gzip.compress(lines), key, "application/x-ndjson", **{"Content-Encoding": "gzip"})
        twice = zstandard.compress(gzip.compress(lines))
        stacked = post(url, twice, key, "application/x-ndjson", **{"Content-Encoding": "gzip, zstd"})
        assert plain == packed == stacked
        assert (plain[0], plain[1]["usable"]) == (202, 300)
        status, problem = post(url, gzip.compress(lines)[:-20], key, **{"Content-Encoding": "gzip"})
        assert (status, problem["detail"]) == (400, "The body is not whole: its gzip data end early.")
        status, problem = post(url, lines, key, **{"Content-Encoding": "br"})
        assert (status, problem["title"]) == (415, "Unsupported Media Type")
        assert post(url, gzip.compress(bytes(11 << 20)), key, **{"Content-Encoding": "gzip"})[0] == 413
        status, problem = post(url, gzip.compress(b"x"), key)
        assert status == 400
    assert len(Inbox.of(settings).batches()) == 1


def test_the_log_of_a_service_shows_no_password(settings: Settings, cli: Cli) -> None:
    with web_server(settings, SEGADMIN_BROKER_URL="redis://:hidden@127.0.0.1:1/0") as url:
        key = cli("keys", "create", "shop").stdout.strip()
        assert post(url, json.dumps(event(1)).encode(), key)[0] == 202, "the broker is not needed to keep events"
        post(f"{url}/jobs?token=hidden&password=hidden", b"", key)
    log = (settings.root / "web.log").read_text()
    assert "token" not in log, "no query is kept"
    assert "hidden" not in log
