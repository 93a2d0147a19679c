"""Paths that were read from somewhere stay inside."""

from __future__ import annotations

from pathlib import Path

import pytest

from segadmin.errors import StorageError
from segadmin.files import inside


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../secret", "work/../../secret", "~root/x", "s3://bucket/model", "file:///etc/passwd", "", "a\0b"],
)
def test_a_path_that_leaves_the_store_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(StorageError, match="only relative paths are followed"):
        inside(tmp_path, path)


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "models").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="symbolic link"):
        inside(tmp_path, "models/abc")
    assert inside(tmp_path, "elsewhere/abc") == tmp_path / "elsewhere" / "abc"
