"""Merging users: nothing is lost or doubled, later events follow, and undoing gives back exactly what there was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from segadmin.errors import DataError, JobError, StorageError
from segadmin.events import merge_rows
from segadmin.events.adopt import adopt_store
from segadmin.events.erase import forget, remove_older
from segadmin.events.erasure_mark import begin
from segadmin.events.import_request import ImportRequest
from segadmin.events.inbox import Inbox
from segadmin.events.ingest import import_file
from segadmin.events.keys import show_key, user_key
from segadmin.events.mapping import Mapping
from segadmin.events.merge import PairState, UserPair, list_merges, merge_users, undo_merge
from segadmin.events.user_list import read_pairs
from segadmin.settings import Settings
from segadmin.storage import database, import_lock
from segadmin.storage.audit import entries
from segadmin.storage.lake import Lake
from segadmin.storage.records import MergeState
from tests.conftest import Cli

HEAD = "user,kind,item,at,price,event_id\n"
EVENTS = {
    "visitor": ["view,a,2025-01-01T10:00,,", "view,b,2025-01-02T10:00,,v1", "cart,c,2025-01-03T10:00,,same"],
    "customer": ["purchase,c,2025-01-04T10:00,9.5,", "cart,c,2025-01-03T10:00,,same", "view,a,2025-01-01T10:00,,"],
    "other": ["view,a,2025-01-01T10:00,,", "view,d,2025-02-01T10:00,,"],
}
LABELS = "user,segment,as_of\nvisitor,low,2025-01-05\nvisitor,high,2025-02-05\ncustomer,high,2025-01-05\nother,low,\n"


def put(settings: Settings, name: str, content: str, table: str = "events") -> None:
    path = settings.root.parent / name
    path.write_text(content, encoding="utf-8")
    import_file(settings, ImportRequest(table, str(path), Mapping(), label_set="mine" if table == "labels" else ""))


def lines(events: dict[str, list[str]]) -> str:
    return HEAD + "".join(f"{user},{line}\n" for user, rows in events.items() for line in rows)


def fill(settings: Settings, *renamed: tuple[str, str]) -> None:
    """Import events and labels, with some users' ids replaced."""
    events, labels = lines(EVENTS), LABELS
    for old, new in renamed:
        events, labels = events.replace(f"\n{old},", f"\n{new},"), labels.replace(f"\n{old},", f"\n{new},")
    put(settings, "events.csv", events)
    put(settings, "labels.csv", labels, "labels")


def rows(settings: Settings, table: str) -> pl.DataFrame:
    frame = Lake.of(settings).scan(table).collect()
    return frame.sort(frame.columns)


def content(settings: Settings) -> dict[str, pl.DataFrame]:
    return {table: rows(settings, table) for table in ("events", "labels", "users")}


def key(settings: Settings, user: str) -> int:
    return user_key(settings.secret(), user)


def items_of(settings: Settings, user: str) -> list[str]:
    events = Lake.of(settings).scan("events").filter(pl.col("user_key") == key(settings, user)).sort("at", "item")
    return events.collect()["item"].to_list()


def merge(settings: Settings, *pairs: tuple[str, str]) -> list[PairState]:
    return [done.state for done in merge_users(settings, [UserPair(old, new) for old, new in pairs])]


def problem(settings: Settings, old: str, new: str) -> str:
    before = content(settings)
    [done] = merge_users(settings, [UserPair(old, new)])
    assert done.state is PairState.REFUSED
    assert all(frame.equals(before[table]) for table, frame in content(settings).items())
    return done.problem


def same_but_origin(one: pl.DataFrame, other: pl.DataFrame) -> bool:
    one, other = (frame.drop("came_as", strict=False) for frame in (one, other))
    return one.sort(one.columns).equals(other.sort(other.columns))


def test_a_merge_gives_what_importing_all_under_one_id_gives(settings: Settings, tmp_path: Path) -> None:
    fill(settings)
    assert merge(settings, ("visitor", "customer")) == [PairState.MERGED]
    fresh = Settings(home=tmp_path / "fresh" / "home", user_key_secret=settings.secret().decode())
    fresh.root.parent.mkdir()
    put(fresh, "events.csv", lines(EVENTS).replace("\nvisitor,", "\ncustomer,"))
    assert fresh.secret() == settings.secret()
    assert same_but_origin(rows(settings, "events"), rows(fresh, "events"))
    assert same_but_origin(rows(settings, "users"), rows(fresh, "users"))
    labels = rows(settings, "labels").filter(pl.col("user_key") == key(settings, "customer")).sort("as_of")
    assert labels.select("segment", "came_as").rows() == [("high", None), ("high", key(settings, "visitor"))]
    [row] = list_merges(settings)
    assert (row.state, row.moved) == (MergeState.MERGED, {"events": 1, "labels": 1, "duplicates": 3})


def test_undoing_gives_back_exactly_what_there_was(settings: Settings) -> None:
    fill(settings)
    before = content(settings)
    merge(settings, ("visitor", "customer"))
    undone = undo_merge(settings, 1)
    assert undone.state == MergeState.UNDONE
    assert undone.undone_at is not None
    assert all(frame.equals(before[table]) for table, frame in content(settings).items())
    assert all(rows(settings, table).is_empty() for table in ("merged_users", "event_duplicates", "label_duplicates"))
    actions = [(entry.action, entry.subject) for entry in entries(settings, "data")]
    subject = f"user {show_key(key(settings, 'customer'))}"
    assert actions == [("data.unmerge", subject), ("data.merge", subject)]


def test_what_comes_later_follows_and_goes_back(settings: Settings) -> None:
    fill(settings)
    merge(settings, ("visitor", "customer"))
    put(settings, "late.csv", lines({"visitor": ["view,e,2025-01-06T10:00,,", EVENTS["customer"][0]]}))
    put(settings, "again.csv", lines(EVENTS) + "\n")
    Inbox.of(settings).add([json.dumps({"user": "visitor", "kind": "view", "item": "f", "at": "2025-01-07"})])
    import_file(settings, ImportRequest("events", "inbox://"))
    assert items_of(settings, "customer") == ["a", "b", "c", "c", "e", "f"]
    assert items_of(settings, "visitor") == []
    assert "visitor" not in rows(settings, "users")["user"]
    undo_merge(settings, 1)
    assert items_of(settings, "visitor") == ["a", "b", "c", "e", "f"]
    assert items_of(settings, "customer") == ["a", "c", "c"]


def test_labels_that_come_later_follow_too(settings: Settings) -> None:
    put(settings, "events.csv", lines(EVENTS))
    merge(settings, ("visitor", "customer"))
    put(settings, "labels.csv", LABELS, "labels")
    of_customer = rows(settings, "labels").filter(pl.col("user_key") == key(settings, "customer"))
    assert of_customer.height == 2
    undo_merge(settings, 1)
    merged, put_apart = rows(settings, "labels"), key(settings, "visitor")
    assert sorted(merged.filter(pl.col("user_key") == put_apart)["segment"]) == ["high", "low"]
    assert merged["came_as"].null_count() == merged.height == 4
    put(settings, "labels.csv", LABELS.replace("visitor,low,2025-01-05\n", ""), "labels")
    assert rows(settings, "label_duplicates").is_empty()


def test_an_import_that_was_interrupted_before_the_merge_follows(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(settings)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("segadmin.events.ingest.add_to_lake", die)
        put(settings, "more.csv", lines({"visitor": ["view,e,2025-01-06T10:00,,"]}))
    merge(settings, ("visitor", "customer"))
    put(settings, "more.csv", lines({"visitor": ["view,e,2025-01-06T10:00,,"]}))
    assert "e" in items_of(settings, "customer")


def test_chains_follow_to_their_end_and_can_be_undone_in_any_order(settings: Settings) -> None:
    fill(settings)
    before = content(settings)
    assert merge(settings, ("visitor", "customer"), ("customer", "other")) == [PairState.MERGED] * 2
    put(settings, "late.csv", lines({"visitor": ["view,e,2025-01-06T10:00,,"]}))
    assert items_of(settings, "other") == ["a", "b", "c", "c", "e", "d"]
    undo_merge(settings, 1)
    assert items_of(settings, "visitor") == ["a", "b", "c", "e"]
    assert items_of(settings, "other") == ["a", "c", "c", "d"]
    undo_merge(settings, 2)
    late = pl.col("item") == "e"
    assert rows(settings, "events").filter(~late).equals(before["events"])
    assert rows(settings, "labels").equals(before["labels"])


def test_a_duplicate_of_a_user_who_leaves_again_is_counted_again(settings: Settings) -> None:
    """Of an event that two visitors have, the customer keeps one; if its owner goes, the other one holds."""
    fill(settings)
    merge(settings, ("visitor", "other"), ("customer", "other"))
    assert items_of(settings, "other") == ["a", "b", "c", "c", "d"]
    undo_merge(settings, 1)
    assert items_of(settings, "other") == ["a", "c", "c", "d"]
    assert items_of(settings, "visitor") == ["a", "b", "c"]


def test_bad_input_is_refused_with_a_reason(settings: Settings) -> None:
    with pytest.raises(DataError, match="There are no events yet"):
        merge(settings, ("visitor", "customer"))
    fill(settings)
    assert "are the same user, so there is nothing to merge" in problem(settings, "visitor", "visitor")
    assert "There is no user 'visiter': no event of this id has been imported." in problem(settings, "visiter", "other")
    assert "Did you mean 'customer'?" in problem(settings, "visitor", "Customer")
    assert "'' is not a user" in problem(settings, "", "other")
    merge(settings, ("visitor", "customer"), ("customer", "other"))
    assert "'visitor' was merged into 'other' before, so the two are one" in problem(settings, "other", "visitor")
    assert merge(settings, ("visitor", "other")) == [PairState.ALREADY]


def test_a_user_cannot_be_merged_into_two(settings: Settings) -> None:
    fill(settings)
    merge(settings, ("visitor", "customer"))
    assert "into 'other'. Undo that first: segadmin data merge --undo 1" in problem(settings, "visitor", "other")
    before = content(settings)
    assert merge(settings, ("visitor", "customer")) == [PairState.ALREADY]
    assert all(frame.equals(before[table]) for table, frame in content(settings).items())
    with pytest.raises(DataError, match=r"There is no merge 7\. Look: segadmin data merges"):
        undo_merge(settings, 7)
    undo_merge(settings, 1)
    with pytest.raises(DataError, match="Merge 1 was undone before"):
        undo_merge(settings, 1)
    assert merge(settings, ("visitor", "other")) == [PairState.MERGED]


def test_a_merge_waits_for_an_import_and_then_says_so(settings: Settings) -> None:
    fill(settings)
    before = content(settings)
    pair = [UserPair("visitor", "customer")]
    with import_lock.alone(settings), pytest.raises(JobError, match="An import is running"):
        merge_users(settings, pair, wait_seconds=0.2)
    assert all(frame.equals(before[table]) for table, frame in content(settings).items())
    assert list_merges(settings) == []
    merge_users(settings, pair, wait_seconds=0.2)
    assert len(list_merges(settings)) == 1


def test_an_interrupted_erasure_is_completed_first(settings: Settings) -> None:
    fill(settings)
    begin(settings, {key(settings, "other"): "other"})
    with pytest.raises(StorageError, match="Complete it first: segadmin data forget"):
        merge(settings, ("visitor", "customer"))


@pytest.mark.parametrize("undo", [False, True])
@pytest.mark.parametrize("number", range(8))
def test_a_merge_that_stops_between_two_writes_is_completed_by_the_next_import(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, number: int, undo: bool
) -> None:
    fill(settings)
    before = content(settings)
    if undo:
        merge(settings, ("visitor", "customer"))
    calls = 0
    replace = merge_rows._replace

    def stops(*arguments: object) -> None:
        nonlocal calls
        calls += 1
        if calls > number:
            raise KeyboardInterrupt
        replace(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(merge_rows, "_replace", stops)
        undo_merge(settings, 1) if undo else merge(settings, ("visitor", "customer"))
    put(settings, "late.csv", lines({"visitor": ["view,e,2025-01-06T10:00,,"]}))
    if not undo:
        assert items_of(settings, "customer") == ["a", "b", "c", "c", "e"]
        undo_merge(settings, 1)
    late = pl.col("item") == "e"
    assert rows(settings, "events").filter(~late).equals(before["events"])
    assert all(rows(settings, table).equals(before[table]) for table in ("labels", "users"))
    assert items_of(settings, "visitor") == ["a", "b", "c", "e"]


@pytest.mark.parametrize("asked", ["visitor", "customer"])
def test_whoever_is_forgotten_is_forgotten_with_the_merged_users(settings: Settings, asked: str) -> None:
    fill(settings)
    merge(settings, ("visitor", "customer"))
    put(settings, "late.csv", lines({"visitor": ["view,e,2025-01-06T10:00,,", "stare,e,2025-01-06T10:00,,"]}))
    [erased] = forget(settings, [asked])
    other = "customer" if asked == "visitor" else "visitor"
    assert (erased.user_key, erased.merged) == (show_key(key(settings, asked)), [show_key(key(settings, other))])
    assert (erased.rows["events"], erased.rows["event_duplicates"], erased.rows["quarantine"]) == (5, 2, 1)
    assert rows(settings, "users")["user"].to_list() == ["other"]
    assert list_merges(settings) == []
    for table in ("events", "labels", "merged_users", "event_duplicates", "label_duplicates"):
        assert set(rows(settings, table)["user_key"]) <= {key(settings, "other")}
    assert {entry.subject for entry in entries(settings, "data.merge")} == {"user (erased)"}
    put(settings, "new.csv", lines({"visitor": ["view,z,2025-03-06T10:00,,"]}))
    assert items_of(settings, "visitor") == ["z"]


def test_an_undone_merge_joins_nobody_when_one_is_forgotten(settings: Settings) -> None:
    fill(settings)
    merge(settings, ("visitor", "customer"))
    undo_merge(settings, 1)
    forget(settings, ["visitor"])
    assert items_of(settings, "customer") == ["a", "c", "c"]
    assert list_merges(settings) == []


def test_deleting_by_age_deletes_what_is_kept_aside(settings: Settings) -> None:
    fill(settings)
    merge(settings, ("visitor", "customer"))
    remove_older(settings, datetime(2025, 1, 3, tzinfo=UTC))
    undo_merge(settings, 1)
    assert items_of(settings, "visitor") == ["c"]


@pytest.mark.parametrize(
    "text",
    [
        "visitor,customer\nother,customer\n",
        "new;x;OLD\ncustomer;;visitor\ncustomer;;other\n",
        "visitor\tcustomer\nother\tcustomer\n",
    ],
)
def test_a_file_of_pairs(settings: Settings, cli: Cli, tmp_path: Path, text: str) -> None:
    fill(settings)
    (tmp_path / "pairs.csv").write_text(text)
    done = json.loads(cli("data", "merge", "--file", str(tmp_path / "pairs.csv"), "--yes", "--json").stdout)
    assert [(each["old"], each["new"], each["state"]) for each in done] == [
        ("visitor", "customer", "merged"),
        ("other", "customer", "merged"),
    ]
    listed = json.loads(cli("data", "merges", "--json").stdout)
    assert [row["id"] for row in listed] == [2, 1]
    assert rows(settings, "users")["user"].to_list() == ["customer"]


@pytest.mark.parametrize(
    ("text", "line"), [("a,b\nc\n", 2), ("old,new\n\na,\n", 3), ("a,b\nc,d,e\n", 2), ("a\nb\n", 1)]
)
def test_a_file_with_a_line_that_is_no_pair_merges_nobody(tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(DataError, match=f"pairs.csv, line {line}: no pair of users"):
        read_pairs(tmp_path / "pairs.csv")


def test_the_command_merges_shows_and_undoes(settings: Settings, cli: Cli, tmp_path: Path) -> None:
    fill(settings)
    (tmp_path / "pairs.csv").write_text("visitor,customer\nnobody,customer\n")
    done = cli("data", "merge", "--file", str(tmp_path / "pairs.csv"), "--yes", check=False)
    assert done.returncode == 1
    assert "line 1: merge 1: user" in done.stdout
    assert "merged (events: 1, labels: 1, duplicates: 3)." in done.stdout
    assert "line 2: There is no user 'nobody'" in done.stderr
    assert "already merged" in cli("data", "merge", "visitor", "customer", "--yes").stdout
    visitor = show_key(key(settings, "visitor"))
    assert visitor in cli("data", "merges").stdout
    for user in ("visitor", "customer", visitor):
        shown = cli("users", "show", user).stdout
        assert f"user {show_key(key(settings, 'customer'))}" in shown
        assert f"merged with user {visitor}" in shown
    assert "Merge 1 is undone" in cli("data", "merge", "--undo", "1", "--yes").stdout
    assert "merged with" not in cli("users", "show", "customer").stdout
    for words in (("data", "merge"), ("data", "merge", "visitor"), ("data", "merge", "a", "b", "--undo", "1")):
        assert cli(*words, check=False).returncode == 2


def test_many_merges_are_moved_in_batches(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segadmin.events.merge._BATCH_KEYS", 8)
    names: Iterable[int] = range(40)
    put(settings, "many.csv", lines({f"{kind}{n}": [f"view,{n},2025-01-01T10:00,,"] for n in names for kind in "vc"}))
    put(settings, "more.csv", lines({f"v{n}": ["view,x,2025-01-02T10:00,,"] for n in names}))
    assert set(merge(settings, *((f"v{n}", f"c{n}") for n in names))) == {PairState.MERGED}
    assert [items_of(settings, f"c{n}") for n in names] == [[str(n), "x"] for n in names]
    assert {tuple(sorted(row.moved.values())) for row in list_merges(settings)} == {(0, 1, 1)}


def test_merges_are_undone_also_after_the_database_was_lost(settings: Settings) -> None:
    fill(settings)
    before = rows(settings, "events")
    merge(settings, ("visitor", "customer"))
    database.engine(settings).dispose()
    for path in settings.database_files:
        path.unlink(missing_ok=True)
    adopt_store(settings)
    [row] = list_merges(settings)
    assert (row.old_key, row.new_key) == (key(settings, "visitor"), key(settings, "customer"))
    undo_merge(settings, row.id or 0)
    assert rows(settings, "events").equals(before)


def test_merges_that_an_older_store_lacks_are_made_again(settings: Settings, tmp_path: Path) -> None:
    fill(settings)
    shutil.copytree(settings.store_path, tmp_path / "older")
    merge(settings, ("visitor", "customer"))
    merged = rows(settings, "events")
    shutil.rmtree(settings.store_path)
    shutil.copytree(tmp_path / "older", settings.store_path)
    adopt_store(settings)
    put(settings, "again.csv", lines({"visitor": EVENTS["visitor"]}))
    assert rows(settings, "events").equals(merged)


def test_a_table_of_an_older_release_gets_the_column(settings: Settings) -> None:
    fill(settings)
    lake = Lake.of(settings)
    for table in ("events", "labels"):
        old = lake.scan(table).drop("came_as").collect()
        shutil.rmtree(lake.path / table)
        old.write_delta(lake.path / table)
    before = content(settings)
    merge(settings, ("visitor", "customer"))
    assert items_of(settings, "customer") == ["a", "b", "c", "c"]
    undo_merge(settings, 1)
    assert all(frame.equals(before[table]) for table, frame in content(settings).items())


def test_keys_of_64_bits_fit_every_database(any_database: Settings) -> None:
    database.upgrade(any_database)
    fill(any_database)
    users = rows(any_database, "users")["user_key"]
    assert any(abs(user) > 1 << 40 for user in users)
    merge(any_database, ("visitor", "customer"), ("customer", "other"))
    undo_merge(any_database, 2)
    merge(any_database, ("customer", "other"))
    assert [row.state for row in list_merges(any_database)] == ["merged", "undone", "merged"]
    forget(any_database, ["other"])
    assert list_merges(any_database) == []
