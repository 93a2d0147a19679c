"""Uploads: kept for a day, left out of backups, and removed by an erasure and by their import, also a killed one."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segadmin.errors import ConfigurationError, DataError, KeyReused, NameTaken, UploadNotFound, UploadTooLarge
from segadmin.events.erase import forget, plan_erasure
from segadmin.events.mapping import Mapping
from segadmin.events.saved_mappings import list_mappings, mapping_text, parse_mapping, read_mapping, save_mapping
from segadmin.events.upload_import import preview_upload
from segadmin.events.uploads import (
    Choice,
    Upload,
    choose,
    drop_old,
    find_upload,
    keep,
    list_uploads,
    new_upload,
    plain_name,
    remove_upload,
    uploads_folder,
)
from segadmin.jobs.attempt import Attempt
from segadmin.jobs.requests import check_request
from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.store import open_store
from segadmin.workflows.uploads import ask_for_import, import_upload, request_options
from segadmin_api.dashboard.uploads import choice_of, form_values
from segadmin_plugins.sources.csv import LONGEST
from tests.planted import Run, through_the_engine

EVENTS = b"user,kind,item,at\nvisitor-17,view,i1,2026-01-02T08:00:00Z\n"


@pytest.fixture
def store(settings: Settings) -> Iterator[Settings]:
    open_store(settings)
    yield settings
    database.engine(settings).dispose()


def an_upload(settings: Settings, content: bytes = EVENTS, name: str = "events.csv") -> Upload:
    with new_upload(settings, name, 2**20) as draft:
        draft.write(content)
        return keep(settings, draft, "me")[0]


def imported(settings: Settings) -> None:
    """Import the events by a job."""
    options = check_request(settings, "import-upload", request_options(an_upload(settings)))
    through_the_engine(settings, "import-upload", options)


@given(st.text(min_size=1, max_size=400))
def test_every_name_becomes_one_of_a_file(name: str) -> None:
    plain = plain_name(name.replace(".xls", "").replace(".ods", ""))
    assert plain == Path(plain).name and plain not in {"", ".", ".."} and plain.isprintable()
    assert not plain.startswith(".") and len(plain.encode()) <= 230


def test_a_file_that_is_too_large_leaves_nothing(store: Settings) -> None:
    with pytest.raises(UploadTooLarge, match="larger than 1 MiB"), new_upload(store, "a.csv", 2**20) as draft:
        draft.write(b"a" * 2**20)
        draft.write(b"a")
    assert list_uploads(store) == [] and not list((store.store_path / "uploads").iterdir())


def test_files_that_come_at_the_same_time_are_bounded_together(store: Settings) -> None:
    with ExitStack() as stack:
        drafts = [stack.enter_context(new_upload(store, "a.csv", 2**20)) for _ in range(6)]
        for draft in drafts[:4]:
            draft.write(b"a" * 2**20)
        with pytest.raises(DataError, match="4 MiB wait to be imported"):
            drafts[4].write(b"a" * 2)
        keep(store, drafts[0], "me")
        with pytest.raises(DataError, match="wait to be imported"):
            drafts[5].write(b"a" * 2)
    an_upload(store)
    assert len(list_uploads(store)) == 2, "the others were removed with what has come of them"


def test_a_draft_of_a_killed_process_is_removed_after_an_hour(store: Settings) -> None:
    with new_upload(store, "a.csv", 2**20) as slow, new_upload(store, "b.csv", 2**20) as dead:
        for draft in (slow, dead):
            draft.write(b"a" * 2**17)
            os.utime(draft.folder, (0, 0))
        os.utime(dead.folder / "file" / dead.name, (0, 0))
        drop_old(store)
        assert not dead.folder.exists()
        assert keep(store, slow, "me")[0].bytes == 2**17


def test_an_upload_that_is_removed_during_its_preview_is_gone(store: Settings) -> None:
    upload = an_upload(store)
    remove_upload(store, upload.id)
    with pytest.raises(UploadNotFound, match="it was imported or removed"):
        choose(store, upload, Choice("items"))
    assert list_uploads(store) == []
    assert not (uploads_folder(store) / upload.id).exists(), "nothing of it comes back"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"user,kind,item,at\n" + b"a" * (LONGEST * 4), "a row of more than 16 MiB in line 2"),
        (b"user,kind,item,at\nu1,view,i1,2026-01-02\n" + b'"' + b"a" * (LONGEST * 4), "16 MiB in line 3"),
        (b"a," * 2**20, "has 1,048,577 columns, more than 10,000"),
    ],
)
def test_a_small_file_that_becomes_a_huge_row_is_refused(store: Settings, content: bytes, problem: str) -> None:
    upload = an_upload(store, gzip.compress(content), "bomb.csv.gz")
    assert upload.bytes < 2**19
    shown = preview_upload(store, upload, Choice())
    assert problem in shown.problem and "bomb.csv.gz" in shown.problem and str(store.root) not in shown.problem


def test_the_import_removes_the_upload_and_is_the_same_after_a_kill(store: Settings) -> None:
    upload = an_upload(store)
    run = Run(store, "import-upload", request_options(upload)).all()
    [done] = run.inputs["ingest"]
    assert (done["rows_kept"], done["fresh"]) == (1, True)
    with pytest.raises(UploadNotFound):
        find_upload(store, upload.id)
    options = Run(store, "import-upload", request_options(upload)).options
    second = Attempt(store, 1, "import-upload", options, 1, "ingest", range(0), number=2, token=2)
    output = import_upload(second).output
    assert output is not None and output.as_json()["id"] == done["id"], "it was killed after it had removed the file"
    with pytest.raises(UploadNotFound):
        import_upload(Attempt(store, 1, "import-upload", options, 1, "ingest", range(0), number=1, token=1))


def test_an_import_of_the_same_file_again_is_one_after_a_kill(store: Settings, tmp_path: Path) -> None:
    imported(store)
    upload = choose(store, an_upload(store), Choice(again=True))
    job = ask_for_import(store, lambda _: None, upload.id).job
    shutil.copytree(uploads_folder(store), tmp_path / "uploads")
    attempts = [
        Attempt(store, job.id or 0, job.kind, job.options, 1, "ingest", range(0), number=n, token=n) for n in (1, 2)
    ]
    first = import_upload(attempts[0]).output
    shutil.copytree(tmp_path / "uploads", uploads_folder(store), dirs_exist_ok=True)  # killed before it removed that
    second = import_upload(attempts[1]).output
    assert first is not None and second is not None
    assert (first.as_json()["id"], second.as_json()["id"]) == (2, 2)


def test_an_import_is_asked_for_once_until_it_fails(store: Settings) -> None:
    upload = an_upload(store, b"user,kind,item,at\nu,view,i,never\n")
    first = ask_for_import(store, lambda _: None, upload.id)
    second = ask_for_import(store, lambda _: None, choose(store, upload, Choice(mapping={"timezone": "Asia/Tokyo"})).id)
    assert (first.created, second.created, second.job.id) == (True, False, first.job.id), "it is going on"


def test_an_erasure_removes_all_uploads(store: Settings) -> None:
    imported(store)
    an_upload(store, EVENTS + EVENTS)
    [planned] = plan_erasure(store, ["visitor-17"])
    assert (planned.rows["events"], len(list_uploads(store))) == (1, 1), "a plan erases nothing"
    [erased] = forget(store, ["visitor-17"])
    assert erased == planned
    assert list_uploads(store) == []
    left = [path for path in store.root.rglob("*") if path.is_file() and b"visitor-17" in path.read_bytes()]
    assert left == []


def test_a_saved_mapping_names_no_erased_user(store: Settings) -> None:
    imported(store)
    save_mapping(store, "one", Mapping(constants={"user": "visitor-17"}))
    forget(store, ["visitor-17"])
    assert "visitor-17" not in list_mappings(store)[0].text
    assert parse_mapping(list_mappings(store)[0].text).constants


def test_a_backup_leaves_uploads_out(store: Settings, tmp_path: Path) -> None:
    from segadmin.backup.create import create_backup

    imported(store)
    an_upload(store, EVENTS + EVENTS)
    create_backup(store, tmp_path / "backup.tar")
    with tarfile.open(tmp_path / "backup.tar") as archive:
        names = archive.getnames()
    assert any("/lake/" in name for name in names) and not any("uploads" in name for name in names)


def test_mappings_are_written_as_they_are_read(store: Settings) -> None:
    mapping = Mapping.of(
        {
            "columns": {"user": ["a b", "c"], "at": "时间"},
            "kinds": {'"quoted"': "view", "加购": "cart"},
            "times": ["%d.%m.%Y"],
            "units": {"price": "0.01", "rating": 10},
            "rules": {"bot_events_per_day": 5},
        }
    )
    assert parse_mapping(mapping_text(mapping)) == mapping
    save_mapping(store, "shop", mapping)
    assert read_mapping(store, Path("shop")) == mapping
    with pytest.raises(NameTaken, match="already"):
        save_mapping(store, "shop", mapping)
    with pytest.raises(NameTaken, match="comes with segadmin"):
        save_mapping(store, "shopify-orders", mapping, replace=True)
    secret = Mapping.of({"source": {"name": "sql", "options": {"password": "hunter2hunter2"}}})
    with pytest.raises(ConfigurationError, match="password"):
        save_mapping(store, "secret", secret)


def test_the_fields_of_the_form_are_the_choice(store: Settings) -> None:
    from segadmin.events.upload_import import UploadPreview

    mapping = {
        "columns": {"user": "customer", "at": "day"},
        "fallbacks": {"user": ["visitor"]},
        "kinds": {"a = b": "view"},
        "constants": {"kind": "purchase"},
        "times": ["%d.%m.%Y"],
        "decimal": ",",
        "rules": {"bot_events_per_day": 5},
    }
    choice = Choice(mapping=Mapping.of(mapping).model_dump(mode="json", exclude_defaults=True), options={"skip": "2"})
    values = form_values(choice, UploadPreview())
    assert json.loads(json.dumps(choice_of(values, choice).mapping)) == choice.mapping
    assert choice_of(values, choice).options == {"skip": "2"}
    for field, value, problem in (
        ("timezone", "Mars/Olympus", "no time zone 'Mars/Olympus'"),
        ("kinds", "word", "is not word = kind"),
        ("kinds", "word = nothing", "kinds.word"),
        ("times", "%Q", "times"),
        ("rating", "many", "units.rating"),
    ):
        with pytest.raises((ConfigurationError, DataError), match=problem):
            choice_of({**values, field: value}, choice)


def test_one_request_with_one_key_is_one_upload(store: Settings) -> None:
    def put(content: bytes, key: str) -> tuple[Upload, bool]:
        with new_upload(store, "a.csv", 2**20) as draft:
            draft.write(content)
            return keep(store, draft, "me", key)

    first, is_new = put(b"user\n1", "nightly")
    assert is_new
    assert put(b"user\n1", "nightly") == (first, False)
    with pytest.raises(KeyReused, match=r"'nightly' belongs to another upload, of a\.csv"):
        put(b"user\n2", "nightly")
    assert put(b"user\n1", "other")[0].id != first.id
    assert len(list(uploads_folder(store).iterdir())) == 2, "no draft is left"
    remove_upload(store, first.id)
    later, is_new = put(b"user\n2", "nightly")
    assert (is_new, later.id != first.id) == (True, True), "its import is another job"
