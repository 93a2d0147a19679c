"""Paths in logs: short, and without users, queries and keys."""

from __future__ import annotations

import pytest

from segadmin_api.http.logged_paths import logged_path


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/v1/users/u1/segment", "/v1/users/{user}/segment"),
        ("/v1/users/u1/segment?labels=x", "/v1/users/{user}/segment"),
        ("/v1/users/a/b/segment", "/v1/users/{user}/segment"),
        ("/v1/users/u1", "/v1/users/{user}"),
        ("/v1/users/u1/text?labels=x", "/v1/users/{user}/text"),
        ("/v1/users/segment", "/v1/users/{user}/segment"),
        ("/v1/users", "/v1/users"),
        ("/V1/Users//u1/x", "/V1/Users/{user}"),
        ("/v1/users%252Fu1", "/v1/users/{user}"),
        ("/v1/score", "/v1/score"),
        ("/jobs/12?key=seg_5fKd8-QWk2nXs9_1vLz0", "/jobs/12"),
        ("/jobs/seg_5fKd8-QWk2nXs9_1vLz0", "/jobs/seg_***"),
        ("/" + "x" * 60_000, "/" + "x" * 199 + "…"),
        ("/" + "x" * 180 + "/seg_5fKd8-QWk2nXs9_1vLz0", "/" + "x" * 180 + "/seg_***"),
    ],
)
def test_what_logs_show_of_a_path(path: str, logged: str) -> None:
    assert logged_path(path) == logged
