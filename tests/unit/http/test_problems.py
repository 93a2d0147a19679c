"""What an answer says of an error, and what only the log says."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from fastapi import Request

from segadmin.errors import (
    BrokerUnavailable,
    ChangedMeanwhile,
    ConfigurationError,
    DatabaseDamaged,
    InvalidTransition,
    KeyReused,
    ModelNotFound,
    SchemaOutOfDate,
    Stale,
    StorageError,
)
from segadmin_api.http.problems import answer_error


def answer_to(error: Exception) -> tuple[int, dict[str, Any]]:
    scope = {"type": "http", "method": "GET", "path": "/v1/jobs", "headers": [], "query_string": b""}
    response = asyncio.run(answer_error(Request(scope), error))
    return response.status_code, json.loads(bytes(response.body))


@pytest.mark.parametrize(
    ("error", "status", "fix"),
    [
        (SchemaOutOfDate("/srv/shop.db is at 0014"), 503, "segadmin db upgrade"),
        (StorageError("postgresql://db.shop.example is away"), 503, "segadmin doctor"),
        (DatabaseDamaged("/srv/shop.db is damaged"), 503, "segadmin doctor"),
        (BrokerUnavailable("redis://broker.shop.example"), 503, "Try again later"),
        (ConfigurationError("/srv/secret"), 503, "Try again later"),
        (ValueError("/srv/code.py"), 500, "see the log of the server"),
    ],
)
def test_errors_of_the_server_name_no_host_or_folder(error: Exception, status: int, fix: str) -> None:
    answered, problem = answer_to(error)
    assert (answered, problem["status"]) == (status, status)
    assert fix in problem["detail"]
    assert "srv" not in json.dumps(problem)
    assert "shop.example" not in json.dumps(problem)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ModelNotFound("m"), 404),
        (InvalidTransition("m"), 409),
        (KeyReused("m"), 409),
        (ChangedMeanwhile("m"), 409),
        (Stale("m"), 412),
    ],
)
def test_errors_of_a_request_say_what_is_wrong(error: Exception, status: int) -> None:
    answered, problem = answer_to(error)
    assert (answered, problem["detail"], problem["error"]) == (status, "m", type(error).__name__)


def test_an_answer_shows_no_control_characters_and_no_passwords() -> None:
    _, problem = answer_to(ModelNotFound("a\x1b[2J \ud800 http://bob:s3cret@shop"))
    assert problem["detail"] == "a\\x1b[2J \\ud800 http://bob:***@shop"
