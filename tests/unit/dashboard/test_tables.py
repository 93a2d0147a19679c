"""Tables of pages as CSV: the same rows, plain numbers, and no formulas."""

from __future__ import annotations

import csv
import io
import re

import pytest

from segadmin.storage.records import Audit
from segadmin_api.dashboard import audit
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import environment
from segadmin_api.dashboard.tables import as_csv, read_table
from tests.unit.dashboard.examples import PAGES, SAVED

PAGE = """<h1>Snapshot 2</h1><h2>Segments</h2><table><caption>By size</caption>
<tr><th>Segment<small>name</small></th><th class="n">Users</th><th></th><th>Done</th></tr>
<tr><td><a href="/x">high</a> &amp; <b>new</b></td><td class="n">+1,234</td>
<td><svg aria-label="0.5"><title>no</title></svg></td><td><svg aria-label="50%"></svg></td></tr>
<tr><td>1,234</td><td class="n">–</td><td><svg aria-label="1"><rect width="1"/></svg></td>
<td>one<br>two<form><button>Go</button></form></td></tr>
</table><p class="csv"><a href="?csv=1">CSV</a></p>
<table><tr><td colspan="2">wide</td><td>x</td></tr><tr><th>1</th><td></td><td>y</td></tr></table>
<nav><a href="/jobs?before=7" rel="next">Older</a></nav>"""


def test_a_table_is_read_as_it_is_seen() -> None:
    found = read_table(PAGE, 1)
    assert found is not None
    title, table = found
    assert (title, table.heading, table.more) == ("Snapshot 2", "Segments By size", "")
    assert table.rows == [
        ["Segment; name", "Users", "Done"],
        ["high & new", "1234", "50%"],
        ["1,234", "", "one; two"],
    ], "a bar without a title is no column, and only numbers lose their separators"


def test_a_table_without_titles_and_one_that_goes_on() -> None:
    found = read_table(PAGE, 2)
    assert found is not None
    table = found[1]
    assert table.rows == [["wide", "", "x"], ["1", "", "y"]], "no column is left out while more rows may come"
    assert table.more == "/jobs?before=7"
    assert read_table(PAGE, 3) is None


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+49 170 1234", "'+49 170 1234"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-2+3", "'-2+3"),
        ("\tx", "'\tx"),
        ("'=1", "''=1"),
        ("＝cmd|' /C calc'!A0", "'＝cmd|' /C calc'!A0"),
        ("-5", "-5"),
        ("-0.25", "-0.25"),
        ("-1.2e-05", "-1.2e-05"),
        ("-3.5%", "-3.5%"),
        ("高价值", "高价值"),
        ('say "no", twice', 'say "no", twice'),
        ("-5\n=1", "'-5\n=1"),
    ],
)
def test_a_cell_is_never_a_formula(cell: str, written: str) -> None:
    assert [*csv.reader(io.StringIO(as_csv([[cell, "x"]]), newline=""))] == [[written, "x"]]


@pytest.mark.parametrize("template", sorted(PAGES.keys() - SAVED))
def test_every_table_of_a_page_has_a_link_and_can_be_read(template: str, settings: object) -> None:
    html = PAGES[template](settings, "plain")  # type: ignore[arg-type]
    tables = html.count("<table")
    links = [int(number) for number in re.findall(r'href="[^"]*[?&](?:amp;)?csv=(\d+)"', html)]
    assert links == list(range(1, tables + 1))
    assert all(read_table(html, number) for number in links)
    assert html.count("<figure") * 2 == html.count("data-save=")


def test_a_list_with_older_pages_says_which_is_next() -> None:
    loader = environment().loader
    assert loader is not None
    for name in environment().list_templates():
        source = loader.get_source(environment(), name)[0]
        for link in re.findall(r"<a [^>]*>\{\{ _\(\"Older\"\)", source):
            assert 'rel="next"' in link, f"{name}: so that its CSV is the whole list"


def test_a_file_has_plain_values() -> None:
    entries = [Audit(actor="me", action="keys.create", subject="key you")]
    page = audit.page(entries, Reader(plain=True), action="", actor="", newest=True, full=False)
    assert "keys.create" in page and "csv=1" not in page
    values = environment(Reader(language="zh", zone="Asia/Shanghai", plain=True).formats).filters
    assert values["count"](1234567) == "1234567"
    assert values["share"](0.12345) == "0.12345"
    assert values["number"](1234.5, ",.1f") == "1234.5" and values["number"](0.256, ".1%") == "0.256"
    assert values["count"](None) == values["moment"](None) == ""
    assert values["moment"](values["iso"]("2026-03-01T00:30:00+00:00")) == "2026-03-01 08:30:00"
