from __future__ import annotations

from pathlib import Path

from segadmin.monitoring.reports import ReportHistory
from segadmin_api.dashboard.drift import page
from tests.conftest import Cli
from tests.unit.dashboard.examples import a_history


def test_reports_are_drawn_over_time() -> None:
    html = page(a_history("spend3"))
    assert html.count("<figure>") == 3  # AUROC, accuracy that was measured only, and what drifted; no macro F1
    assert "2026-03-09" in html
    assert "2026-03-23" in html
    assert "0.8123" in html
    assert html.count("not known yet") == 2
    assert "1 of 1" in html


def test_each_label_set_has_a_section() -> None:
    one, other = a_history("spend3"), a_history("lapse4")
    html = page(ReportHistory([*one.lines, *other.lines], one.measured))
    assert html.index("<h2>lapse4") < html.index("<h2>spend3")


def test_an_empty_page_names_the_command(cli: Cli, tmp_path: Path) -> None:
    cli("db", "upgrade")
    done = cli("drift", "list", "--html", str(tmp_path / "drift.html"))
    assert "Drew 0 reports" in done.stdout
    assert "segadmin enqueue refresh --wait" in (tmp_path / "drift.html").read_text()
