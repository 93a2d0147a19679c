"""Names that cannot be used are refused before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlmodel import select

from segadmin.errors import DataError
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.labels.labeling import label
from segadmin.names import check_name
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Import

USABLE = ["spend3", "my set #1 %20 [x]", "店" * 22, "a'b", "x=y", "x" * 100, "..", "=1+1", "😀"]
UNUSABLE = ["", " ", " a", "a ", "x" * 101, "店" * 23, "a\nb", "a\tb", "a\x00b", "a\u200bb", "\u202eabc", "a\u2028b"]


@pytest.mark.parametrize("name", USABLE)
def test_a_label_set_of_any_usable_name_is_written(settings: Settings, tmp_path: Path, name: str) -> None:
    (tmp_path / "e.csv").write_text("user,kind,item,at\nu1,view,a,2025-01-01\n")
    import_file(settings, ImportRequest("events", str(tmp_path / "e.csv")))
    (tmp_path / "l.csv").write_text(f'user,segment\nu1,"{name}"\n', encoding="utf-8")
    import_file(settings, ImportRequest("labels", str(tmp_path / "l.csv"), label_set=name, segments=(name,)))
    assert Lake.of(settings).scan("labels", label_set=name).collect()["segment"].to_list() == [name]


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_unusable_name_leaves_nothing_behind(settings: Settings, tmp_path: Path, name: str) -> None:
    (tmp_path / "l.csv").write_text("user,segment\nu1,a\n")
    for request in (
        ImportRequest("labels", str(tmp_path / "l.csv"), label_set=name),
        ImportRequest("labels", str(tmp_path / "l.csv"), label_set="x", segments=("a", name)),
    ):
        with pytest.raises(DataError, match=r"Choose another|shorten it"):
            import_file(settings, request)
    with pytest.raises(DataError, match=r"The name of a label set"):
        label(settings, name, "future-spend", {})
    assert not settings.store_path.exists()
    with transaction(settings) as session:
        assert session.exec(select(Import)).all() == []


def test_an_unusable_segment_of_a_file_is_reported_and_leaves_no_spool(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("user,kind,item,at\nu1,view,a,2025-01-01\n")
    import_file(settings, ImportRequest("events", str(tmp_path / "e.csv")))
    (tmp_path / "l.csv").write_text(f"user,segment\nu1,{'x' * 300}\n")
    with pytest.raises(DataError, match=r"The name of a segment, 'x{100}'…, has 300 characters\. At most 100"):
        import_file(settings, ImportRequest("labels", str(tmp_path / "l.csv"), label_set="x"))
    assert Lake.of(settings).scan("labels").collect().is_empty()
    assert list((settings.store_path / "spool").iterdir()) == []


def test_a_name_is_shown_as_it_is() -> None:
    with pytest.raises(DataError, match=r"^The name of a label set, 'a\\nb', has line breaks"):
        check_name("label set", "a\nb")
