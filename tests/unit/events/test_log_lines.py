"""Imports and erasures are logged with ids and counts, and without anybody's id or anything of a file."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from segadmin.errors import DataError
from segadmin.events.erase import forget
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.logs import fields_of
from segadmin.settings import Settings

ROWS = "user,kind,item,at\nvictim,view,secret-item,2026-01-31T18:05:00Z\nother,view,secret-item,soon\n"


def test_imports_and_erasures(settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="segadmin")
    (tmp_path / "victim.csv").write_text(ROWS)
    (tmp_path / "bad.csv").write_text("user,kind\nvictim,view\n")
    record, _ = import_file(settings, ImportRequest("events", str(tmp_path / "victim.csv")))
    import_file(settings, ImportRequest("events", str(tmp_path / "victim.csv")))
    with pytest.raises(DataError):
        import_file(settings, ImportRequest("events", str(tmp_path / "bad.csv")))
    forget(settings, ["victim", "nobody"])
    lines = [{"message": line.getMessage(), **fields_of(line)} for line in caplog.records]
    of_import = {"action": "import", "import_id": record.id, "table": "events"}
    begun, ended, again, bad, failed, erased = lines
    assert begun == {"message": "import begun", **of_import}
    counts = {"rows": 2, "kept": 1, "quarantined": 1, "state": "succeeded"}
    assert ended == {"message": "import ended", **of_import, **counts}
    assert again == {"message": "import left out, as its content is in the store", **of_import}
    assert (bad["message"], failed["state"]) == ("import begun", "failed")
    assert erased.items() >= {"message": "users erased", "action": "forget", "users": 1, "unknown": 1}.items()
    assert not any(word in str(lines) for word in ("victim", "nobody", "secret-item", "soon"))
