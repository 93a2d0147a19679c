"""A page of every template, with any text in each place that holds what users and plugins wrote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Literal
from urllib.parse import quote

import polars as pl
from pydantic import Field

from segadmin.evaluation.bootstrap import Interval
from segadmin.evaluation.comparison import Comparison
from segadmin.evaluation.membership import MembershipAttack
from segadmin.evaluation.metrics import ReliabilityBin
from segadmin.events.erase import Erased
from segadmin.events.preview import Field as MappedField
from segadmin.events.preview import Preview, Problem, Spend
from segadmin.events.profile import Profile
from segadmin.events.timeline import TimelineEvent, UserTotals
from segadmin.events.upload_import import UploadPreview
from segadmin.events.uploads import Choice, Replaced, Upload
from segadmin.jobs.bulk import BulkResult, Failure
from segadmin.jobs.control import JobLine, JobView
from segadmin.jobs.estimate import Estimate as CostEstimate
from segadmin.jobs.estimate import Range
from segadmin.jobs.progress import Progress
from segadmin.jobs.registry import Request, Workflow
from segadmin.jobs.schedules import ScheduleView
from segadmin.jobs.selection import JobSelection
from segadmin.jobs.step_log import LogLine
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
from segadmin.models.champion_changes import ChampionChange
from segadmin.models.versions import VersionLine
from segadmin.monitoring.canary import CanaryComparison, MeasuredPair, Pair
from segadmin.monitoring.reports import ReportHistory
from segadmin.monitoring.snapshot_report import SnapshotReport
from segadmin.settings import Settings
from segadmin.snapshots.diff import SnapshotDiff
from segadmin.snapshots.segment_calibration import CalibrationBin, SegmentCalibration
from segadmin.snapshots.segment_profile import Estimate, Lift, SegmentProfile
from segadmin.snapshots.segment_view import SegmentMovement, SegmentView
from segadmin.snapshots.trend import Trend
from segadmin.snapshots.user import Assigned, Published
from segadmin.storage.records import (
    ApiKey,
    Audit,
    Canary,
    Correction,
    DriftReport,
    Evaluation,
    Import,
    ImportState,
    Job,
    JobState,
    LabelSet,
    Lock,
    MergeState,
    MissedSlots,
    ModelState,
    ModelVersion,
    SavedMapping,
    Schedule,
    Scope,
    SegmentDescription,
    SegmentSnapshot,
    SegmentSummary,
    Step,
    StepState,
    UserMerge,
    utcnow,
)
from segadmin.training.study import SearchSummary, Trial
from segadmin.workflows.objectives import ObjectiveState
from segadmin.workflows.profile import StoredProfile
from segadmin_api.dashboard import (
    audit,
    canaries,
    compare,
    data,
    data_report,
    drift,
    exports,
    job_forms,
    job_list,
    jobs,
    keys,
    login,
    model,
    model_card,
    models,
    moved,
    overview,
    plugins,
    problem,
    report,
    schedules,
    search_page,
    segment,
    server_settings,
    snapshots,
    uploads,
    user_data,
    users,
)
from segadmin_api.dashboard.assets import UPLOT
from segadmin_api.dashboard.attention import Attention, AttentionForm
from segadmin_api.dashboard.figures import trend_data
from segadmin_api.dashboard.job_forms import NewJob
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import served
from segadmin_api.effective_settings import EffectiveSetting, Source
from segadmin_api.http.kept_forms import KeptForm
from segadmin_api.request_forms import form_of
from segadmin_api.schedule_form import ScheduleForm, fields_of
from segadmin_api.schemas.data import Finding, Plugin, PluginCheck, PluginDetails, PluginOption


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
        "went_back": text,
    }
    content["nonce"] = "nonce"
    return served("snapshot.html", text, "/snapshots", Reader(), **content)


def _snapshots(_: Settings, text: str) -> str:
    content = {"snapshots": [_a_snapshot(2, text)], "current": {2}, "newest": False, "older": 2}
    return served("snapshots.html", text, "/snapshots", Reader(), **content)


def _overview(_: Settings, text: str) -> str:
    cards = [overview.LabelSetCard(text, a_version(text), _a_snapshot(2, text), _a_report(3, text))]
    lines = [JobLine(a_job(text).job, Progress(0.5, None), None)]
    forms = (
        AttentionForm("/overview/retry", text, {"job": text}),
        AttentionForm("/x", text, {text: text}, asks_reason=True),
    )
    content = {"cards": cards, "attention": [Attention(text, "/jobs/7", text, forms)], "jobs": lines}
    return served("overview.html", text, "/", ADMIN, imports=[an_import(text)], has_events=True, **content)


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
        [Published(row.snapshot_id, text, datetime.fromisoformat(row.as_of)) for row in rows],
        [event] * 26,
        UserTotals(26, 3, 7.5, at, at),
        [(lasting, True), (a_correction(text), False)],
        {text: [text, "high"]},
        {text: [text]},
    )
    values = {"labels": text, "segment": text, "reason": text, "expires": text, "weight": text}
    return users.page(content, OPERATOR, users.CorrectionForm("correct", values, text))


#: Who has logged in and may do everything, so that pages have all forms.
ADMIN = Reader(token="token", key="me", scopes=frozenset(Scope))


def _a_schedule(text: str) -> schedules.ScheduleRow:
    options = {"labels": text, "policy": "retrain", "on_drift": True}
    row = Schedule(name=text, cron=text, timezone=text, kind="refresh", options=options, next_slot=utcnow())
    objective = ObjectiveState(text, text, 60.0, p95=70.0, cause=text)
    return schedules.ScheduleRow(row, text, objective, overdue=True)


def _schedules(_: Settings, text: str) -> str:
    return schedules.list_page([_a_schedule(text)], ADMIN, problem=text)


def _schedule(_: Settings, text: str) -> str:
    row, missed = _a_schedule(text), MissedSlots(schedule=text, first=utcnow(), last=utcnow(), slots=2, job_id=7)
    return schedules.page(row, ScheduleView(row.schedule, [utcnow()], [a_job(text).job], [missed]), ADMIN)


def _schedule_form(_: Settings, text: str) -> str:
    form = ScheduleForm(text, "refresh", text, text, text, text)
    problems = dict.fromkeys(("name", "kind", "cron", "every", "freshness", "timezone", "options"), text)
    fields = [replace(each, value=text, error=text) for each in fields_of("refresh")]
    return schedules.form_page(schedules.FormState(form, "", problems, fields, {"labels": [text]}), ADMIN)


def _audit(_: Settings, text: str) -> str:
    details = {"before": {text: text}, "after": text, text: text}
    entry = Audit(actor=text, action=text, subject=text, details=details)
    return audit.page([entry], ADMIN, action=text, actor=text, newest=False, full=True)


def _models(_: Settings, text: str) -> str:
    lines = [a_version(text), a_version(text)]
    return models.list_page(lines, ADMIN, champions={text: 3}, label_sets=[text], shown=models.ModelFilter(text))


def _a_change(text: str) -> ChampionChange:
    return ChampionChange(2, utcnow(), text, text, 7)


def _model(_: Settings, text: str) -> str:
    line, row = a_version(text), a_job(text).steps[0]
    tested = Evaluation(model_version_id=3, job_id=7, name=text, split="test", rows=9, confusion=[[9]])
    view = model.ModelView(a_card(text), line.version, tested, [row], _a_change(text), 1, a_canary(text))
    return model.page(view, ADMIN, model.Refused("promote", text, text))


def a_canary(text: str) -> Canary:
    pair = Pair(champion=0.7, challenger=0.8, low=0.05, high=0.15)
    measured = MeasuredPair(snapshot=2, champion_users=90, challenger_users=60, metrics={"auroc": pair})
    comparison = CanaryComparison(
        as_of=utcnow(),
        users=100,
        compared=90,
        segments={text: pair, "other": Pair(champion=0.3, challenger=0.2)},
        confidence=pair,
        estimated={"macro_f1": pair},
        unknown=text,
        measured=measured,
    )
    facts = {"comparison": comparison.model_dump(mode="json"), "since": utcnow(), "until": utcnow(), "reason": text}
    return Canary(id=4, label_set=text, champion_id=1, challenger_id=3, share=0.05, salt=1, **facts)


def _canaries(_: Settings, text: str) -> str:
    return canaries.list_page([a_canary(text)], ADMIN, newest=False, full=True)


def _canary(_: Settings, text: str) -> str:
    return canaries.page(a_canary(text), _a_change(text), ADMIN, canaries.Refused("stop", text, text))


def _compare(_: Settings, text: str) -> str:
    comparison = Comparison(900, 800, 0.8, 0.7, Interval(0.1, 0.05, 0.15), erased=3)
    tested = Evaluation(model_version_id=3, job_id=7, name=text, split="test", rows=9, metrics={"auroc": 0.8})
    pair = compare.VersionPair((a_card(text), a_card(text)), (tested, None), comparison)
    return compare.page(pair, ADMIN)


def _keys(_: Settings, text: str) -> str:
    row = ApiKey(name=text, sha256="", opens=Scope.ADMIN, expires_at=utcnow() - timedelta(days=1))
    return keys.list_page([row], ADMIN, keys.KeyForm(text, problem=text), text)


def _plugin(_: Settings, text: str) -> str:
    option = PluginOption(name=text, type=text, default=text)
    plugin = PluginDetails(kind="backbone", name=text, distribution=text, doc=text, options=[option])
    return plugins.page(plugin, ADMIN, PluginCheck(passed=False, report=text))


def _plugins(_: Settings, text: str) -> str:
    return plugins.list_page([Plugin(kind="backbone", name=text, distribution=text)], [text], ADMIN)


def _settings(_: Settings, text: str) -> str:
    rows = [EffectiveSetting(text, text, text, Source.ENVIRONMENT, text)]
    finding = Finding(level="fail", what=text, detail=text, fix=text)
    view = server_settings.ServerView(
        rows, {text: text}, server_settings.Disk(1, 4, {text: 7}), {"flower": text}, [finding]
    )
    return server_settings.page(view, ADMIN)


def _jobs(_: Settings, text: str) -> str:
    selection = JobSelection((text,), (JobState.FAILED,))
    shown = job_list.JobList(selection, [text, "refresh"], {JobState.FAILED: 1}, None, 1)
    return job_list.list_page([JobLine(a_job(text).job, Progress(0.5, None), None)], shown, OPERATOR)


def _jobs_done(_: Settings, text: str) -> str:
    return job_list.bulk_page("cancel", BulkResult(2, [Failure(7, text)]), f"/jobs?kind={quote(text)}", OPERATOR)


def _job_logs(_: Settings, text: str) -> str:
    line = LogLine(9, text, 2, utcnow(), "ERROR", text, text, {text: text}, text)
    return jobs.logs_page(a_job(text), [line], text, 9, OPERATOR)


class _Form(Request):
    """A request of a plugin, with a field of every kind."""

    name: str
    choice: Literal["a", "b"] | None = None
    many: tuple[str, ...] = ()
    table: dict[str, str] = Field({})
    nested: dict[str, dict[str, int]] = Field({})
    is_on: bool = False
    share: float = Field(0.5, gt=0, le=1)


def _new_job(_: Settings, text: str) -> str:
    workflow = Workflow(text, _Form, (), text)
    filled = [
        replace(each, title=text, help=text, value=text, error=text, default=text, choices=(text,))
        for each in form_of(_Form)
    ]
    cost = CostEstimate(text, (1, 2), None, Range(1, 2, 3), Range(4, 5, 6), 2.0)
    return job_forms.form_page(NewJob(workflow, filled, text, text, text, None, cost, {"name": [text]}), OPERATOR)


def _new_jobs(_: Settings, text: str) -> str:
    return job_forms.kinds_page([(Workflow(text, _Form, (), text), True)], OPERATOR)


def _import(_: Settings, text: str) -> str:
    row = an_import(text)
    row.changes, row.mapping, row.reasons = {text: 2}, {"columns": {"user": "customer"}}, {"bad_time": 3, text: 1}
    rows = [{"line": 3, "column": text, "value": text, "row": text}]
    waiting, samples = {"bad_time": 3}, {"bad_time": rows}
    return data.import_page(row, ADMIN, importing=False, waiting=waiting, samples=samples)


def _profile(_: Settings, text: str) -> str:
    stored = StoredProfile(7, utcnow(), a_profile(text).model_dump(mode="json"))
    return data.profile_page(stored, ADMIN)


def _quarantine(_: Settings, text: str) -> str:
    row = {"import_id": 1, "line": 3, "reason": text, "column": text, "value": text, "row": text}
    counts = {"bad_time": 1, text: 2}
    return data.quarantine_page([row], counts, ADMIN, number=1, reason=text, after="1-3", first=False)


def _labels(_: Settings, text: str) -> str:
    row = LabelSet(name=text, labeler=text, definition={"options": {text: text}}, segments=[text, "b"], rows=3)
    return data.labels_page([row], [text], ADMIN)


def an_upload(text: str) -> Upload:
    choice = Choice(
        "events", {"columns": {"user": text}, "kinds": {text: "view"}, "extras": [text]}, {"encoding": text}
    )
    return Upload("0" * 32, text, 7, "", utcnow(), text, choice, Replaced(1, text))


def _upload(_: Settings, text: str) -> str:
    waiting = [(an_upload(text), a_job(text).job)]
    mappings = [SavedMapping(name=text, text=text)]
    return uploads.upload_page(waiting, mappings, ADMIN, most=2**20, problem=text)


def _wizard(_: Settings, text: str) -> str:
    problem = Problem(line=3, reason="unknown_kind", column=text, value=text, row=text)
    preview = Preview(
        source_rows=2,
        rows=2,
        usable=1,
        fields=[MappedField(field="user", column=text, filled=1.0, examples=[text])],
        reasons={"unknown_kind": 1},
        changes={},
        problems=[problem],
        first_rows=[{"user": text, "text": None}],
        spend=Spend(total=3.0, rows=1, examples=[text]),
        warnings=[text],
    )
    notes = [f"{text} too"]
    result = UploadPreview(columns=[text], preview=preview, problem=text, notes=notes, sure="likely", title=text)
    upload, job = an_upload(text), a_job(text).job
    values = {**uploads.form_values(upload.choice, result), "text": text}
    return uploads.wizard_page(upload, result, ADMIN, mappings=[text], job=job, values=values, problem=text)


def _result(_: Settings, text: str) -> str:
    view = a_job(text, JobState.FAILED)
    view.job.error = view.steps[0].note = text
    return uploads.result_page(ADMIN, view, "0" * 32)


def an_erasure(text: str) -> Erased:
    return Erased("00000000000000aa", {"events": 3, text: 1}, [2], [text], ["00000000000000bb"])


def a_certificate(text: str) -> user_data.Certificate:
    return user_data.Certificate(an_erasure(text), utcnow(), text, 9)


def a_merge() -> UserMerge:
    return UserMerge(id=2, old_key=1, new_key=2, state=MergeState.MERGED, moved={"events": 3})


def a_report(text: str) -> SnapshotReport:
    """Return the report of a second snapshot, with an alarm."""
    model, drifted = a_version(text), _a_report(3, text)
    tested = Evaluation(model_version_id=3, job_id=7, name=text, split="test", rows=10, metrics={"auroc": 0.8})
    tested.confusion = [[6, 1], [1, 2]]
    model.version.segments = [text, "high"]
    drifted.findings[0] |= {"bin": text, "before": 0.1, "now": 0.2}
    return SnapshotReport(
        snapshot=_a_snapshot(2, text),
        is_current=True,
        segments=[_a_summary(text), _a_summary("high")],
        trend=a_trend(text),
        compared=a_diff(text),
        model=replace(model, evaluations=[tested]),
        card=a_card(text),
        drift=drifted,
    )


#: The pages that commands save as a file.
SAVED = {"data_report.html", "drift.html", "model_card.html", "report.html", "search.html"}
#: Template → its page, with the text in every place.
PAGES: dict[str, Callable[[Settings, str], str]] = {
    "audit.html": _audit,
    "corrections.html": _corrections,
    "data_report.html": lambda _, text: data_report.page(a_profile(text)),
    "diff.html": lambda _, text: snapshots.diff_page(a_diff(text), Reader()),
    "drift.html": lambda _, text: drift.page(a_history(text)),
    "erase.html": lambda _, text: user_data.erase_page(ADMIN, user=text, planned=an_erasure(text), problem=text),
    "erased.html": lambda _, text: user_data.certificate_page(ADMIN, a_certificate(text)),
    "import.html": _import,
    "imports.html": lambda _, text: data.imports_page([an_import(text)], Reader(), older=1),
    "export.html": _export,
    "job.html": lambda settings, text: jobs.page(a_job(text), online=True),
    "job_logs.html": _job_logs,
    "jobs.html": _jobs,
    "jobs_done.html": _jobs_done,
    "new_job.html": _new_job,
    "new_jobs.html": _new_jobs,
    "canaries.html": _canaries,
    "canary.html": _canary,
    "compare.html": _compare,
    "key.html": lambda _, text: keys.new_page(text, text, ADMIN),
    "keys.html": _keys,
    "login.html": lambda _, text: login.page("token", "/jobs", Reader(), text, KeptForm("/x", [(text, text)])),
    "model.html": _model,
    "models.html": _models,
    "labels.html": _labels,
    "model_card.html": lambda _, text: model_card.page(a_card(text)),
    "merges.html": lambda _, text: data.merges_page([a_merge()], ADMIN, older=1, old=text, new=text, problem=text),
    "moved.html": _moved,
    "overview.html": _overview,
    "plugin.html": _plugin,
    "plugins.html": _plugins,
    "problem.html": lambda _, text: problem.page(text, text),
    "resend.html": lambda _, text: login.resend_page(KeptForm("/x", [(text, text)]), ADMIN),
    "schedule.html": _schedule,
    "schedule_form.html": _schedule_form,
    "profile.html": _profile,
    "quarantine.html": _quarantine,
    "result.html": _result,
    "report.html": lambda _, text: report.page(a_report(text)),
    "review.html": _review,
    "schedules.html": _schedules,
    "settings.html": _settings,
    "search.html": lambda _, text: search_page.page(7, a_search(text)),
    "segment.html": _segment,
    "segment_compare.html": _compared,
    "segment_typical.html": _typical,
    "segments.html": _segments,
    "snapshot.html": _snapshot,
    "snapshots.html": _snapshots,
    "upload.html": _upload,
    "user.html": _user,
    "users.html": lambda _, text: users.search_page(Reader(), text, text),
    "wizard.html": _wizard,
}
