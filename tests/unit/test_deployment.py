from __future__ import annotations

import re
from typing import Any

import pytest
import typer
import yaml

from segadmin.settings import Settings
from segadmin_api.cli import app
from tests.servers import ROOT

COMPOSE = (ROOT / "docker-compose.yml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("segadmin:")}
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_the_services_are_complete() -> None:
    assert {"redis", "postgres", "migrate", "worker-cpu", "worker-gpu", "beat", "flower", "web"} == set(SERVICES)


@pytest.mark.parametrize("name", OURS)
def test_each_service_runs_a_command_that_exists(name: str) -> None:
    words = [re.sub(r"\$\{\w+:-(\w+)\}", r"\1", word) for word in OURS[name]["command"]]
    _parse(typer.main.get_command(app), words)


def test_a_command_that_does_not_exist_would_be_noticed() -> None:
    with pytest.raises(Exception, match="No such option"):
        _parse(typer.main.get_command(app), ["worker", "--queue-names", "cpu"])


@pytest.mark.parametrize("name", OURS)
def test_each_variable_is_a_setting(name: str) -> None:
    variables = {f"SEGADMIN_{field.upper()}" for field in Settings.model_fields}
    assert set(OURS[name]["environment"]) <= variables


def test_each_variable_that_must_be_set_is_in_the_example() -> None:
    example = dict(line.split("=", 1) for line in _lines((ROOT / ".env.example").read_text()))
    used = dict(re.findall(r"\$\{(\w+)(:[-?][^}]*)?\}", COMPOSE))
    assert set(used) == set(example)
    for name, default in used.items():
        assert example[name] == (default.removeprefix(":-") if default.startswith(":-") else ""), name


def test_no_secret_is_written_down() -> None:
    secret = re.compile("PASSWORD|SECRET|URL|AUTH")
    for service in SERVICES.values():
        for name, value in service["environment"].items():
            if secret.search(name):
                assert "${" in value, name


def test_images_are_pinned() -> None:
    images = [service["image"] for service in SERVICES.values()] + re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    for image in images:
        assert re.search(r":\d+\.\d+", image), image


def test_redis_keeps_messages_and_wants_a_password() -> None:
    command = " ".join(SERVICES["redis"]["command"])
    for flag in ("--appendonly yes", "--appendfsync everysec", "--maxmemory-policy noeviction"):
        assert flag in command
    assert "requirepass" in command
    assert SERVICES["redis"]["volumes"] == ["redis:/data"]


def test_only_the_gpu_worker_reserves_a_gpu() -> None:
    reserving = {name for name, service in SERVICES.items() if "deploy" in service}
    assert reserving == {"worker-gpu"}
    device = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"][0]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


def test_every_queue_has_a_worker() -> None:
    queues = {queue for name in ("worker-cpu", "worker-gpu") for queue in SERVICES[name]["command"][2].split(",")}
    assert queues == {"cpu", "control", "gpu"}


def test_services_start_after_the_migration() -> None:
    assert SERVICES["migrate"]["restart"] == "no"
    for name in ("worker-cpu", "worker-gpu", "beat", "flower"):
        assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    for name in ("redis", "postgres"):
        assert SERVICES[name]["healthcheck"]["test"]


def test_nothing_is_open_to_the_network() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if service.get("ports")}
    assert published == {"flower": ["127.0.0.1:5555:5555"], "web": ["127.0.0.1:8000:8000"]}


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    allowed = {line.removeprefix("!") for line in _lines((ROOT / ".dockerignore").read_text()) if line[0] == "!"}
    copied = [word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.M) for word in line.split()]
    assert set(copied) == allowed
    assert all((ROOT / path).exists() for path in copied)


def test_the_image_runs_as_an_unprivileged_user() -> None:
    last = DOCKERFILE.split("FROM ")[-1]
    assert re.search(r"^USER segadmin$", last, re.M)
    assert 'ENTRYPOINT ["segadmin"]' in last


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def _parse(command: Any, words: list[str], parent: Any = None) -> None:
    """Parse a command line down to its last subcommand, without running anything."""
    context = command.make_context(command.name, list(words), parent=parent)
    if hasattr(command, "resolve_command"):
        _, subcommand, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        _parse(subcommand, rest, context)
