"""Descriptions and owners of segments: every version is kept, and nobody overwrites what he has not read."""

from __future__ import annotations

import threading

import pytest
from sqlmodel import select

from segadmin.errors import ConfigurationError, Stale
from segadmin.events.erase import forget
from segadmin.settings import Settings
from segadmin.snapshots.descriptions import (
    all_descriptions,
    describe,
    description_of,
    descriptions_of,
)
from segadmin.storage.audit import entries
from segadmin.storage.database import reading
from segadmin.storage.records import MAX_DESCRIPTION, MAX_OWNER, SegmentDescription
from tests.planted import LABELS, nothing_runs, planted_users


def test_every_version_is_kept_with_who_wrote_it(shop: Settings) -> None:
    with reading(shop) as session:
        assert description_of(session, LABELS, "high").revision == 0
    describe(shop, LABELS, "high", description="  Spend much.\r\nCall them.  ", owner="Ann")
    changed = describe(shop, LABELS, "high", owner="Bob", expected=1)
    assert (changed.revision, changed.description, changed.owner) == (2, "Spend much.\nCall them.", "Bob")
    assert describe(shop, LABELS, "high", owner="Bob").revision == 2, "nothing differs"
    with reading(shop) as session:
        history = descriptions_of(session, LABELS, "high")
        assert list(all_descriptions(session, LABELS)) == ["high"]
    assert [(row.revision, row.owner) for row in history] == [(2, "Bob"), (1, "Ann")]
    assert all(row.actor for row in history)
    newest = entries(shop, "segments.describe")[0]
    assert newest.subject == f"segment {LABELS}/high"
    assert newest.details["owner"] == {"before": "Ann", "after": "Bob"}


def test_a_stale_edit_writes_nothing(shop: Settings) -> None:
    describe(shop, LABELS, "high", owner="Ann", expected=0)
    with pytest.raises(Stale, match="Somebody else changed the description of 'high' meanwhile"):
        describe(shop, LABELS, "high", owner="Bob", expected=0)
    with reading(shop) as session:
        assert description_of(session, LABELS, "high").owner == "Ann"


def test_of_many_at_the_same_time_one_is_written(shop: Settings) -> None:
    done: list[str] = []
    start = threading.Barrier(5)

    def write(name: str) -> None:
        start.wait()
        try:
            describe(shop, LABELS, "low", owner=name, expected=0)
            done.append(name)
        except Stale:
            pass

    threads = [threading.Thread(target=write, args=(f"owner {n}",)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(shop) as session:
        rows = session.exec(select(SegmentDescription)).all()
    assert [(row.revision, row.owner) for row in rows] == [(1, name) for name in done]
    assert len(done) == 1


@pytest.mark.parametrize(
    ("segment", "texts", "message"),
    [
        ("hihg", {}, "Did you mean 'high'"),
        ("high", {"description": "x" * (MAX_DESCRIPTION + 1)}, "4,001 characters; 4,000 are allowed"),
        ("high", {"owner": "x" * (MAX_OWNER + 1)}, "201 characters; 200 are allowed"),
        ("high", {"owner": "Ann\nBob"}, "several lines"),
        ("high", {"description": "a\0b"}, "NUL character"),
    ],
)
def test_what_cannot_be_stored_is_refused(shop: Settings, segment: str, texts: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        describe(shop, LABELS, segment, **texts)


def test_an_erased_user_is_masked_in_descriptions(shop: Settings) -> None:
    name = planted_users(shop)["user"][0]
    describe(shop, LABELS, "high", description=f"like {name}, and not like others", owner="Ann")
    nothing_runs(shop)
    forget(shop, [name])
    with reading(shop) as session:
        text = description_of(session, LABELS, "high").description
    assert name not in text.split(", ")[0].split()
    assert name not in str(entries(shop, "segments.describe")[0].details)
