from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sqlmodel import select

from segadmin.contracts.hookspecs import hookimpl
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import DataError
from segadmin.models.registry import promote_version, roll_back_champion
from segadmin.monitoring.profile import SEGMENT
from segadmin.monitoring.report import make_report
from segadmin.monitoring.reports import (
    list_reports,
    newest_outcomes,
    outcomes_beside_estimates,
    reference_report,
    report_history,
    report_of,
)
from segadmin.monitoring.triggers import current_report
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import DriftReport, Evaluation, ModelVersion, SegmentSnapshot
from segadmin.workflows.prepared import PreparedSegments
from tests.conftest import Cli
from tests.planted import LABELS, START, Run, more_weeks, nothing_runs, planted_users


class Listener:
    """A plugin that keeps the reports with alarms."""

    def __init__(self) -> None:
        self.reports: list[DriftReport] = []

    @hookimpl
    def drift_detected(self, report: DriftReport) -> None:
        """Keep the report."""
        self.reports.append(report)


def _report(settings: Settings, number: int) -> DriftReport:
    with transaction(settings) as session:
        return report_of(session, session.get_one(SegmentSnapshot, number))


def _weeks_of_big_spenders(settings: Settings, weeks: range) -> None:
    """Let everybody buy eight times as much as before, and what was never bought."""
    random = np.random.default_rng(5)
    users = planted_users(settings)
    frames = []
    for week in weeks:
        rows = pl.concat([users.select("bucket", "user_key")] * 16)
        seconds = random.integers(7 * 86_400, size=rows.height)
        at = [START + timedelta(weeks=week, seconds=int(second)) for second in seconds]
        frames.append(rows.with_columns(at=pl.Series(at)))
    events = pl.concat(frames).with_columns(
        event_id=pl.Series(random.integers(-(2**62), 2**62, sum(frame.height for frame in frames))),
        kind=pl.lit("purchase"),
        item=pl.lit("games-1"),
        quantity=pl.lit(1.0),
        price=pl.lit(40.0),
        duration=pl.lit(None),
        rating=pl.lit(None),
        text=pl.lit(None),
        extras=pl.lit(None),
    )
    Lake.of(settings).append("events", events)


def test_the_first_snapshot_of_a_model_is_the_reference_of_later_ones(shop: Settings) -> None:
    first = _report(shop, 1)
    assert (first.reference_id, first.drifted, first.findings) == (None, 0, [])
    assert first.users == 240
    assert sum(first.profile[SEGMENT]["counts"]) == 180  # without the calibration users
    Run(shop, "score", {}).all()
    second = _report(shop, 2)
    assert second.reference_id == 1
    assert second.calibration == {}
    assert second.profile == first.profile
    assert {finding["p"] for finding in second.findings} == {1.0}
    with transaction(shop) as session:
        assert [report.snapshot_id for report, _ in list_reports(session, LABELS)] == [2, 1]
        assert list_reports(session, "other") == []
        assert reference_report(session, session.get_one(SegmentSnapshot, 1)) is None


def test_the_estimate_is_kept_and_set_beside_the_outcomes_when_they_are_known(shop: Settings) -> None:
    expected = _report(shop, 1).estimate["metrics"]["auroc"]
    assert 0.5 < expected["low"] < expected["value"] < expected["high"] < 1
    assert set(_report(shop, 1).estimate["segments"]) == {"low", "mid", "high"}
    more_weeks(shop, planted_users(shop), range(14, 17))
    Run(shop, "refresh", {}).all()
    first = _report(shop, 1)
    with transaction(shop) as session:
        measured = session.exec(select(Evaluation).where(Evaluation.name == "snapshot 1")).one().metrics
        beside = {each["metric"]: each for each in outcomes_beside_estimates(session, first)}
    assert beside["auroc"]["measured"] == measured["auroc"]
    assert not beside["auroc"]["contradicts"]  # everybody went on as before
    assert [each["snapshot"] for each in _report(shop, 2).outcomes] == [1, 1, 1]
    assert "auroc" in _report(shop, 2).estimate["metrics"]


def test_outcomes_unlike_the_estimate_are_concept_drift_and_the_metric_is_not_estimated(shop: Settings) -> None:
    estimated = {name: each["value"] for name, each in _report(shop, 1).estimate["metrics"].items()}
    measured = {"auroc": estimated["auroc"], "macro_f1": None, "accuracy": estimated["accuracy"] - 0.3}
    with transaction(shop) as session:
        session.add(Evaluation(job_id=1, name="snapshot 1", split="outcome", rows=240, metrics=measured))
    Run(shop, "score", {}).all()
    report = _report(shop, 2)
    assert set(report.estimate["metrics"]) == {"auroc", "macro_f1"}
    (reason,) = report.unknown
    assert reason.startswith("The accuracy of snapshot 1 was estimated as")
    assert "no longer do the same" in reason
    assert reason in report.alarms


def test_drift_is_announced_to_plugins_and_shown(shop: Settings, cli: Cli) -> None:
    _weeks_of_big_spenders(shop, range(14, 17))
    listener, manager = Listener(), load_plugins(shop).manager
    manager.register(listener)
    try:
        output = Run(shop, "score", {}).all().inputs["monitor"][0]
    finally:
        manager.unregister(listener)
    report = _report(shop, 2)
    drifted = [finding["name"] for finding in report.findings if finding["drifted"]]
    assert {"spend", "visits", "share:games"} <= set(drifted)
    assert report.drifted == len(drifted) == output["drifted"]
    assert [each.snapshot_id for each in listener.reports] == [2]
    assert listener.reports[0].alarms == report.alarms == output["alarms"]
    # Nobody spent so much before: the model has never seen such users.
    assert report.estimate == {}
    assert any("outside the range that was seen" in reason for reason in report.unknown)
    shown = cli("drift", "show", "2").stdout
    assert "distributions drifted:" in shown
    assert "Cannot know:" in shown
    assert "spend" in shown
    assert "see: segadmin drift show 2" in cli("snapshots", "show", "2").stdout


def test_nothing_is_announced_without_alarms(shop: Settings) -> None:
    listener, manager = Listener(), load_plugins(shop).manager
    manager.register(listener)
    try:
        Run(shop, "score", {}).all()
    finally:
        manager.unregister(listener)
    assert listener.reports == []


def test_reports_are_listed_and_shown(shop: Settings, cli: Cli) -> None:
    listed = cli("drift", "list", COLUMNS="80").stdout
    assert "reference" in listed
    assert max(map(len, listed.splitlines())) <= 80
    assert " model  as of " in listed and " estimated " in listed, "no word of a header is broken"
    facts: list[dict[str, Any]] = json.loads(cli("drift", "list", "--json").stdout)
    assert [each["snapshot_id"] for each in facts] == [1]
    assert set(facts[0]["metrics"]) == {"auroc", "macro_f1", "accuracy"}
    shown = cli("drift", "show").stdout
    assert "the reference of later ones · 240 users looked at" in shown
    assert "not known yet" in shown
    assert "auroc of high" in shown
    everything = json.loads(cli("drift", "show", "1", "--json").stdout)
    assert everything["calibration"]["bins"]["spend"]["counts"] == []
    assert everything["measured"] == []
    assert json.loads(cli("snapshots", "show", "--json").stdout)["drift"]["drifted"] == 0
    assert "later snapshots of this model are compared with this one" in cli("snapshots", "show").stdout


def test_reports_are_drawn_with_the_outcomes(shop: Settings, cli: Cli, tmp_path: Path) -> None:
    more_weeks(shop, planted_users(shop), range(14, 17))
    Run(shop, "refresh", {}).all()
    with transaction(shop) as session:
        history = report_history(session, LABELS)
    assert [report.snapshot_id for report, _ in history.lines] == [2, 1]
    assert set(history.measured) == {1}
    cli("drift", "list", "--html", str(tmp_path / "drift.html"))
    assert f"{history.measured[1]['auroc']:.4f}" in (tmp_path / "drift.html").read_text()


def test_the_report_of_the_day_holds_for_its_later_snapshots(shop: Settings, cli: Cli) -> None:
    users = planted_users(shop).head(3)
    more_weeks(shop, users, range(13, 14))  # late events, so no day has passed
    Run(shop, "refresh", {"time": "on-event"}).all()
    assert json.loads(cli("drift", "show", "--json").stdout)["snapshot_id"] == 1
    done = cli("drift", "show", "2", check=False)
    assert "or changed few users on a day that has one: segadmin drift list" in done.stderr


def test_the_report_of_another_model_does_not_hold_for_the_day(shop: Settings) -> None:
    with transaction(shop) as session:
        session.add(ModelVersion(**session.get_one(ModelVersion, 1).model_dump(exclude={"id"})))
    promote_version(shop, "2")
    more_weeks(shop, planted_users(shop).head(30), range(14, 15))
    Run(shop, "refresh", {"labels": LABELS}).all()
    nothing_runs(shop)
    roll_back_champion(shop)
    Run(shop, "refresh", {"labels": LABELS}).all()
    with transaction(shop) as session:
        by_both = [session.get_one(SegmentSnapshot, number) for number in (2, 3)]
        assert [snapshot.model_version_id for snapshot in by_both] == [2, 1]
        assert by_both[0].as_of == by_both[1].as_of and by_both[1].carried
        report = current_report(session, session.get_one(ModelVersion, 1))
    assert report is not None and report.snapshot_id == 3, "not that of a week ago"


def test_a_snapshot_of_an_older_release_has_no_report(shop: Settings, cli: Cli) -> None:
    with transaction(shop) as session:
        session.delete(session.exec(select(DriftReport)).one())
    done = cli("drift", "show", "1", check=False)
    assert done.returncode == 1
    assert "Snapshot 1 has no drift report: it is older than such reports" in done.stderr
    assert "No drift reports yet" in cli("drift", "list").stdout
    assert json.loads(cli("snapshots", "show", "--json").stdout)["drift"] is None
    # The next one is the reference.
    Run(shop, "score", {}).all()
    assert _report(shop, 2).reference_id is None


def test_a_stage_that_runs_again_replaces_its_report(shop: Settings) -> None:
    run = Run(shop, "score", {}).all()
    run.stage("monitor")
    with transaction(shop) as session:
        assert len(session.exec(select(DriftReport).where(DriftReport.snapshot_id == 2)).all()) == 1


def test_without_test_rows_nothing_is_estimated(shop: Settings) -> None:
    Lake.of(shop).delete("predictions", "job_id >= 0")
    run = Run(shop, "score", {}).all()
    plan = PreparedSegments.read(run.inputs["prepare"][0]).text
    report = make_report(shop, 2, plan)
    assert report.estimate == {}
    assert "no longer exist" in report.unknown[0]
    with transaction(shop) as session:
        assert newest_outcomes(session, session.get_one(SegmentSnapshot, 2)) == []


def test_texts_that_the_job_read_are_those_of_the_store(shop: Settings) -> None:
    run = Run(shop, "score", {}).all()
    plan = PreparedSegments.read(run.inputs["prepare"][0]).text
    again = make_report(shop, 2, plan)
    assert again.profile == _report(shop, 2).profile
    some = pl.concat([run.read(output["scoring"]) for output in run.inputs["textualize"]]).head(100)
    assert make_report(shop, 2, plan, texts=lambda _buckets: some).profile == again.profile


def test_a_sample_is_some_buckets_and_smaller_where_it_must_be_read(
    shop: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segadmin.monitoring.report.SAMPLE_USERS", 150)
    monkeypatch.setattr("segadmin.monitoring.report.READ_USERS", 50)
    run = Run(shop, "score", {}).all()
    sizes = planted_users(shop)["bucket"].value_counts().sort("bucket")["count"].to_list()
    assert _report(shop, 2).users == sum(sizes[:3])  # of four buckets
    plan = PreparedSegments.read(run.inputs["prepare"][0]).text
    assert make_report(shop, 2, plan).users == 50 < sizes[0]


@pytest.mark.parametrize("kind", ["score", "refresh", "retrain"])
def test_missing_events_stop_a_job_before_it_publishes_unless_forced(
    shop: Settings, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("segadmin.monitoring.volume.LEAST_EVENTS", 20)  # the shop has 55 purchases a day
    day = START + timedelta(weeks=13, days=4)
    lost = f"kind = 'purchase' AND at >= '{day.isoformat()}' AND at < '{(day + timedelta(days=1)).isoformat()}'"
    Lake.of(shop).delete("events", lost)
    with transaction(shop) as session:
        session.get_one(SegmentSnapshot, 1).as_of = day
    options = {"labels": LABELS, **({"backbone": "tabular"} if kind == "retrain" else {})}
    message = rf"Events seem to be missing: {day:%Y-%m-%d} has 0 of \d+ expected events \(purchase\), .*--force"
    with pytest.raises(DataError, match=message):
        Run(shop, kind, options).stage("prepare")
    assert Run(shop, kind, options | {"force": True}).stage("prepare")
