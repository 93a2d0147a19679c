"""Proposing a mapping: the layouts that many shops export, and files that nobody knows."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from segadmin.errors import ConfigurationError, DataError
from segadmin.events.guess import Proposal, propose
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.layouts import shipped_layouts
from segadmin.events.mapping import Mapping
from segadmin.events.shipped import shipped_mappings
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from segadmin.storage.records import Import

TAOBAO = """\
1,2268318,2520377,pv,1511544070
1,2333346,2520771,pv,1511561733
1,2576651,149192,cart,1511572885
100,2087357,2131531,fav,1511573085
100,2087357,2131531,buy,1511573185
"""
RETAILROCKET = """\
timestamp,visitorid,event,itemid,transactionid
1433221332117,257597,view,355908,
1433224214164,992329,view,248676,
1433227005006,992329,addtocart,248676,
1433227005007,992329,transaction,248676,12345
1433227005007,992329,transaction,248677,12345
"""
KAGGLE = """\
event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session
2019-11-01 00:00:00 UTC,view,1003461,2053013555631882655,electronics.smartphone,xiaomi,489.07,520088904,4d3b30da
2019-11-01 00:00:05 UTC,cart,1003461,2053013555631882655,electronics.smartphone,xiaomi,489.07,520088904,4d3b30da
2019-11-01 00:00:06 UTC,remove_from_cart,1003461,2053013555631882655,,xiaomi,489.07,520088904,4d3b30da
2019-11-01 00:01:00 UTC,purchase,5000088,2053013566100866035,,janome,293.65,530496790,8e5f4f83
"""
ONLINE_RETAIL_II = """\
Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country
489434,85048,15CM CHRISTMAS GLASS BALL 20 LIGHTS,12,2009-12-01 07:45:00,6.95,13085.0,United Kingdom
489434,79323P,PINK CHERRY LIGHTS,12,2009-12-01 07:45:00,6.75,13085.0,United Kingdom
C489449,22087,PAPER BUNTING WHITE LACE,-12,2009-12-01 10:33:00,2.95,16321.0,Australia
489464,21733,85123a mixed,-96,2009-12-01 10:52:00,0.0,,United Kingdom
"""
ONLINE_RETAIL = """\
InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
536365,85123A,WHITE HANGING HEART T-LIGHT HOLDER,6,12/1/2010 8:26,2.55,17850,United Kingdom
536365,71053,WHITE METAL LANTERN,6,12/13/2010 8:26,3.39,17850,United Kingdom
C536379,D,Discount,-1,12/1/2010 9:41,27.5,14527,United Kingdom
"""
SHOPIFY = """\
Name,Email,Financial Status,Paid at,Currency,Total,Created at,Lineitem quantity,Lineitem name,Lineitem price,\
Lineitem sku,Cancelled at,Phone
#1003,anna@example.com,paid,2025-10-07 09:50:26 +0200,EUR,144.60,2025-10-07 09:50:26 +0200,3,Mask,34.90,M-1,,
#1003,,,,,,,1,Cream,39.90,C-2,,
#1002,,refunded,2025-10-06 10:00:00 +0200,EUR,34.90,2025-10-06 10:00:00 +0200,1,Mask,34.90,M-1,,+33610000000
#1002,,,,,,,1,Gift card,10.00,,,
#1001,,paid,2025-10-05 10:00:00 +0200,EUR,10.00,2025-10-05 10:00:00 +0200,1,Gift card,10.00,,,+33610000000
"""
SEGMENT = [
    {
        "type": "track",
        "event": "Product Viewed",
        "userId": "u1",
        "anonymousId": "a1",
        "messageId": "m1",
        "timestamp": "2025-01-02T03:04:05.678Z",
        "properties": {"product_id": "p1", "sku": "S1", "price": 18.99, "currency": "USD"},
    },
    {
        "type": "track",
        "event": "Product Added",
        "userId": None,
        "anonymousId": "a2",
        "messageId": "m2",
        "timestamp": "2025-01-02T03:05:00Z",
        "properties": {"sku": "S2", "quantity": 2, "price": 5},
    },
    {
        "type": "track",
        "event": "Order Completed",
        "userId": "u1",
        "anonymousId": "a1",
        "messageId": "m3",
        "timestamp": "2025-01-02T03:06:00Z",
        "properties": {
            "order_id": "o1",
            "total": 48.97,
            "currency": "USD",
            "products": [
                {"product_id": "p1", "sku": "S1", "price": 18.99, "quantity": 1},
                {"product_id": "p3", "price": 14.99, "quantity": 2},
            ],
        },
    },
    {"type": "page", "anonymousId": "a1", "messageId": "m4", "timestamp": "2025-01-02T03:07:00Z", "properties": {}},
    {
        "type": "track",
        "event": "Signed Up",
        "userId": "u1",
        "messageId": "m5",
        "timestamp": "2025-01-02T03:08:00Z",
        "properties": {"plan": "pro"},
    },
]
GA4 = [
    {
        "event_date": "20250102",
        "event_timestamp": "1735787045678901",
        "event_name": "page_view",
        "user_id": None,
        "user_pseudo_id": "111.222",
        "items": [],
    },
    {
        "event_date": "20250102",
        "event_timestamp": "1735787046678901",
        "event_name": "view_item",
        "user_id": None,
        "user_pseudo_id": "111.222",
        "items": [{"item_id": "sku-1", "item_name": "Lamp", "price": 20.5, "quantity": None}],
    },
    {
        "event_date": "20250102",
        "event_timestamp": "1735787047678901",
        "event_name": "purchase",
        "user_id": "u9",
        "user_pseudo_id": "111.222",
        "ecommerce": {"transaction_id": "T1"},
        "items": [
            {"item_id": "sku-1", "price": 20.5, "quantity": 2},
            {"item_id": "(not set)", "price": 3.0, "quantity": 1},
        ],
    },
]


def lines(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


FILES = {
    "taobao": ("UserBehavior.csv", TAOBAO),
    "retailrocket": ("events.csv", RETAILROCKET),
    "kaggle-ecommerce": ("2019-Nov.csv", KAGGLE),
    "online-retail-ii": ("online_retail_II.csv", ONLINE_RETAIL_II),
    "online-retail": ("data.csv", ONLINE_RETAIL),
    "shopify-orders": ("orders_export.csv", SHOPIFY),
    "segment-track": ("segment.jsonl", lines(SEGMENT)),
    "ga4-bigquery": ("ga4.jsonl", lines(GA4)),
}
#: user, kind, item, quantity, price, as stored: by the name of the layout.
STORED = {
    "taobao": [
        ("1", "view", "2268318", None, None),
        ("1", "view", "2333346", None, None),
        ("1", "cart", "2576651", None, None),
        ("100", "cart", "2087357", None, None),
        ("100", "purchase", "2087357", None, None),
    ],
    "retailrocket": [
        ("257597", "view", "355908", None, None),
        ("992329", "view", "248676", None, None),
        ("992329", "cart", "248676", None, None),
        ("992329", "purchase", "248676", None, None),
        ("992329", "purchase", "248677", None, None),
    ],
    "kaggle-ecommerce": [
        ("520088904", "view", "1003461", None, 489.07),
        ("520088904", "cart", "1003461", None, 489.07),
        ("530496790", "purchase", "5000088", None, 293.65),
    ],
    "online-retail-ii": [
        ("13085", "purchase", "85048", 12.0, 83.4),
        ("13085", "purchase", "79323P", 12.0, 81.0),
        ("16321", "purchase", "22087", 12.0, -35.4),
    ],
    "online-retail": [
        ("17850", "purchase", "85123A", 6.0, 15.3),
        ("14527", "purchase", "D", 1.0, -27.5),
        ("17850", "purchase", "71053", 6.0, 20.34),
    ],
    "shopify-orders": [
        ("+33610000000", "purchase", "Gift card", 1.0, 10.0),
        ("anna@example.com", "purchase", "M-1", 3.0, 104.7),
        ("anna@example.com", "purchase", "C-2", 1.0, 39.9),
    ],
    "segment-track": [
        ("u1", "view", "p1", None, 18.99),
        ("a2", "cart", "S2", 2.0, 10.0),
        ("u1", "purchase", "p1", 1.0, 18.99),
        ("u1", "purchase", "p3", 2.0, 29.98),
    ],
    "ga4-bigquery": [
        ("111.222", "view", "sku-1", None, 20.5),
        ("u9", "purchase", "sku-1", 2.0, 41.0),
    ],
}
#: rows of the file; events read, kept, quarantined and ignored.
COUNTS = {
    "taobao": (5, 5, 5, 0, 0),
    "retailrocket": (5, 5, 5, 0, 0),
    "kaggle-ecommerce": (4, 4, 3, 0, 1),
    "online-retail-ii": (4, 4, 3, 1, 0),
    "online-retail": (3, 3, 3, 0, 0),
    "shopify-orders": (5, 5, 3, 2, 0),
    "segment-track": (5, 6, 4, 1, 1),
    "ga4-bigquery": (3, 4, 2, 1, 1),
}


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def proposal(settings: Settings, path: Path, **options: str) -> Proposal:
    return propose(settings, ImportRequest("events", str(path), options=dict(options)), 10_000)


def take(settings: Settings, path: Path, guess: Proposal) -> Import:
    return import_file(settings, ImportRequest("events", str(path), Mapping.of_text(guess.mapping)))[0]


def stored(settings: Settings) -> list[tuple[object, ...]]:
    lake = Lake.of(settings)
    events = lake.scan("events").join(lake.scan("users"), on="user_key").sort("at", "kind", maintain_order=True)
    frame = events.select("user", "kind", "item", "quantity", pl.col("price").round(2)).collect()
    return frame.rows()


@pytest.mark.parametrize("name", FILES)
def test_a_known_layout_is_recognised_and_read_right(settings: Settings, tmp_path: Path, name: str) -> None:
    path = write(tmp_path, *FILES[name])
    guess = proposal(settings, path)
    assert (guess.layout, guess.as_shipped) == (name, True)
    done = take(settings, path, guess)
    assert sorted(stored(settings), key=str) == sorted(STORED[name], key=str)
    counts = (done.source_rows, done.rows_read, done.rows_kept, done.rows_quarantined, done.rows_ignored)
    assert counts == COUNTS[name]
    assert done.rows_read == done.rows_kept + done.rows_quarantined + done.rows_ignored


@pytest.mark.parametrize("name", FILES)
def test_a_shipped_mapping_is_used_by_its_name(settings: Settings, tmp_path: Path, name: str) -> None:
    path = write(tmp_path, *FILES[name])
    done, _ = import_file(settings, ImportRequest("events", str(path), Mapping.read(Path(f"shipped:{name}"))))
    assert done.rows_kept == len(STORED[name])


def test_every_shipped_mapping_has_a_layout() -> None:
    assert [mapping.name for mapping in shipped_mappings()] == sorted(layout.name for layout in shipped_layouts())
    assert set(FILES) == {mapping.name for mapping in shipped_mappings()}


def test_names_of_shipped_mappings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Mapping.read(Path("retailrocket")).columns["user"] == "visitorid"
    with pytest.raises(ConfigurationError, match=r"no shipped mapping 'retailroket'\. Did you mean 'retailrocket'"):
        Mapping.read(Path("retailroket"))
    monkeypatch.chdir(tmp_path)  # a file of that name goes before
    write(tmp_path, "retailrocket", '[columns]\nuser = "mine"\n')
    assert Mapping.read(Path("retailrocket")).columns["user"] == "mine"
    assert Mapping.read(Path("shipped:retailrocket")).columns["user"] == "visitorid"


def test_lines_and_rows_in_quarantine_are_those_of_the_file(settings: Settings, tmp_path: Path) -> None:
    path = write(tmp_path, *FILES["ga4-bigquery"])
    take(settings, path, proposal(settings, path))
    [bad] = Lake.of(settings).scan("quarantine").collect().to_dicts()
    assert (bad["line"], bad["reason"]) == (3, "missing_item")
    assert json.loads(bad["row"])["user_id"] == "u9"


def test_an_order_sent_twice_is_stored_once(settings: Settings, tmp_path: Path) -> None:
    order = SEGMENT[2]
    twice = [{"product_id": "p1", "price": 1, "quantity": 1}] * 2  # two lines that say the same
    rows = [order, order, order | {"messageId": "m9", "properties": {"products": twice}}]
    path = write(tmp_path, "s.jsonl", lines(rows))
    done = take(settings, path, proposal(settings, path))
    assert (done.rows_read, done.rows_kept, done.reasons) == (6, 4, {"duplicate_event": 2})
    assert done.warnings == []


def test_orders_are_filled_across_chunks(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segadmin.events.ingest.CHUNK_ROWS", 2)  # of CSV one row at a time
    path = write(tmp_path, *FILES["shopify-orders"])
    take(settings, path, proposal(settings, path))
    assert sorted(stored(settings), key=str) == sorted(STORED["shopify-orders"], key=str)


def test_ga4_in_parquet(settings: Settings, tmp_path: Path) -> None:
    rows = [
        {key: row.get(key) for key in GA4[2]} | {"event_timestamp": int(str(row["event_timestamp"]))} for row in GA4
    ]
    path = tmp_path / "ga4.parquet"
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(path)
    guess = proposal(settings, path)
    assert guess.layout == "ga4-bigquery"
    take(settings, path, guess)
    assert sorted(stored(settings), key=str) == sorted(STORED["ga4-bigquery"], key=str)


def test_the_older_online_retail_with_times_as_the_newer_one_has(settings: Settings, tmp_path: Path) -> None:
    text = ONLINE_RETAIL.replace("12/1/2010 8:26", "2010-12-01 08:26:00").replace("12/13/2010 8:26", "2010-12-13 08:26")
    path = write(tmp_path, "data.csv", text.replace("12/1/2010 9:41", "2010-12-01 09:41:00"))
    guess = proposal(settings, path)
    assert (guess.layout, guess.as_shipped) == ("online-retail", False)
    assert take(settings, path, guess).rows_kept == 3


CHINESE = """\
订单编号,会员名,宝贝标题,购买数量,单价,订单付款时间,订单状态
1001,张伟,苹果,2,3.50,2026-01-02 08:00:00,交易成功
1001,张伟,梨,1,5.00,2026-01-02 08:00:00,交易成功
1002,李娜,苹果,3,3.50,2026-01-03 09:00:00,等待买家付款
"""


def test_an_unknown_layout_by_its_names(settings: Settings, tmp_path: Path) -> None:
    path = write(tmp_path, "订单.csv", CHINESE)
    guess = proposal(settings, path)
    mapping = Mapping.of_text(guess.mapping)
    assert guess.layout is None
    assert mapping.columns == {
        "user": "会员名",
        "item": "宝贝标题",
        "at": "订单付款时间",
        "quantity": "购买数量",
        "unit_price": "单价",
        "status": "订单状态",
    }
    assert (mapping.constants, mapping.extras) == ({"kind": "purchase"}, ("订单编号",))
    assert any("every row is taken for a purchase" in warning for warning in guess.warnings)
    done = take(settings, path, guess)
    assert (done.rows_kept, done.reasons) == (2, {"cancelled": 1})
    assert stored(settings) == [("张伟", "purchase", "苹果", 2.0, 7.0), ("张伟", "purchase", "梨", 1.0, 5.0)]


def test_kinds_by_their_words_and_unknown_ones_as_comments(settings: Settings, tmp_path: Path) -> None:
    rows = [
        "add2cart,c1,x9,05.01.2026 10:00",
        "Order Placed,c1,x9,16.01.2026 10:05",
        "frobnicate,c2,x8,06.01.2026 10:00",
    ]
    rows += ["Order Placed,c2,x7,17.01.2026 11:05", "wishlist,c2,x9,17.01.2026 12:05", "view,c2,x9,17.01.2026 12:05"]
    path = write(tmp_path, "log.csv", "\n".join(["what,customer_no,article,when", *rows]) + "\n")
    guess = proposal(settings, path)
    mapping = Mapping.of_text(guess.mapping)
    assert mapping.columns["user"] == "customer_no"
    assert mapping.columns["item"] == "article"
    assert mapping.columns["at"] == "when"
    assert mapping.times == ("%d.%m.%Y %H:%M",)
    assert mapping.kinds["Order Placed"] == "purchase"
    assert mapping.kinds["wishlist"] == "cart"
    assert '# "frobnicate" = "ignore"' in guess.mapping
    assert any('1 row has the kind "frobnicate"' in warning for warning in guess.warnings)


def test_a_file_without_header_by_its_cells(settings: Settings, tmp_path: Path) -> None:
    rows = [
        f"2026-01-{1 + n % 27:02d} 10:00:00,{('view', 'cart', 'purchase')[n % 3]},u{n % 5},i{n % 7}" for n in range(40)
    ]
    path = write(tmp_path, "log.csv", "\n".join(rows) + "\n")
    guess = proposal(settings, path)
    mapping = Mapping.of_text(guess.mapping)
    assert mapping.source.options["header"].split(",")[:2] == ["at", "kind"]
    assert guess.sure == "unsure"  # user and item look alike
    done = take(settings, path, guess)
    assert (done.rows_read, done.rows_quarantined - done.reasons.get("duplicate_event", 0)) == (40, 0)


def test_day_and_month_are_not_guessed(settings: Settings, tmp_path: Path) -> None:
    path = write(tmp_path, "log.csv", "user,kind,item,at\nu1,view,a,01/02/2026 10:00\nu1,cart,b,03/04/2026 10:00\n")
    guess = proposal(settings, path)
    assert Mapping.of_text(guess.mapping).times == ()
    [warning] = [warning for warning in guess.warnings if "can be read in 2 ways" in warning]
    assert 'times = ["%m/%d/%Y %H:%M"] or times = ["%d/%m/%Y %H:%M"]' in warning


@pytest.mark.parametrize(
    ("prices", "field"), [(("3.5", "3.5", "2", "2"), "unit_price"), (("3.5", "10.5", "4", "10"), "price")]
)
def test_a_price_of_one_or_of_the_line(settings: Settings, tmp_path: Path, prices: tuple[str, ...], field: str) -> None:
    what = zip("aabb", "1325", prices, strict=True)
    rows = [f"u{n},{item},2026-01-0{n + 1},{quantity},{price}" for n, (item, quantity, price) in enumerate(what)]
    path = write(tmp_path, "log.csv", "\n".join(["user,item,at,qty,price", *rows]) + "\n")
    guess = proposal(settings, path)
    assert Mapping.of_text(guess.mapping).columns.get(field, field) == "price"
    assert (field == "unit_price") == ('unit_price = "price"' in guess.mapping)
    assert not any("is of one item" in warning for warning in guess.warnings)
    assert take(settings, path, guess).rows_kept == 4


def test_an_ambiguous_price_gets_a_warning(settings: Settings, tmp_path: Path) -> None:
    path = write(tmp_path, "log.csv", "user,item,at,qty,price\nu1,a,2026-01-01,2,7\nu2,b,2026-01-01,3,9\n")
    assert any('If "price" is of one item' in warning for warning in proposal(settings, path).warnings)


def test_nested_lists_of_items(settings: Settings, tmp_path: Path) -> None:
    rows = [
        {
            "customer": {"id": f"c{n % 3}"},
            "placed": {"time": f"2026-01-0{n + 1}T10:00:00Z"},
            "lines": [{"sku": f"s{n}", "qty": 1, "unit_price": 2.5}, {"sku": f"t{n}", "qty": 2, "unit_price": 1.5}],
        }
        for n in range(6)
    ]
    path = write(tmp_path, "orders.jsonl", lines(rows))
    guess = proposal(settings, path)
    mapping = Mapping.of_text(guess.mapping)
    assert (mapping.each, mapping.columns["item"]) == ("lines", "lines.sku")
    done = take(settings, path, guess)
    assert (done.source_rows, done.rows_read, done.rows_kept) == (6, 12, 12)


def test_kinds_that_are_numbers_are_left_to_a_person(settings: Settings, tmp_path: Path) -> None:
    rows = [f"u{n % 3},i{n},{1 + n % 4},2014-12-0{1 + n % 9} 02" for n in range(12)]
    path = write(tmp_path, "log.csv", "\n".join(["user_id,item_id,behavior_type,time", *rows]) + "\n")
    guess = proposal(settings, path)
    assert (guess.sure, Mapping.of_text(guess.mapping).columns["kind"]) == ("unsure", "behavior_type")
    assert '# "4" = "ignore"' in guess.mapping
    assert any(warning.startswith("kind is only guessed: behavior_type") for warning in guess.warnings)


def test_a_mapping_goes_through_json_as_a_job_keeps_it() -> None:
    for shipped in shipped_mappings():
        mapping = Mapping.read(shipped.path)
        assert Mapping.model_validate(mapping.model_dump(mode="json")) == mapping


def test_posted_events_are_read_by_a_shipped_mapping(settings: Settings) -> None:
    from segadmin.events.cells import readable
    from segadmin.events.clean import clean, complete
    from segadmin_plugins.sources.jsonl import frame_of, posted_records

    mapping = Mapping.read(Path("segment-track"))
    rows = readable(frame_of(list(posted_records(lines(SEGMENT[:3]).encode().splitlines()))))
    cleaned = clean(complete(rows, "events", mapping), "events", mapping)
    assert (cleaned.read, cleaned.good.height) == (4, 4)


def test_a_file_without_recognisable_columns(settings: Settings, tmp_path: Path) -> None:
    path = write(tmp_path, "notes.csv", "title,remark\nhello,world\n")
    guess = proposal(settings, path)
    assert (guess.sure, guess.preview) == ("unsure", None)
    assert any(warning.startswith("No column looks like user.") for warning in guess.warnings)
    with pytest.raises(DataError, match="Only mappings of events are guessed"):
        propose(settings, ImportRequest("items", str(path)), 10)
