"""A page of every template, with any text in each place that holds what users and plugins wrote."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import polars as pl

from segadmin.evaluation.bootstrap import Interval
from segadmin.evaluation.membership import MembershipAttack
from segadmin.evaluation.metrics import ReliabilityBin
from segadmin.events.profile import Profile
from segadmin.events.timeline import TimelineEvent, UserTotals
from segadmin.jobs.control import JobLine, JobView
from segadmin.jobs.progress import Progress
from segadmin.labels.parts import EqualTexts
from segadmin.models.card import (
    Abstention,
    Auroc,
    Calibration,
    HistoryQuality,
    ModelCard,
    ModelMetrics,
    Origin,
    PredictionQuality,
    SegmentQuality,
    SegmentThreshold,
    Undefined,
)
from segadmin.models.versions import VersionLine
from segadmin.monitoring.reports import ReportHistory
from segadmin.settings import Settings
from segadmin.snapshots.diff import SnapshotDiff
from segadmin.snapshots.segment_calibration import CalibrationBin, SegmentCalibration
from segadmin.snapshots.segment_profile import Estimate, Lift, SegmentProfile
from segadmin.snapshots.segment_view import SegmentMovement, SegmentView
from segadmin.snapshots.trend import Trend
from segadmin.snapshots.user import Assigned
from segadmin.storage.records import (
    Audit,
    Correction,
    DriftReport,
    Evaluation,
    Import,
    ImportState,
    Job,
    JobState,
    Lock,
    ModelState,
    ModelVersion,
    Schedule,
    Scope,
    SegmentDescription,
    SegmentSnapshot,
    SegmentSummary,
    Step,
    StepState,
    utcnow,
)
from segadmin.training.study import SearchSummary, Trial
from segadmin_api.dashboard import (
    data_report,
    drift,
    exports,
    jobs,
    lists,
    login,
    model_card,
    models,
    moved,
    overview,
    problem,
    search_page,
    segment,
    snapshots,
    users,
)
from segadmin_api.dashboard.assets import UPLOT
from segadmin_api.dashboard.figures import trend_data
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import served


def a_profile(text: str) -> Profile:
    return Profile(
        events=10,
        users=2,
        items=1,
        first=date(2026, 1, 1),
        last=date(2026, 1, 2),
        by_kind={"view": 10},
        by_day={date(2026, 1, 1): {"view": 9}, date(2026, 1, 2): {"view": 1}},
        by_history={"3-5": 2},
        filled={"price": {"view": 0.5}},
        items_known={"known": 0.5},
        top_categories={text: 10},
        quarantine={text: 1},
        late={"a day": 1},
    )


def a_search(text: str) -> SearchSummary:
    complete = Trial(trial=1, state="complete", value=0.7, options={text: text}, seconds=1)
    pruned = Trial(trial=2, state="pruned", value=None, options={text: 2.0}, seconds=1, why=text)
    return SearchSummary(best=complete, trials=(complete, pruned), importance={text: 1.0})


def a_card(text: str) -> ModelCard:
    interval = Interval(0.8, 0.7, 0.9)
    return ModelCard(
        version=3,
        label_set=text,
        segments=(text, "other"),
        backbone=text,
        textualizer=text,
        state=ModelState.CHAMPION,
        promoted_at=datetime(2026, 1, 3, tzinfo=UTC),
        metrics=(
            ModelMetrics(name=text, split="test", rows=1_200, auroc=0.8, macro_f1=0.5, log_loss=0.9, ece=0.01),
            ModelMetrics(name="majority", split=text, rows=1_200, auroc=None, macro_f1=None, log_loss=None, ece=None),
        ),
        test=PredictionQuality(
            rows=1_200,
            erased=7,
            unseen=30,
            without_events=4,
            by_segment=(
                SegmentQuality(segment=text, rows=600, auroc=Auroc(rows=1_200, users=1_100, interval=interval)),
            ),
            by_history=(
                _history(0, 0, Auroc(rows=4, users=4, undefined=Undefined.TOO_FEW_USERS)),
                _history(1, 5, Auroc(rows=70, users=60, undefined=Undefined.ONE_SEGMENT)),
                _history(501, None, Auroc(rows=900, users=900, interval=interval)),
            ),
            abstention=Abstention(
                min_precision=0.7,
                coverage=0.25,
                segments=(
                    SegmentThreshold(segment=text, threshold=0.61, rows=300, coverage=0.5, precision=0.72),
                    SegmentThreshold(segment="other", threshold=None, rows=0, coverage=0.0, precision=None),
                ),
            ),
            calibration=Calibration(ece=0.02, bins=(ReliabilityBin(0.5, 0.6, 1_200, 0.55, 0.6),)),
        ),
        membership=MembershipAttack(Interval(0.58, 0.55, 0.61), trained=800, held_out=800, part="validation"),
        origin=Origin(
            labeler=text,
            rows=5_000,
            users=900,
            latest_event=date(2026, 1, 2),
            split="time",
            held_out=0.15,
            seed=17,
            parts={"train": 3_000, "validation": 800, "test": 1_200},
            equal_texts=EqualTexts(texts=40, rows=90, left_out=25, common_texts=1, common_rows=400, repeated=8),
            training_keys_sha256="0" * 64,
            textualizer_version=text,
            language="zh",
            window_days=112,
            features=23,
            sha256="1" * 64,
            versions={text: text},
            rare_segments=(text,),
        ),
    )


def _history(shortest: int, longest: int | None, auroc: Auroc) -> HistoryQuality:
    return HistoryQuality(
        shortest=shortest, longest=longest, rows=auroc.rows, answer="model", accuracy=0.6, auroc=auroc
    )


def a_job(text: str, state: JobState = JobState.FAILED) -> JobView:
    job = Job(id=7, kind="retrain", state=state, error=text, options={"labels": text, text: {text: [text]}})
    curve = [[1, {f"{text}/validation_log_loss": 0.9}], [2, {f"{text}/validation_log_loss": 0.8}]]
    step = Step(
        id=9, job_id=7, stage="finetune", queue="gpu", state=StepState.FAILED, error=text, note=text, curve=curve
    )
    lock = Lock(name=f"champion:{text}", job_id=6)
    return JobView(job, Progress(0.5, None), lock, [step])


def a_version(text: str) -> VersionLine:
    version = ModelVersion(
        id=3,
        label_set=text,
        backbone=text,
        textualizer=text,
        segments=[text],
        folder="",
        sha256="",
        job_id=7,
        manifest={"backbone_options": {"model": text}},
    )
    beside = Evaluation(job_id=7, name=text, split="test", rows=1, metrics={"auroc": 0.7})
    return VersionLine(version, [beside])


def a_history(text: str) -> ReportHistory:
    """Return three weekly reports of a label set; the outcomes of the first are known."""
    lines = [(_a_report(number, text), _a_snapshot(number, text)) for number in (3, 2, 1)]
    return ReportHistory(lines, {1: {"auroc": 0.8123, "macro_f1": None, "accuracy": 0.7}})


def _a_report(number: int, text: str) -> DriftReport:
    finding = {"name": text, "drifted": number == 3, "stability_index": 0.1 * number}
    return DriftReport(
        snapshot_id=number,
        reference_id=1 if number > 1 else None,
        users=1000,
        drifted=int(number == 3),
        alarms=[text] if number == 3 else [],
        findings=[finding] if number > 1 else [],
        estimate={"metrics": {"auroc": {"value": 0.8 + number / 100, "low": 0.75, "high": 0.9}}},
    )


def _a_snapshot(number: int, text: str) -> SegmentSnapshot:
    as_of = datetime(2026, 3, 2, tzinfo=UTC) + timedelta(weeks=number)
    return SegmentSnapshot(id=number, label_set=text, model_version_id=1, job_id=number, as_of=as_of)


def a_trend(text: str) -> Trend:
    days = [datetime(2026, 3, day, tzinfo=UTC) for day in (2, 9)]
    return Trend([1, 2], days, {text: [10, None], "high": [4, 5]})


def a_diff(text: str) -> SnapshotDiff:
    users = pl.DataFrame(
        {"before": [text, text, None, "high"], "after": ["high", text, text, None], "cause": [text, None, text, text]}
    ).with_row_index("user_key")
    return SnapshotDiff(_a_snapshot(1, text), _a_snapshot(2, text), (text, "high"), users)


def _a_summary(text: str) -> SegmentSummary:
    distinctive = [{"category": text, "share": 0.3, "lift": 2.0}]
    return SegmentSummary(snapshot_id=2, segment=text, users=5, share=0.5, confidence=0.8, distinctive=distinctive)


def _segments(_: Settings, text: str) -> str:
    part = {"snapshot": _a_snapshot(2, text), "segments": [_a_summary(text)], "trend": a_trend(text)}
    parts = [part | {"lines": trend_data(a_trend(text))}]
    return served("segments.html", text, "/segments", Reader(), assets=UPLOT, parts=parts)


def a_profile_of_a_segment(text: str) -> SegmentProfile:
    lift = Lift(name=text, users=12, share=0.3, overall=0.1, lift=Estimate(value=3, low=2, high=4.5))
    hour = lift.model_copy(update={"name": "9"})
    begin, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 3, 9, tzinfo=UTC)
    few = Estimate(value=0.4)
    return SegmentProfile(
        observed_from=begin,
        as_of=end,
        kind="purchase",
        users=5,
        buyers=4,
        spend=Estimate(value=20, low=10, high=30),
        purchases=few,
        revenue=few,
        items=(lift.model_copy(update={"title": text}),),
        categories=(lift,),
        brands=(lift,),
        hours=(hour,),
    )


def a_view(text: str, segment: str | None = None) -> SegmentView:
    summary = _a_summary(segment or text)
    summary.probabilities = [0, 0, 0, 0, 1, 1, 1, 1, 1, 0]
    row = SegmentDescription(label_set=text, segment=text, revision=2, description=text, owner=text, actor=text)
    version = a_version(text).version
    return SegmentView(_a_snapshot(2, text), version, summary, (text, "high"), a_profile_of_a_segment(text), row, [row])


OPERATOR = Reader(language="zh", key="me", token="token", scopes=Scope.OPERATOR.includes)


def _segment(_: Settings, text: str) -> str:
    bins = (CalibrationBin(0.5, 0.6, 40, 0.55, 0.5, 0.35, 0.65),)
    movement = SegmentMovement(1, 3, ((text, 2), (None, 1)), ((text, 1), (None, 1)))
    content = segment.SegmentContent(a_view(text), a_trend(text), movement, SegmentCalibration(40, 0.05, bins))
    return segment.page(content, OPERATOR, segment.Edit(text, text, text))


def _compared(_: Settings, text: str) -> str:
    return segment.compare_page(a_view(text), a_view(text, "low"), Reader())


def _typical(_: Settings, text: str) -> str:
    users = [{"user_key": 5, "probability": 0.5, "events": 3, "spend": 9.5}]
    return segment.typical_page(a_view(text), users, Reader())


def _moved(_: Settings, text: str) -> str:
    rows = [{"user_key": n, "before": text, "after": text, "cause": text} for n in range(moved.PAGE + 1)]
    return moved.page(a_diff(text), moved.Cell(text, text, text), 99, rows, OPERATOR)


def _export(_: Settings, text: str) -> str:
    view = a_job(text)
    view.job.options = {"snapshot": 2, "segment": text, "moved_since": 1}
    return exports.page(view, Reader())


def a_correction(text: str) -> Correction:
    row = Correction(id=3, label_set=text, user_key=5, segment=text, reason=text, actor=text)
    row.withdrawn_at, row.withdrawn_by, row.withdrawn_because = utcnow(), text, text
    return row


def _corrections(_: Settings, text: str) -> str:
    return users.corrections_page([a_correction(text)], utcnow(), Reader(), over=True, older=3)


def _review(_: Settings, text: str) -> str:
    shares = {"probability": 0.5, "second_probability": 0.4, "uncertainty": 0.9, "value": 20.0, "priority": 18.0}
    rows = [{"user_key": 5, "segment": text, "second": text, **shares}]
    return users.review_page(rows, _a_snapshot(2, text), [text, "other"], Reader())


def _snapshot(_: Settings, text: str) -> str:
    row = _a_snapshot(2, text)
    row.previous_id, row.rescored_by = 1, {text: 3}
    content: dict[str, object] = {
        "snapshot": row,
        "is_current": True,
        "segments": [_a_summary(text)],
        "report": _a_report(3, text),
    }
    content["nonce"] = "nonce"
    return served("snapshot.html", text, "/snapshots", Reader(), **content)


def _snapshots(_: Settings, text: str) -> str:
    content = {"snapshots": [_a_snapshot(2, text)], "current": {2}, "newest": False, "older": 2}
    return served("snapshots.html", text, "/snapshots", Reader(), **content)


def _overview(_: Settings, text: str) -> str:
    cards = [overview.LabelSetCard(text, a_version(text), _a_snapshot(2, text), _a_report(3, text))]
    lines = [JobLine(a_job(text).job, Progress(0.5, None), None)]
    content = {"cards": cards, "attention": [overview.Attention(text, "/jobs/7", text)], "jobs": lines}
    return served("overview.html", text, "/", Reader(), imports=[an_import(text)], **content)


def an_import(text: str) -> Import:
    row = Import(id=1, table="events", file=text, sha256="", state=ImportState.FAILED, error=text)
    row.reasons, row.warnings = {text: 3}, [text]
    return row


def _user(_: Settings, text: str) -> str:
    moments = ["2026-03-09T00:00:00+00:00", "2026-03-02T00:00:00+00:00"]
    rows = [
        Assigned(2 - n, text, n == 0, moment, 1, text, {text: 0.7, "high": 0.3}, "correction", text)
        for n, moment in enumerate(moments)
    ]
    at = datetime(2026, 3, 9, tzinfo=UTC)
    event = TimelineEvent(at, 7, text, text, text, text, 1.0, 2.5, 4.0, None, text)
    lasting = Correction(id=4, label_set=text, user_key=5, segment=text, reason=text, actor=text)
    content = users.UserContent(
        5,
        rows,
        [event] * 26,
        UserTotals(26, 3, 7.5, at, at),
        [(lasting, True), (a_correction(text), False)],
        {text: [text, "high"]},
        {text: [text]},
    )
    values = {"labels": text, "segment": text, "reason": text, "expires": text, "weight": text}
    return users.page(content, OPERATOR, users.CorrectionForm("correct", values, text))


def _schedules(_: Settings, text: str) -> str:
    row = Schedule(name=text, cron=text, timezone=text, kind=text, options={"labels": text}, next_slot=utcnow())
    return lists.schedules_page([row], [text], Reader())


def _audit(_: Settings, text: str) -> str:
    return lists.audit_page([Audit(actor=text, action=text, subject=text, details={text: text})], Reader())


#: The pages that commands save as a file.
SAVED = {"data_report.html", "drift.html", "model_card.html", "search.html"}
#: Template → its page, with the text in every place.
PAGES: dict[str, Callable[[Settings, str], str]] = {
    "audit.html": _audit,
    "corrections.html": _corrections,
    "data_report.html": lambda _, text: data_report.page(a_profile(text)),
    "diff.html": lambda _, text: snapshots.diff_page(a_diff(text), Reader()),
    "drift.html": lambda _, text: drift.page(a_history(text)),
    "export.html": _export,
    "imports.html": lambda _, text: lists.imports_page([an_import(text)], Reader()),
    "job.html": lambda settings, text: jobs.page(settings, a_job(text), online=True),
    "jobs.html": lambda _, text: jobs.list_page([JobLine(a_job(text).job, Progress(0.5, None), None)]),
    "login.html": lambda _, text: login.page("token", "/jobs", Reader(), text),
    "model_card.html": lambda _, text: model_card.page(a_card(text)),
    "models.html": lambda _, text: models.list_page([a_version(text)]),
    "moved.html": _moved,
    "overview.html": _overview,
    "problem.html": lambda _, text: problem.page(text, text),
    "review.html": _review,
    "schedules.html": _schedules,
    "search.html": lambda _, text: search_page.page(7, a_search(text)),
    "segment.html": _segment,
    "segment_compare.html": _compared,
    "segment_typical.html": _typical,
    "segments.html": _segments,
    "snapshot.html": _snapshot,
    "snapshots.html": _snapshots,
    "user.html": _user,
    "users.html": lambda _, text: users.search_page(Reader(), text, text),
}
