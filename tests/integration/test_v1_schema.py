"""The real server answers whatever its OpenAPI description allows, and more, as the description says."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from jsonschema_rs import validator_for

from segadmin.jobs.registry import workflows
from segadmin.storage.records import Scope
from tests.api import Api

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


#: Every value that the description names or bounds; in the slow run also what somebody may think of in a minute.
PHASES = ["examples,coverage", pytest.param("fuzzing", marks=pytest.mark.slow)]


@pytest.mark.parametrize("phases", PHASES)
def test_no_request_is_answered_otherwise_than_described(api: Api, phases: str) -> None:
    """Left out are streams, the deletion of keys, such as the one of this test, and checks, which take seconds each."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{api.url}/openapi.json"]
    command += ["-H", f"Authorization: Bearer {api.keys[Scope.ADMIN]}"]
    command += ["--exclude-path", "/v1/jobs/{job}/events", "--exclude-path", "/v1/keys/{name}"]
    for slow in ("/v1/doctor", "/v1/plugins/{kind}/{name}/check", "/v1/backbones/check"):
        command += ["--exclude-path", slow]
    command += ["--phases", phases, "--max-time", "60" if phases == "fuzzing" else "250"]
    command += ["--checks", ",".join(CHECKS), "--generation-deterministic", "--continue-on-failure", "--no-color"]
    cwd = api.settings.root  # where it leaves what it found
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=280, cwd=cwd)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    cases = re.search(r"Test cases:\s+.*", done.stdout)
    assert cases is not None, done.stdout[-2000:]
    print(*cases[0].split())  # how many passed is shown by: pytest -s


def test_the_description_has_the_options_of_every_kind(api: Api) -> None:
    description: dict[str, Any] = api.get("/openapi.json")
    assert description["openapi"].startswith("3.1")
    schemas = description["components"]["schemas"]
    referred = {each["$ref"] for each in schemas["JobRequest"]["properties"]["options"]["anyOf"]}
    built_in = {
        kind: each for kind, each in workflows().items() if each.stages[0].run.__module__.startswith("segadmin.")
    }
    assert "retrain" in built_in
    for kind, workflow in built_in.items():
        name = f"{kind}.options"
        assert f"#/components/schemas/{name}" in referred
        assert set(workflow.request.offered()) <= set(schemas[name]["properties"])
    described = {**schemas["JobRequest"], "components": description["components"]}
    request = {"kind": "refresh", "options": {"labels": "spend3"}}
    assert validator_for(described).is_valid(request)
    assert not validator_for(described).is_valid({"kind": "refresh", "options": {"labls": "spend3"}})
