"""Messages that people meet on their usual way are in the language of the page."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from segadmin.errors import DataError
from segadmin.events.advice import one_kind, repeated_ids, unknown_kinds
from segadmin.events.guess import propose
from segadmin.events.import_request import ImportRequest
from segadmin.events.mapping import Mapping
from segadmin.monitoring.report import _alarms
from segadmin.monitoring.volume import ALL_KINDS, Volume, check_volumes
from segadmin.settings import Settings
from segadmin_api.dashboard.messages import message_text

FEW = Volume(day=date(2026, 1, 5), kind="purchase", events=534, expected=3746.0, missing=True)


def test_why_a_refresh_does_not_begin_is_translated() -> None:
    with pytest.raises(DataError) as refused:
        check_volumes([FEW])
    translated = message_text("zh", f"prepare: {refused.value}")
    assert translated.startswith(
        "准备：事件似乎有缺失（预期按前几周同一星期几估计）：2026-01-05 有 534 个事件（购买），预期为 3,746 个。"
    )
    assert "强制继续" in translated


def test_alarms_of_drift_are_translated() -> None:
    [alarm] = _alarms([], [], [], [FEW])
    assert message_text("zh", alarm) == "2026-01-05 有 534 个事件（购买），预期为 3,746 个。"
    assert message_text("en", alarm) == alarm
    both = [FEW, FEW.model_copy(update={"kind": ALL_KINDS, "events": 600})]
    assert _alarms([], [], [], both) == [alarm], "the total says nothing new"
    [alarm] = _alarms([], [], [], [FEW.model_copy(update={"days": 7})])
    assert alarm == "The week until 2026-01-05 has 534 of 3,746 expected events (purchase)."
    assert message_text("zh", alarm) == "截至 2026-01-05 的一周有 534 个事件（购买），预期为 3,746 个。"


def test_what_is_uncertain_about_a_file_is_translated(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text(
        "customer,what,product,when\n" + "".join(f"9{n},buy,p{n},2026-01-02 10:0{n}:00\n" for n in range(9))
    )
    proposal = propose(settings, ImportRequest("events", str(path)), 9)
    messages = [proposal.title, *proposal.warnings]
    assert all(message_text("zh", message) != message for message in messages), messages


def test_warnings_of_an_import_are_translated() -> None:
    warnings = [
        *unknown_kinds({"gift": 1, "swap": 1200, None: 3}),
        *one_kind(["view"], 200),
        *repeated_ids(5, 6, "order"),
    ]
    assert [text for text in warnings if message_text("zh", text) == text] == []
    assert message_text("zh", warnings[2]) == "有 3 行没有行为类型。如果所有行属于同一类型：--set kind=purchase"


def test_a_file_without_a_needed_column_is_refused_in_chinese() -> None:
    with pytest.raises(DataError) as refused:
        Mapping().fields("events", ["user", "event", "time", "item"])
    assert message_text("zh", str(refused.value)) == (
        "文件中没有 kind, at 对应的列；文件的列为：user, event, time, item。"
        "您是否想写：--map kind=event --map at=time？"
        "请指定对应的列：--map kind=COLUMN，或让所有行取同一个值：--set kind=VALUE"
    )


def test_a_message_of_which_a_part_is_unknown_stays_whole() -> None:
    message = "AUROC is 0.8000 and was 0.8100 in the test; nobody knows why"
    assert message_text("zh", message) == message


def test_others_stay_as_they_are() -> None:
    assert message_text("zh", "50% of it: {odd} %(x)s") == "50% of it: {odd} %(x)s"
