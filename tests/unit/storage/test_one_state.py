"""What is read for one page is of one state of the database, and nothing that a page does to rows is stored."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlmodel import func, select

from segadmin.errors import StorageError
from segadmin.settings import Settings
from segadmin.storage import audit, database
from segadmin.storage.database import one_state, reading
from segadmin.storage.records import Audit


def entries(settings: Settings) -> int:
    with reading(settings) as session:
        return session.exec(select(func.count()).select_from(Audit)).one()


def test_later_changes_are_not_seen(settings: Settings) -> None:
    audit.record(settings, "tests.first", "all")
    with one_state(settings):
        assert entries(settings) == 1
        audit.record(settings, "tests.second", "all")
        assert entries(settings) == 1
    assert entries(settings) == 2


def test_rows_are_not_written(settings: Settings) -> None:
    audit.record(settings, "tests.first", "all")
    with one_state(settings):
        with reading(settings) as session:
            session.exec(select(Audit)).one().subject = "another"
        with reading(settings) as session:
            assert session.exec(select(Audit.subject)).one() == "all"
    with reading(settings) as session:
        assert session.exec(select(Audit)).one().subject == "all"


def test_another_database_is_read_as_it_is(settings: Settings, tmp_path: Path) -> None:
    other = Settings(home=tmp_path / "other")
    with one_state(settings):
        assert entries(other) == 0
        audit.record(other, "tests.first", "all")
        assert entries(other) == 1


def test_a_database_that_is_away_is_reported_within_it(settings: Settings) -> None:
    entries(settings)
    with pytest.raises(StorageError), one_state(settings), reading(settings) as session:
        session.connection().exec_driver_sql("DROP TABLE audit")
        entries(settings)


def test_the_schema_is_checked_while_somebody_writes(settings: Settings) -> None:
    audit.record(settings, "tests.first", "all")
    database._checked.clear()
    with closing(sqlite3.connect(settings.root / "segadmin.db")) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert entries(settings) == 1
