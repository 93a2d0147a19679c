"""Kinds that are left out on purpose, statuses that mean "not bought", and what an import warns of."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from segadmin.errors import DataError
from segadmin.events.clean import clean
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.mapping import Mapping, Rules
from segadmin.events.preview import preview
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from segadmin.storage.records import Import
from tests.conftest import Cli

HEADER = "user,kind,item,at"
ORDER = {"user": "u1", "kind": "purchase", "item": "a", "at": "2026-01-01"}


def take(settings: Settings, path: Path, *lines: str, mapping: Mapping | None = None, header: str = HEADER) -> Import:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return import_file(settings, ImportRequest("events", str(path), mapping or Mapping()))[0]


def test_kinds_are_ignored_on_purpose(settings: Settings, tmp_path: Path) -> None:
    mapping = Mapping(kinds={"Impression": "ignore", "wishlist": "cart"})
    done = take(
        settings,
        tmp_path / "e.csv",
        "u1,impression,a,2026-01-01",
        "u2,IMPRESSION,,not a time",  # whatever else is wrong with it
        "u1,wishlist,a,2026-01-02",
        "u1,teleport,a,2026-01-03",
        "u1,ignore,a,2026-01-04",  # the shop's word, which nobody said to leave out
        mapping=mapping,
    )
    assert (done.rows_read, done.rows_kept, done.rows_quarantined, done.rows_ignored) == (5, 1, 2, 2)
    assert done.reasons == {"unknown_kind": 2}
    lake = Lake.of(settings)
    assert lake.scan("events").select("kind").collect()["kind"].to_list() == ["cart"]
    assert sorted(lake.scan("quarantine").collect()["value"]) == ["ignore", "teleport"]


def test_a_file_of_ignored_rows_only(settings: Settings, tmp_path: Path) -> None:
    done = take(settings, tmp_path / "e.csv", "u1,scroll,a,2026-01-01", mapping=Mapping(kinds={"scroll": "ignore"}))
    assert (done.rows_read, done.rows_kept, done.rows_quarantined, done.rows_ignored) == (1, 0, 0, 1)


def test_an_unknown_kind_comes_with_the_line_that_makes_it_one(settings: Settings, tmp_path: Path) -> None:
    rows = ["u1,wishlist,a,2026-01-01", "u1,wishlist,b,2026-01-01", "u1,impression,b,2026-01-01", "u1,,b,2026-01-01"]
    done = take(settings, tmp_path / "e.csv", *rows)
    assert preview(settings, ImportRequest("events", str(tmp_path / "e.csv")), 10).warnings == done.warnings
    wishlist, impression, without = done.warnings
    assert '2 rows have the kind "wishlist"' in wishlist
    assert 'under [kinds]: "wishlist" = "cart"' in wishlist
    assert 'or "impression" = "ignore"' in impression
    assert without.startswith("1 row has no kind.")


@pytest.mark.parametrize(
    "status",
    [
        *("refunded", "Voided", "pending", "PENDING_PAYMENT", "unpaid", "failed", "expired", "authorized", "on-hold"),
        *(
            "wc-cancelled",
            "payment failed",
            "等待付款",
            "等待买家付款",
            "待付款",
            "交易关闭",
            "已关闭",
            "退款成功",
            "已退款",
            "已取消",
        ),
    ],
)
def test_statuses_of_what_was_not_bought(status: str) -> None:
    [bad] = clean(pl.DataFrame([ORDER | {"status": status}]), "events", Mapping()).bad.to_dicts()
    assert (bad["reason"], bad["value"]) == ("cancelled", status)


@pytest.mark.parametrize("status", ["paid", "Completed", "wc-processing", "交易成功", "已发货", "卖家已发货", None])
def test_statuses_of_what_was_bought(status: str | None) -> None:
    rows = [ORDER | {"status": cell} for cell in (status, "ok")]
    cleaned = clean(pl.DataFrame(rows), "events", Mapping())
    assert (cleaned.good.height, dict(cleaned.statuses)) == (2, {})


def test_a_return_is_kept_although_its_status_says_refunded() -> None:
    row = {"user": "u1", "kind": "退款", "item": "a", "at": "2026-01-01", "status": "退款成功", "price": "9.5"}
    kept = clean(pl.DataFrame([row, row | {"status": "已关闭"}]), "events", Mapping())
    assert kept.good["price"].to_list() == [-9.5]
    assert kept.bad["value"].to_list() == ["已关闭"]


def test_statuses_that_nothing_decides_are_kept_and_named(settings: Settings, tmp_path: Path) -> None:
    rows = [f"u{n},purchase,a,2026-01-01,{status}" for n, status in enumerate(["paid", "Zurück", "partially_refunded"])]
    path, header = tmp_path / "e.csv", f"{HEADER},status"
    done = take(settings, path, *rows, header=header)
    assert done.rows_kept == 3
    part, unknown = done.warnings
    assert '1 row has the status "partially refunded", which means that part of the order was bought' in part
    assert '"zurück" = "not_bought"' in unknown
    decided = Mapping(statuses={"zurück": "not_bought", "Partially-Refunded": "bought", "paid": "not_bought"})
    done = take(settings, path, *rows, "u9,purchase,a,2026-01-01,refunded", header=header, mapping=decided)
    assert done.reasons == {"cancelled": 3, "duplicate_event": 1}
    assert done.warnings == []


def test_own_statuses_replace_the_known_ones() -> None:
    rows = [ORDER | {"status": word} for word in ("x", "failed")]
    cleaned = clean(pl.DataFrame(rows), "events", Mapping(rules=Rules(cancelled=("X",))))
    assert cleaned.bad["value"].to_list() == ["x"]
    assert dict(cleaned.statuses) == {"failed": 1}


def test_an_order_number_is_no_event_id(settings: Settings, tmp_path: Path) -> None:
    rows = [f"u{order},purchase,item-{line},2026-01-0{order},{order}" for order in (1, 2) for line in range(5)]
    header, mapping = "user,kind,item,at,Invoice", Mapping(columns={"event_id": "Invoice"})
    path = tmp_path / "e.csv"
    done = take(settings, path, *rows, header=header, mapping=mapping)
    assert (done.rows_kept, done.reasons) == (2, {"duplicate_event": 8})
    [warning] = done.warnings
    assert warning.startswith("8 of 10 rows are duplicates by their event_id, although item, kind or time differ")
    assert "column 'Invoice' looks like an order number" in warning
    assert 'extras = ["Invoice"]' in warning
    assert preview(settings, ImportRequest("events", str(path), mapping), 100).warnings == [warning]


def test_events_that_come_twice_with_their_id_are_nothing_to_warn_of(settings: Settings, tmp_path: Path) -> None:
    rows = ["u1,view,a,2026-01-01,e1", "u1,view,a,2026-01-01,e1", "u1,view,b,2026-01-01,e2"]
    done = take(settings, tmp_path / "e.csv", *rows, header=f"{HEADER},event_id")
    assert (done.reasons, done.warnings) == ({"duplicate_event": 1}, [])


def test_unlikely_labels_get_a_warning(settings: Settings, tmp_path: Path) -> None:
    users = range(60)
    take(settings, tmp_path / "e.csv", *(f"u{user},view,a,2026-01-01" for user in users))
    labels = tmp_path / "labels.csv"
    labels.write_text("user,segment\nu1,Loyal\nu2,loyal\nu3,ｌｏｙａｌ\nu4,new\n", encoding="utf-8")
    done, _ = import_file(settings, ImportRequest("labels", str(labels), label_set="value"))
    [warning] = done.warnings
    assert "'Loyal' and 'loyal' and 'ｌｏｙａｌ' are different segments" in warning
    assert preview(settings, ImportRequest("labels", str(labels)), 10).warnings == [warning]

    labels.write_text("user,segment\n" + "".join(f"u{user},cluster {user}\n" for user in users))
    done, _ = import_file(settings, ImportRequest("labels", str(labels), label_set="value"))
    [warning] = done.warnings
    assert warning.startswith("There are 60 segments (cluster 0, cluster 1")


def test_the_output_of_the_commands(cli: Cli, tmp_path: Path) -> None:
    path, mapping = tmp_path / "e.csv", tmp_path / "shop.toml"
    path.write_text(f"{HEADER}\nu1,view,a,2026-01-01\nu1,scroll,a,2026-01-01\nu1,wish,a,2026-01-01\n")
    mapping.write_text('[kinds]\nscroll = "ignore"\n')
    words = ("events", str(path), "--mapping", str(mapping))
    looked = cli("data", "preview", str(path), "--mapping", str(mapping)).stdout
    assert "Ignored, as the mapping says: 1 row." in looked
    done = cli("data", "import", *words).stdout
    assert "events: 1 of 3 rows kept" in done
    assert "Ignored, as the mapping says: 1 row." in done
    assert 'Note: 1 row has the kind "wish"' in done
    again = json.loads(cli("data", "import", *words, "--json").stdout)
    assert (again["rows_ignored"], len(again["warnings"])) == (1, 1)
    [listed] = json.loads(cli("data", "list", "--json").stdout)["imports"]
    assert (listed["rows_read"], listed["rows_kept"], listed["rows_quarantined"], listed["rows_ignored"]) == (
        3,
        1,
        1,
        1,
    )


def test_a_user_in_several_segments_at_once_is_named(settings: Settings, tmp_path: Path) -> None:
    take(settings, tmp_path / "e.csv", "u1,view,a,2026-01-01", "u2,view,a,2026-01-01", "u3,view,a,2026-01-01")
    labels = tmp_path / "l.csv"
    labels.write_text(
        "user,segment,as_of\nu1,loyal,2026-01-02\nu1,new,2026-01-02\n"
        "u2,loyal,2026-01-02\nu2,new,2026-01-03\nu3,new,2026-01-02\n"
    )
    done, _ = import_file(settings, ImportRequest("labels", str(labels), label_set="l"))
    assert Lake.of(settings).scan("labels").collect().height == 5
    [warning] = done.warnings
    assert warning.startswith("1 user has labels of several segments at the same time, and all of them are kept.")


def test_labels_that_are_read_as_events_get_a_hint(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("customer,segment\nu1,loyal\n")
    with pytest.raises(DataError, match="If these are labels: data import labels, or data preview --table labels"):
        preview(settings, ImportRequest("events", str(tmp_path / "l.csv")), 10)
