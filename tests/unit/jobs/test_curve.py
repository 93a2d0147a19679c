"""What is kept of a fit's figures, and how it is drawn."""

from __future__ import annotations

import json
from itertools import pairwise

from segadmin.jobs import control
from segadmin.jobs.attempt import StageResult
from segadmin.jobs.finish import fail, finish
from segadmin.jobs.lease import claim, extend
from segadmin.learning_curve import MOST, Curve
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.records import Step
from segadmin_api.cli.curves import drawn, sparkline
from tests.unit.jobs.conftest import Messages
from tests.unit.jobs.test_engine import ask

LOSS = "validation_log_loss"


def _logged(*steps: int, name: str = LOSS) -> Curve:
    curve = Curve()
    for step in steps:
        curve.add(step, {name: 1 / step})
    return curve


def test_few_points_are_all_kept() -> None:
    assert _logged(1, 2, 5).points == [[1, {LOSS: 1.0}], [2, {LOSS: 0.5}], [5, {LOSS: 0.2}]]


def test_many_points_are_thinned_evenly_with_the_first_and_the_newest() -> None:
    for count in (MOST, MOST + 1, 999, 12_345):
        steps = [step for step, _ in _logged(*range(1, count + 1)).points]
        assert MOST / 2 <= len(steps) <= MOST
        assert (steps[0], steps[-1]) == (1, count)
        assert len({b - a for a, b in pairwise(steps[:-1])}) == 1


def test_the_few_points_of_one_model_survive_the_many_of_another() -> None:
    curve = _logged(*range(1, 5000), name="trees/validation_log_loss")
    for step in range(1, 11):
        curve.add(step, {"text/validation_log_loss": 1.0})
    assert sum("text/validation_log_loss" in figures for _, figures in curve.points) == 10
    assert len(curve.points) <= MOST


def test_points_of_the_oldest_models_are_dropped_beyond_the_limit() -> None:
    curve = Curve()
    for n in range(300):
        for step in (1, 2):
            curve.add(step, {f"{n}/{LOSS}": 1.0})
    assert len(curve.points) <= MOST
    assert f"299/{LOSS}" in curve.points[-1][1]


def test_a_resumed_fit_removes_points_after_its_checkpoint() -> None:
    curve = Curve.of(_logged(10, 20, 30, 40).points)
    curve.add(30, {LOSS: 9.0})
    assert [[step, *figures.values()] for step, figures in curve.points] == [[10, 0.1], [20, 0.05], [30, 9.0]]
    curve.add(1, {LOSS: 7.0})
    assert curve.points == [[1, {LOSS: 7.0}]]


def test_metrics_that_are_not_finite_are_left_out() -> None:
    curve = Curve()
    curve.add(1, {LOSS: 0.5, "validation_auroc": float("nan")})
    curve.add(2, {LOSS: float("inf")})
    assert curve.points == [[1, {LOSS: 0.5}]]
    json.dumps(curve.points, allow_nan=False)


def test_the_heartbeat_and_the_end_of_an_attempt_carry_the_curve(engine_settings: Settings, messages: Messages) -> None:
    enqueued = ask(engine_settings, messages)
    [step_id] = messages.take()
    first = claim(engine_settings, step_id, "first")
    assert first is not None
    first.log(10, {LOSS: 0.7})
    assert _kept(engine_settings, step_id) == []
    assert extend(first)
    assert _kept(engine_settings, step_id) == [[10, {LOSS: 0.7}]]
    first.log(20, {LOSS: 0.6})
    fail(first, RuntimeError("lost"))
    second = claim(engine_settings, step_id, "second")
    assert second is not None
    assert second.points == [[10, {LOSS: 0.7}], [20, {LOSS: 0.6}]]
    second.log(20, {LOSS: 0.65})
    finish(second, StageResult())
    assert _kept(engine_settings, step_id) == [[10, {LOSS: 0.7}], [20, {LOSS: 0.65}]]
    assert control.view(engine_settings, enqueued.job.id or 0).steps[0].curve == second.points


def test_curves_are_drawn_in_a_line() -> None:
    points = [[step, {LOSS: value, "validation_auroc": 0.6}] for step, value in enumerate((0.7012, 0.695, 0.6893))]
    assert drawn(points) == ["█▄▁ .7012 → .6893"]
    assert drawn([]) == drawn([[1, {"validation_auroc": 0.5}]]) == []
    assert drawn([[1, {LOSS: 1.0986}]]) == ["1.0986"]
    assert drawn([[1, {"text/validation_log_loss": 0.7}], [2, {"text/validation_log_loss": 0.7}]]) == [
        "text ▁▁ .7000 → .7000"
    ]
    long = sparkline(range(1000))
    assert (len(long), long[0], long[-1]) == (24, "▁", "█")


def _kept(settings: Settings, step_id: int) -> list[list[object]]:
    with transaction(settings) as session:
        return session.get_one(Step, step_id).curve
