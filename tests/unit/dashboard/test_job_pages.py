"""What pages say about jobs: in the reader's language, filtered, and as a graph."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from segadmin.jobs.control import JobLine, JobView
from segadmin.jobs.counts import MOST
from segadmin.jobs.estimate import Estimate, Likeness, Range
from segadmin.jobs.progress import Progress
from segadmin.jobs.selection import JobSelection
from segadmin.settings import Settings
from segadmin.storage.records import Job, JobState, Lock, Step, StepState
from segadmin_api.dashboard import job_list, jobs
from segadmin_api.dashboard.job_list import JobList
from segadmin_api.dashboard.job_notes import NOTES, coverage_text, note_text, subject_text
from segadmin_api.dashboard.messages import message_text
from segadmin_api.dashboard.reader import ENGLISH, Reader
from segadmin_api.dashboard.render import text_of
from segadmin_api.dashboard.stage_graph import stage_graph
from segadmin_api.dashboard.svg import width_of
from segadmin_api.estimates import estimate_sentences, memory
from segadmin_api.formatting import StageLine, result_lines, stages, subject, waits

CHINESE = Reader(language="zh")


@pytest.mark.parametrize(
    ("note", "chinese"),
    [
        ("epoch 1 of 3, 120 users/s", "第 1/3 轮, 每秒 120 名用户"),
        ("epoch 2 of 3, validation log-loss 0.8123", "第 2/3 轮, 验证集对数损失 0.8123"),
        ("40 of 240 users scored", "已评分 40/240 名用户"),
        ("predicting the behaviour of 12,000 rows of unlabelled users", "预测 12,000 行无标签用户的行为"),
        ("1,200 rows", "1,200 行"),
        ("a plugin's own note, 3 of 4", "a plugin's own note, 3 of 4"),
        ("", ""),
    ],
)
def test_notes_are_translated_as_far_as_they_are_known(note: str, chinese: str) -> None:
    assert note_text(ENGLISH, note) == note
    assert note_text(CHINESE, note) == chinese


def test_the_coverage_of_texts_is_translated() -> None:
    line = "240 texts, 1,200 of them of users without events · 7.5 phrases each of 9.1 events · a plugin's own"
    chinese = "240 条文本，其中 1,200 条的用户没有事件 · 平均每条 7.5 个短语，来自 9.1 个事件 · a plugin's own"
    assert (coverage_text(ENGLISH, line), coverage_text(CHINESE, line)) == (line, chinese)


def test_no_note_is_taken_for_another() -> None:
    for text in NOTES:
        values = dict.fromkeys(re.findall(r"%\((\w+)\)s", text), "7")
        assert note_text(CHINESE, text % values if values else text) == text_of(CHINESE, text, **values)


@pytest.mark.parametrize(
    ("kind", "options", "english", "chinese"),
    [
        ("export", {"snapshot": 5, "segment": "high"}, "snapshot 5 · high", "快照 5 · high"),
        (
            "export",
            {"snapshot": 5, "moved_since": 4, "after": "left"},
            "snapshot 5 · who moved since snapshot 4 · * → left",
            "快照 5 · 自快照 4 以来换了分群的用户 · * → left",
        ),
        ("ingest", {"where": "/srv/in/a.csv", "table": "events"}, "events · a.csv", "events · a.csv"),
        ("ingest", {"where": "redis://:key@host/0", "table": "events"}, *["events · redis://:***@host/0"] * 2),
        ("import-upload", {"name": "b.csv", "table": "labels", "label_set": "vip"}, *["labels · b.csv · vip"] * 2),
        ("refresh", {"model": "champion", "labels": "vip"}, "champion · vip", "champion · vip"),
        ("compact", {}, "", ""),
    ],
)
def test_a_job_says_what_it_is_about(kind: str, options: dict[str, object], english: str, chinese: str) -> None:
    job = Job(kind=kind, options=options)
    assert (subject(job), subject_text(ENGLISH, job), subject_text(CHINESE, job)) == (english, english, chinese)


def test_what_is_wrong_with_a_field_is_translated() -> None:
    assert message_text("zh", "Input should be less than or equal to 0.3") == "应小于或等于 0.3"
    assert message_text("zh", "Input should be greater than 0") == "应大于 0"
    assert message_text("en", "Field required") == "Field required"


def a_view(state: JobState = JobState.RUNNING) -> JobView:
    """A job that reads, then trains two models at the same time, and compares them."""
    plan = (("read", [], "succeeded"), ("train", ["read"], "running"), ("base", ["read"], "waiting"))
    plan += (("gate", ["train", "base"], "waiting"),)
    steps = [
        Step(
            id=number,
            job_id=7,
            stage=name,
            queue="cpu",
            after=after,
            state=StepState(each),
            progress=0.5,
            note="epoch 1 of 2",
            memory_bytes=number * 2**29,
        )
        for number, (name, after, each) in enumerate(plan, 1)
    ]
    job = Job(id=7, kind="retrain", state=state, options={"labels": "spend3"})
    return JobView(job, Progress(0.4, 90.0), Lock(name="model:spend3", job_id=6), steps)


def test_a_stage_stands_to_the_right_of_those_before_it() -> None:
    graph = stage_graph(stages(a_view()))
    x = {node.stage.name: node.x for node in graph.nodes}
    y = {node.stage.name: node.y for node in graph.nodes}
    assert x["read"] < x["train"] == x["base"] < x["gate"]
    assert y["train"] != y["base"]
    assert len(graph.edges) == 4
    assert all(node.x + node.width <= graph.width and node.y + node.height <= graph.height for node in graph.nodes)
    assert stage_graph([]).nodes == ()


def a_stage(name: str, after: Sequence[str] = ()) -> StageLine:
    return StageLine(name, [Step(job_id=1, stage=name, after=list(after))])


def test_names_of_stages_stay_in_their_boxes() -> None:
    usual, longer, endless = "train", "WEEKLY_EMBEDDINGS", "我们自己的插件的一个名字很长很长的阶段"
    for name in (usual, longer, endless):
        [node] = stage_graph([a_stage(name)]).nodes
        assert width_of(node.label, 14) <= node.width - 18
        assert (node.label == name) == (name != endless)
    graph = stage_graph([a_stage(longer), a_stage(usual, after=[longer])])
    assert graph.nodes[1].x > graph.nodes[0].x + graph.nodes[0].width


def test_the_page_of_a_job_is_in_the_language_of_the_reader(settings: Settings) -> None:
    english, chinese = (jobs.page(a_view(), online=True, reader=reader) for reader in (ENGLISH, CHINESE))
    assert "waits for job 6, which is changing the model of &#39;spend3&#39;" in english
    assert waits(a_view()) == "waits for job 6, which is changing the model of 'spend3'"
    assert "等待任务 6，它正在更改 &#39;spend3&#39; 的模型" in chinese
    assert ">第 1/2 轮<" in chinese and ">epoch 1 of 2<" in english
    assert "2.0 GiB" in english, "the memory of the largest step"
    for page in (english, chinese):
        assert 'data-events="/v1/jobs/7/events"' in page
        assert page.count('<rect class="') == 8, "a box and a share for each stage"


def test_results_are_sentences_in_both_languages(settings: Settings) -> None:
    published = {"snapshot_id": 3, "users": 1, "rescored": 12, "rescored_by": {"new events": 12}}
    published |= {"carried": 228, "moved": 1_200}
    step = Step(id=1, job_id=7, stage="publish", queue="cpu", state=StepState.SUCCEEDED, result=published)
    done = JobView(Job(id=7, kind="refresh", state=JobState.SUCCEEDED), Progress(1.0, None), None, [step])
    assert result_lines(done) == [
        "Snapshot 3 has 1 user: 12 scored (12 new events), 228 carried forward, 1,200 moved to another segment. "
        "See it: segadmin snapshots show 3"
    ]
    assert "快照 3 有 1 名用户" in jobs.page(done, online=True, reader=CHINESE)


def test_filters_are_in_the_links() -> None:
    counts = {JobState.QUEUED: 3, JobState.FAILED: MOST}
    shown = JobList(JobSelection(("re train&",), (JobState.FAILED,)), [], counts)
    queued, failed = shown.states
    assert (queued.link, queued.is_chosen) == ("/jobs?kind=re+train%26&state=queued", False)
    assert (failed.link, failed.is_chosen, failed.is_more) == ("/jobs?kind=re+train%26", True, True)
    assert shown.link(before=7) == "/jobs?kind=re+train%26&state=failed&before=7"
    assert shown.matching == MOST
    assert JobList(JobSelection(), [], counts).matching == MOST + 3


def test_only_who_may_change_jobs_can_choose_them() -> None:
    line = JobLine(a_view().job, Progress(0.4, None), None)
    shown = JobList(JobSelection(), ["retrain"], {JobState.RUNNING: 1})
    assert "checkbox" not in job_list.list_page([line], shown)
    operator = Reader(token="t", scopes=frozenset({"operator"}))
    assert 'name="job" value="7"' in job_list.list_page([line], shown, operator)


def test_an_estimate_in_words() -> None:
    cost = Estimate("refresh", (9, 8), Likeness.OPTIONS, Range(100, 30, 4_000), Range(2**30, 2**29, 2**31), 2.0)
    assert list(map(str, estimate_sentences(cost))) == [
        "It takes about 2 min (30 s to 1 h 7 min).",
        "Its largest step takes about 1.0 GiB of memory (512 MiB to 2.0 GiB).",
        "Past jobs with like options: 9, 8.",
        "There are 2 times as many events now; what reads all users is scaled.",
    ]
    nothing = Estimate("refresh", (), None, None, None, None)
    assert "No past job of the kind refresh" in str(estimate_sentences(nothing)[0])
    assert memory(3 * 2**20) == "3 MiB"
