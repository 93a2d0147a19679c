"""Ids as programs write them that people reported to other projects; each test names the report."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from segadmin.errors import DataError
from segadmin.events.erase import forget
from segadmin.events.hints import about_ids, about_times
from segadmin.events.identifiers import plain_id
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.mapping import Mapping
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from segadmin.storage.records import Import


def take(settings: Settings, folder: Path, rows: list[dict[str, object]]) -> Import:
    """Import rows as JSON lines; each has a kind, an item of its own and a time unless it says otherwise."""
    usual = ({"kind": "view", "item": f"i{n}", "at": "2024-03-01"} | row for n, row in enumerate(rows))
    (folder / "e.jsonl").write_text("\n".join(map(json.dumps, usual)), encoding="utf-8")
    return import_file(settings, ImportRequest("events", str(folder / "e.jsonl")))[0]


def users(settings: Settings) -> list[str]:
    return sorted(Lake.of(settings).scan("users").collect()["user"])


@pytest.mark.parametrize(
    "written",
    [
        *("u1 ", "u1\t", "u1\n", "\u00a0u1", "\u3000u1"),
        *("u1\u200b", "\ufeffu1", "u\u20601", "\u200eu1\u200f", "u1\u200b ", "u\u00ad1"),
        *("u1\0", "u1\0\0\0", "\x1au1"),
    ],
)
def test_ids_that_look_alike_are_one(settings: Settings, tmp_path: Path, written: str) -> None:
    """Flagsmith/flagsmith 3326, mholt/PapaParse 917, simonw/sqlite-utils 582: a person with several ids."""
    done = take(settings, tmp_path, [{"user": "u1"}, {"user": written}])
    assert (done.rows_kept, users(settings)) == (2, ["u1"])
    assert plain_id(written) == "u1"


def test_ids_of_invisible_characters_are_missing(settings: Settings, tmp_path: Path) -> None:
    """PostHog/posthog 48888: an id of nothing but white space."""
    done = take(settings, tmp_path, [{"user": user} for user in ("u1", " ", "\u200b", "\0", "\t\u2060 ")])
    assert (done.rows_kept, done.reasons) == (1, {"missing_user": 4})


def test_accents_are_written_in_one_way(settings: Settings, tmp_path: Path) -> None:
    """wasp-lang/wasp 4698: one name, typed on two devices, made two accounts."""
    done = take(settings, tmp_path, [{"user": "J\u00fcrgen"}, {"user": "Ju\u0308rgen"}])
    assert (done.changes, users(settings)) == ({"invisible": 1}, ["J\u00fcrgen"])
    assert plain_id("Ju\u0308rgen") == "J\u00fcrgen"


def test_both_spellings_of_a_user_are_erased(settings: Settings, tmp_path: Path) -> None:
    rows = [{"user": "J\u00fcrgen"}, {"user": "Ju\u0308rgen\u200b", "at": "soon"}, {"user": "'7", "at": "soon"}]
    take(settings, tmp_path, rows)
    [jurgen, seven] = forget(settings, ["Ju\u0308rgen", "7"])
    assert (jurgen.rows["events"], jurgen.rows["quarantine"], seven.rows["quarantine"]) == (1, 1, 1)
    assert Lake.of(settings).scan("quarantine").collect().is_empty()


def test_signs_that_join_letters_stay(settings: Settings, tmp_path: Path) -> None:
    names = ["می\u200cخواهم", "👨\u200d👩\u200d👧"]
    take(settings, tmp_path, [{"user": user} for user in names])
    assert users(settings) == sorted(names)


def test_words_of_one_kind_with_hidden_signs(settings: Settings, tmp_path: Path) -> None:
    done = take(settings, tmp_path, [{"user": "u1", "kind": "view\u200b"}, {"user": "u1", "at": "\u200e2024-03-01"}])
    assert (done.rows_kept, done.reasons) == (2, {})


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("'00123", "00123"),
        ("'+380993456789", "+380993456789"),
        ("`4200002986", "4200002986"),
        ("`wx_1", "wx_1"),
        ("'s-Gravenhage", "'s-Gravenhage"),
        ("'12'", "'12'"),
        ("`", "`"),
    ],
)
def test_signs_that_guard_cells_from_spreadsheets(
    settings: Settings, tmp_path: Path, written: str, stored: str
) -> None:
    """odoo/odoo 99995, DFE-Digital/register-trainee-teachers 5340: ids come back with an apostrophe before them.

    WeChat's statements for merchants have a grave accent before every cell.
    """
    take(settings, tmp_path, [{"user": written}])
    assert users(settings) == [stored]
    assert plain_id(written) == stored


def test_signs_that_guard_times_and_numbers(settings: Settings, tmp_path: Path) -> None:
    more = [{"at": "`2024-03-01 10:00:00", "price": "`¥7.00"}, {"at": "'2024-03-01", "price": "'12.50"}]
    done = take(settings, tmp_path, [{"user": "u1", "kind": "purchase", **row} for row in more])
    assert done.reasons == {}
    assert sorted(Lake.of(settings).scan("events").collect()["price"]) == [7.0, 12.5]


@pytest.mark.parametrize("word", ["undefined", "[object Object]", "NaN", "#REF!", "#N/A"])
def test_words_for_missing_values_are_not_users(settings: Settings, tmp_path: Path, word: str) -> None:
    """PostHog/posthog 5527, PostHog/posthog-js 34: people who had not logged in became one person."""
    done = take(settings, tmp_path, [{"user": word}, {"user": "u1"}])
    assert (done.reasons, users(settings)) == ({"missing_user": 1}, ["u1"])


@pytest.mark.parametrize(
    "word", ["anonymous", "guest", "None", "false", "not_authenticated", "distinct_id", "(not set)"]
)
def test_words_that_may_be_ids_are_warned_of(word: str) -> None:
    [warning] = about_ids(pl.DataFrame({"user": [word, "u1"]}))
    assert warning.startswith(f"'{word}' is the user of 1 row.")


def test_numbers_of_64_bits_keep_their_digits(settings: Settings, tmp_path: Path) -> None:
    """oceanbase/powercontext 91, com-lihaoyi/upickle 522: the last digits became zeros."""
    take(settings, tmp_path, [{"user": 653247040368672768}, {"user": 653247040368672769}, {"user": 2**64 - 1}])
    assert users(settings) == ["18446744073709551615", "653247040368672768", "653247040368672769"]


def test_a_total_below_the_rows_is_no_event(settings: Settings, tmp_path: Path) -> None:
    """votingworks/arlo 1233, googleads/aw-reporting 191: the sum was counted with what it sums up."""
    (tmp_path / "e.csv").write_text(
        "user,kind,item,at,price\nu1,purchase,a,2024-03-01,5\nTotal,,,,5\n合计,,,,5\n", encoding="utf-8"
    )
    done, _ = import_file(settings, ImportRequest("events", str(tmp_path / "e.csv")))
    assert (done.rows_kept, done.reasons) == (1, {"missing_item": 2})


@pytest.mark.parametrize("zero", ["0000-00-00 00:00:00", "0000-00-00", "0000-11-30", "0007-01-05", "0001-01-01"])
def test_zero_dates_cost_only_their_rows(settings: Settings, tmp_path: Path, zero: str) -> None:
    """airbytehq/airbyte 3931, 16574 and 81630: one of them ended the synchronisation."""
    done = take(settings, tmp_path, [{"user": "u1", "at": zero}, {"user": "u2"}])
    assert (done.reasons, users(settings)) == ({"bad_time": 1}, ["u2"])


def test_days_of_a_spreadsheet_are_named() -> None:
    """dbgate/dbgate 168, ribbondz/rsv 8: 45383 for 2024-04-01."""
    assert about_times(["45383", "45383.5"]).startswith("Times such as '45383' look like a spreadsheet's days")
    assert "spreadsheet" not in about_times(["45383", "1.4.2024"])


def test_values_that_exports_wrap(settings: Settings, tmp_path: Path) -> None:
    """mongo-express/mongo-express 761, pkosiec/mongo-seeding 69: ``{"$oid": …}`` was taken for the id."""
    (tmp_path / "e.jsonl").write_text(
        '{"_id": {"$oid": "60f6d845caa1861dcf1631ae"}, "sku": {"$numberLong": "5"}, '
        '"at": {"$date": "2024-03-01T08:00:00Z"}, "kind": "view"}\n'
        '{"_id": {"$oid": "60f6d845caa1861dcf1631af"}, "sku": {"$numberLong": "6"}, '
        '"at": {"$date": {"$numberLong": "1709280000000"}}, "kind": "view"}\n'
    )
    where = str(tmp_path / "e.jsonl")
    with pytest.raises(DataError, match=r"--map user=_id\.\$oid"):
        import_file(settings, ImportRequest("events", where, Mapping(columns={"user": "_id", "item": "sku"})))
    columns = {"user": "_id.$oid", "item": "sku.$numberLong", "at": "at.$date"}
    done, _ = import_file(settings, ImportRequest("events", where, Mapping(columns=columns)))
    assert (done.rows_kept, done.reasons) == (1, {"bad_time": 1})
    numbers = Mapping(columns=columns | {"at": "at.$date.$numberLong"})
    done, _ = import_file(settings, ImportRequest("events", where, numbers, again=True))
    assert (done.rows_kept, done.reasons) == (1, {"bad_time": 1})
    assert users(settings) == ["60f6d845caa1861dcf1631ae", "60f6d845caa1861dcf1631af"]
