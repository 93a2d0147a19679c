"""A GPU, or a machine, that has too little memory: here it is the model that says so, above a number of rows."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segadmin.contracts.backbone import Examples, FitContext, Pretraining
from segadmin.errors import OutOfMemory
from segadmin.jobs.attempt import Attempt
from segadmin.settings import Settings
from segadmin.testing.backbones import planted
from segadmin_plugins.backbones.tiny import Tiny
from segadmin_plugins.engines.smaller_batches import with_smaller_batches
from tests.unit.backbones.test_launch import processes_of

TINY = Tiny(
    max_tokens=16, epochs=4, batch_size=16, width=64, learning_rate=2e-3, patience=10, head_steps=60, tuner="large"
)
TRAIN, VALIDATION, TEST = planted(128), planted(48, seed=1), planted(40, seed=2)

#: A model whose forward needs too much memory above ``ROWS`` rows. What it had taken until then must be free again
#: when it is called the next time. Of several processes only the second has so little.
LARGE = """
import os, weakref
import segadmin, torch

ROWS = %d
taken, asked = [], []

class Large(segadmin.Tuner):
    name = "large"
    def adapt(self, model, run):
        def before(module, given, named):
            asked.append(len(named["input_ids"]))
            if any(one() is not None for one in taken):
                raise AssertionError("the memory of the failed attempt is still held")
            if asked[-1] > ROWS and os.environ.get("RANK", "1") == "1":
                activations = torch.zeros(1000)
                taken.append(weakref.ref(activations))
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        model.register_forward_pre_hook(before, with_kwargs=True)
        return model

@segadmin.hookimpl
def register_tuners():
    return [Large]
"""


def _run(folder: Path, rows: int, **options: Any) -> FitContext:
    (folder / "large.py").write_text(LARGE % rows)
    (folder / "fit").mkdir()
    settings = Settings(home=folder / "home", plugin_files=(folder / "large.py",))
    return FitContext(settings, folder / "fit", **options)


def test_the_batch_is_halved_until_it_fits_and_a_step_sees_as_many_users(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notes: list[str] = []
    run = _run(tmp_path, 3, progress=lambda _fraction, note: notes.append(note))
    with caplog.at_level(logging.WARNING):
        fitted = TINY.fit(TRAIN, VALIDATION, run)
    report = fitted.report
    assert (report["batch_size"], report["batch_size_asked"], report["steps"]) == (2, 16, 32)
    assert [note for note in notes if note.startswith("out of memory")] == [
        f"out of memory; trying batches of {rows}" for rows in (8, 4, 2)
    ]
    assert any("epoch 4 of 4, batches of 2: 16 do not fit in memory" in note for note in notes)
    chosen = [record.getMessage() for record in caplog.records if "out of memory" in record.getMessage()]
    assert chosen == ["out of memory in training with 16 users at a time; 2 fit"]
    caplog.clear()
    probabilities = fitted.predict(TEST, lambda _fraction, note: notes.append(note))
    assert re.fullmatch(r"\d+ of \d+ texts read, \d+ tokens at a time: \d+ do not fit in memory", notes[-1])
    assert (probabilities.argmax(axis=1) == TEST.targets).mean() > 0.8
    fitted.save(tmp_path / "saved")
    np.testing.assert_allclose(TINY.load(tmp_path / "saved", Settings()).predict(TEST), probabilities, atol=1e-5)


def test_a_smaller_batch_learns_what_a_larger_one_learns(tmp_path: Path) -> None:
    predictions = []
    for rows in (8, 64):
        (tmp_path / str(rows)).mkdir()
        options = replace(TINY, features=False, class_weights=False, max_tokens=24)
        predictions.append(options.fit(TRAIN, VALIDATION, _run(tmp_path / str(rows), rows)).predict(TEST))
    right = [(prediction.argmax(axis=1) == TEST.targets).mean() for prediction in predictions]
    assert abs(right[0] - right[1]) < 0.15


def test_a_single_user_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        OutOfMemory,
        match=r"training with one user at a time\. This machine has [\d.]+ of [\d.]+ GiB .* max_tokens=64.* tuner=lora",
    ):
        replace(TINY, batch_size=4).fit(TRAIN, VALIDATION, _run(tmp_path, 0))


def test_other_errors_stay_as_they_are() -> None:
    def work(rows: int) -> int:
        raise RuntimeError(f"shapes differ at {rows}")

    with pytest.raises(RuntimeError, match="shapes differ at 8"):
        with_smaller_batches(8, work, lambda _rows: None, what="training")


@pytest.mark.parametrize(("rows", "least", "tried"), [(16, 1, [16, 8, 4, 2, 1]), (12, 4, [12, 4]), (5, 1, [5, 2, 1])])
def test_which_batches_are_tried(rows: int, least: int, tried: list[int]) -> None:
    seen: list[int] = []

    def work(size: int) -> None:
        seen.append(size)
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(OutOfMemory):
        with_smaller_batches(rows, work, lambda _rows: None, what="training", least=least)
    assert seen == tried


@pytest.mark.slow  # four processes import all that a training needs; test_launch has two
def test_both_processes_restart_when_one_runs_out_of_memory(tmp_path: Path) -> None:
    left: list[list[str]] = []

    def progress(_fraction: float, note: str) -> None:
        if note == "out of memory; trying batches of 4":
            left.append(processes_of(tmp_path))

    run = _run(tmp_path, 2, progress=progress)
    fitted = replace(TINY, batch_size=8, epochs=1, processes=2).fit(TRAIN, VALIDATION, run)
    assert (fitted.report["processes"], fitted.report["batch_size"], fitted.report["batch_size_asked"]) == (2, 4, 8)
    assert left == [[]]


def test_pretraining_takes_smaller_batches_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import BertModel

    forward = BertModel.forward

    def too_large(self: Any, *given: Any, packing: Any = None, **named: Any) -> Any:
        if packing is None:
            return forward(self, *given, **named)
        if len(packing.offsets) - 1 > 9:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, *given, packing=packing, **named)

    monkeypatch.setattr(BertModel, "forward", too_large)
    texts = Examples(TRAIN.frame, (), ())
    run = FitContext(Settings(home=tmp_path / "home"), tmp_path)
    report = replace(TINY, tuner="full", epochs=1).pretrain(texts, texts, run, Pretraining()).report
    assert (report["batch_size"], report["steps"]) == (8, 8)
    assert np.isfinite(report["held_out_loss"])


def test_a_plugin_that_runs_out_of_memory_is_tried_again(settings: Settings, tmp_path: Path) -> None:
    from segadmin.contracts.plugins import load_plugins
    from segadmin.jobs import plugin_guard as calls
    from tests.stores import empty_store

    empty_store(settings)
    attempt = Attempt(settings, 1, "retrain", {}, 1, "finetune", range(0), 1, 1)
    plugin = load_plugins(settings).find("backbone", "tiny")
    message = r"^load of the backbone 'tiny' .* ran out of memory\. This machine has"
    with pytest.raises(OutOfMemory, match=message), calls.calling(attempt, plugin, "load"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 14.00 GiB")


@pytest.mark.gpu
def test_a_gpu_that_is_full_for_large_batches(tmp_path: Path) -> None:
    """The batch that is asked for needs many times the memory; what was taken is given back afterwards."""
    from segadmin.device_memory import describe_memory, release_memory

    free, _ = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction(min(2 * 2**30 / torch.cuda.mem_get_info()[1], 1.0))
    try:
        options = Tiny(max_tokens=512, epochs=1, batch_size=2048, width=512, layers=4)
        long = planted(4096)
        import polars as pl

        frame = long.frame.with_columns(phrases=pl.col("phrases").list.eval(pl.element().repeat_by(60).explode()))
        (tmp_path / "fit").mkdir()
        fit = FitContext(Settings(home=tmp_path / "home"), tmp_path / "fit")
        fitted = options.fit(Examples(frame, long.segments, long.feature_names), VALIDATION, fit)
        assert fitted.report["batch_size"] < fitted.report["batch_size_asked"] == 2048
        assert torch.cuda.get_device_name() in describe_memory()
        del fitted
        release_memory()
        assert torch.cuda.memory_reserved() < 128 * 2**20  # the workspaces of cuBLAS stay
        assert torch.cuda.mem_get_info()[0] > free - 2**30
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
