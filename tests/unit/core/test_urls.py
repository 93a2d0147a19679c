from __future__ import annotations

import pytest

from segadmin.urls import without_login


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("https://me:hidden@mlflow.example/x", "https://mlflow.example/x"),
        ("redis://:hid@den@broker:6379/0", "redis://broker:6379/0"),
        ("{'uri': 'http://bob:s3cret@mlflow', 'to': 'a@b.example'}", "{'uri': 'http://mlflow', 'to': 'a@b.example'}"),
        ("sqlite:////tmp/a@b.db", "sqlite:////tmp/a@b.db"),
    ],
)
def test_nobody_sees_a_login(told: str, shown: str) -> None:
    assert without_login(told) == shown
