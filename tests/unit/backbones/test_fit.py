from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, TrainingArguments

from segadmin.contracts.backbone import Examples, FitContext
from segadmin.errors import ConfigurationError, DataError, StepFenced
from segadmin.evaluation.metrics import log_loss
from segadmin.ragged import Ragged
from segadmin.settings import Settings
from segadmin.testing.backbones import planted
from segadmin_plugins.backbones.hf import HuggingFace
from segadmin_plugins.backbones.numbers import balanced_odds
from segadmin_plugins.backbones.tabular import Tabular
from segadmin_plugins.backbones.tfidf import TfIdf
from segadmin_plugins.backbones.tiny import Tiny
from segadmin_plugins.backbones.transformer import trainer
from segadmin_plugins.backbones.transformer.batches import UserDataset
from segadmin_plugins.backbones.transformer.head import Loss, UserModel
from tests.models import make_model

TINY = Tiny(max_tokens=16, epochs=4, batch_size=16, width=64, learning_rate=2e-3, patience=10, head_steps=60)
SHAPE = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 20,
}
TRAIN, VALIDATION, TEST = planted(128), planted(48, seed=1), planted(40, seed=2)


def _run(folder: Path, progress: Any = lambda _fraction, _note: None, seed: int = 17) -> FitContext:
    folder.mkdir(parents=True, exist_ok=True)
    return FitContext(Settings(home=folder), folder, seed, progress)


class Killed(Exception):
    pass


def _killer(after: float, error: Exception) -> Any:
    def progress(fraction: float, _note: str) -> None:
        if fraction > after:
            raise error

    return progress


@pytest.mark.parametrize("options", [{}, {"phrase_dropout": 0.3}, {"balanced": True}])
def test_an_interrupted_fit_resumes(tmp_path: Path, options: dict[str, Any]) -> None:
    tiny = replace(TINY, **options)
    with pytest.raises(Killed):
        tiny.fit(TRAIN, VALIDATION, _run(tmp_path / "cut", _killer(0.6, Killed())))
    resumed = tiny.fit(TRAIN, VALIDATION, _run(tmp_path / "cut"))
    assert resumed.report["resumed_at_step"] >= 16, "half of the 32 steps were done"
    assert resumed.report["steps"] == 32
    whole = tiny.fit(TRAIN, VALIDATION, _run(tmp_path / "whole"))
    assert whole.report["resumed_at_step"] == 0
    np.testing.assert_allclose(resumed.predict(TEST), whole.predict(TEST), atol=1e-4)
    assert resumed.report["validation"] == whole.report["validation"]


def test_a_fit_logs_training_and_validation_metrics(tmp_path: Path) -> None:
    logged: list[tuple[int, str, float]] = []

    def log(step: int, figures: Any) -> None:
        logged.extend((step, name, value) for name, value in figures.items())

    replace(TINY, features=False).fit(TRAIN, VALIDATION, replace(_run(tmp_path), log=log))
    training = [(step, value) for step, name, value in logged if name == "training_loss"]
    assert [step for step, _ in training] == list(range(1, 33)), "of the 8 steps of an epoch, each"
    assert training[-1][1] < training[0][1]
    assert [step for step, name, _ in logged if name == "validation_log_loss"] == list(range(4, 33, 4))


def test_checkpoints_of_other_options_are_not_resumed(tmp_path: Path) -> None:
    TINY.fit(TRAIN, VALIDATION, _run(tmp_path))
    other = Tiny(max_tokens=16, epochs=1, batch_size=16, width=64).fit(TRAIN, VALIDATION, _run(tmp_path))
    assert other.report["resumed_at_step"] == 0


def test_a_lost_step_ends_the_training_at_once(tmp_path: Path) -> None:
    fractions: list[float] = []

    def progress(fraction: float, _note: str) -> None:
        fractions.append(fraction)
        if fraction > 0.05:
            raise StepFenced("attempt 1 of step 1 no longer owns it")

    with pytest.raises(StepFenced):
        TINY.fit(TRAIN, VALIDATION, _run(tmp_path, progress))
    assert sum(fraction > 0.05 for fraction in fractions) == 1


def test_the_same_seed_gives_the_same_model_and_another_does_not(tmp_path: Path) -> None:
    options = Tiny(max_tokens=16, epochs=1, batch_size=32, width=64)
    first, second, third = (
        options.fit(TRAIN, VALIDATION, _run(tmp_path / str(n), seed=seed)).predict(TEST)
        for n, seed in enumerate((5, 5, 6))
    )
    np.testing.assert_allclose(first, second, atol=2e-3)  # threads add up in any order
    assert np.abs(first - third).max() > 1e-2


def test_balanced_batches_show_every_segment_equally_often(tmp_path: Path) -> None:
    import polars as pl

    counts = (180, 15, 5)
    rare = pl.concat([planted(900).frame.filter(pl.col("target") == n).head(many) for n, many in enumerate(counts)])
    train = Examples(rare, TRAIN.segments, TRAIN.feature_names)
    rows = UserDataset(Ragged.from_rows([np.arange(3)] * 200), np.zeros((200, 0), np.float32), train.targets)
    model = UserModel(BertForSequenceClassification(BertConfig(**SHAPE)), None)
    for labels in (train.targets, np.stack([train.targets, np.zeros(200, np.int64)], axis=1)):
        rows.targets = labels
        somewhere = TrainingArguments(output_dir=str(tmp_path / "trainer"))
        sampling = trainer.UserTrainer(model=model, args=somewhere, train_dataset=rows)
        sampling.balanced = True
        drawn = train.targets[[row for _ in range(30) for row in sampling._get_train_sampler()]]
        np.testing.assert_allclose(np.bincount(drawn) / len(drawn), [1 / 3] * 3, atol=0.03)
    options = replace(TINY, balanced=True, features=False)
    fitted = options.fit(train, VALIDATION, _run(tmp_path))
    predicted = fitted.predict(TEST).argmax(axis=1)
    assert fitted.model.loss.weights is None
    assert all((predicted[TEST.targets == n] == n).mean() > 0.5 for n in range(3))


def test_balanced_odds_leave_rows_of_no_segment_as_they_are() -> None:
    odds = balanced_odds(np.array([0, 0, 0, 2, -100, -100]))
    np.testing.assert_allclose(odds, [2 / 3, 2 / 3, 2 / 3, 2, 1, 1])
    assert balanced_odds(np.array([-100])).tolist() == [1]


def test_early_stopping_keeps_the_best_weights(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    noise = VALIDATION.frame.with_columns(target=random.permutation(VALIDATION.targets))
    held_out = Examples(noise, VALIDATION.segments, VALIDATION.feature_names)
    options = Tiny(max_tokens=16, epochs=30, batch_size=16, width=64, learning_rate=3e-3, patience=2, features=False)
    report = options.fit(TRAIN, held_out, _run(tmp_path)).report
    assert report["epochs"] < 30
    losses = [evaluation["log_loss"] for evaluation in report["validation"]]
    best = min(range(len(losses)), key=losses.__getitem__)
    assert report["best_step"] == report["validation"][best]["step"]
    assert len(losses) == best + 3


def test_it_trains_without_a_validation_set(tmp_path: Path) -> None:
    nobody = Examples(VALIDATION.frame.head(0), VALIDATION.segments, VALIDATION.feature_names)
    for backbone in (TINY, Tabular(min_users=3), TfIdf()):
        model = backbone.fit(TRAIN, nobody, _run(tmp_path / backbone.name))
        assert (model.predict(TEST).argmax(axis=1) == TEST.targets).mean() > 0.5


@pytest.mark.parametrize("tuner", ["full", "lora"])
def test_the_saved_folder_is_in_hugging_face_format(tuner: Any, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    make_model("bert", tmp_path / "bert")
    backbone = HuggingFace(
        model=str(tmp_path / "bert"), tuner=tuner, features=False, max_tokens=16, epochs=2, learning_rate=2e-3
    )
    fitted = backbone.fit(TRAIN, VALIDATION, _run(tmp_path / "work"))
    fitted.save(tmp_path / "saved")
    model, loading_info = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "saved", output_loading_info=True
    )
    assert not any(loading_info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert [model.config.id2label[n] for n in range(3)] == list(TEST.segments)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "saved")
    texts = [" ".join(phrases) for phrases in TEST.frame["phrases"].to_list()]
    with torch.inference_mode():
        logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    np.testing.assert_allclose(logits.softmax(1).numpy(), fitted.predict(TEST), atol=1e-4)


def test_frozen_weights_stay_as_they_were(tmp_path: Path) -> None:
    from transformers import AutoModel

    make_model("bert", tmp_path / "bert")
    before = AutoModel.from_pretrained(tmp_path / "bert").state_dict()
    backbone = HuggingFace(
        model=str(tmp_path / "bert"), frozen_layers=1, max_tokens=16, epochs=1, learning_rate=2e-3, weight_decay=0.1
    )
    after = backbone.fit(TRAIN, VALIDATION, _run(tmp_path)).model.text.bert.state_dict()
    changed = {name for name, weights in before.items() if not torch.equal(weights, after[name].cpu())}
    assert any(name.startswith("encoder.layer.1.") for name in changed)
    assert not any(name.startswith(("embeddings.", "encoder.layer.0.")) for name in changed)


def test_more_frozen_layers_than_there_are(tmp_path: Path) -> None:
    make_model("bert", tmp_path / "bert")
    backbone = HuggingFace(model=str(tmp_path / "bert"), frozen_layers=3, epochs=1)
    with pytest.raises(ConfigurationError, match=r"frozen_layers=3.*2 layers"):
        backbone.fit(TRAIN, VALIDATION, _run(tmp_path))


def test_features_it_was_not_fitted_on(tmp_path: Path) -> None:
    model = Tabular(min_users=3).fit(TRAIN, VALIDATION, _run(tmp_path))
    with pytest.raises(DataError, match="spend, visits"):
        model.predict(planted(5, features=()))


def test_features_are_found_by_name(tmp_path: Path) -> None:
    import polars as pl

    model = Tabular(min_users=3).fit(TRAIN, VALIDATION, _run(tmp_path))
    turned = TEST.frame.with_columns(pl.col("features").list.reverse())
    np.testing.assert_array_equal(
        model.predict(TEST), model.predict(Examples(turned, TEST.segments, ("visits", "spend")))
    )


def test_a_segment_without_training_rows_gets_a_low_probability(tmp_path: Path) -> None:
    import polars as pl

    two = Examples(TRAIN.frame.filter(pl.col("target") != 1), TRAIN.segments, TRAIN.feature_names)
    for backbone in (Tabular(min_users=3), TfIdf(), TINY):
        probabilities = backbone.fit(two, VALIDATION, _run(tmp_path / backbone.name)).predict(TEST)
        assert probabilities.shape == (40, 3)
        assert probabilities[:, 1].mean() < 0.2


def test_a_single_segment_is_refused(tmp_path: Path) -> None:
    import polars as pl

    single_segment = Examples(TRAIN.frame.filter(pl.col("target") == 1), TRAIN.segments, TRAIN.feature_names)
    with pytest.raises(DataError, match="at least two segments"):
        TfIdf().fit(single_segment, VALIDATION, _run(tmp_path))


def test_the_focal_loss_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 3.0]])
    labels = torch.tensor([0, 0, 0])
    p = logits.softmax(dim=1)[:, 0]
    assert Loss(gamma=2.0)(logits, labels).item() == pytest.approx(float((-((1 - p) ** 2) * p.log()).mean()))
    plain = torch.nn.functional.cross_entropy(logits, labels)
    assert Loss()(logits, labels) == plain
    weighed = Loss(torch.tensor([2.0, 1.0]), gamma=1e-9)(logits, labels)
    assert weighed.item() == pytest.approx(plain.item(), abs=1e-6), "weights alone change no mean of one segment"
    assert Loss(smoothing=0.2)(logits, labels) > 0


def test_lower_layers_learn_more_slowly() -> None:
    text = BertForSequenceClassification(BertConfig(**SHAPE))
    optimizer = trainer.optimizer_of(UserModel(text, None), replace(TINY, layer_decay=0.5, learning_rate=1.0))
    rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    layers = [rates[id(next(layer.parameters()))] for layer in text.bert.encoder.layer]
    assert layers == [0.25, 0.5, 1.0]
    assert rates[id(text.bert.embeddings.word_embeddings.weight)] == 0.125
    assert rates[id(text.classifier.weight)] == trainer.HEAD_SPEED


def test_accumulated_batches_make_one_step(tmp_path: Path) -> None:
    fitted = replace(TINY, batch_size=8, accumulate=2).fit(TRAIN, VALIDATION, _run(tmp_path))
    assert fitted.report["steps"] == 32
    assert float((fitted.predict(TEST).argmax(axis=1) == TEST.targets).mean()) > 0.8


POISON = """
import segadmin, torch

class Poison(segadmin.Tuner):
    name = "poison"
    def adapt(self, model, run):
        self.parts = list(model.parameters())
        self.trouble = %r
        return model
    def after_step(self, model, step):
        if step == 20 and self.trouble == "nan":
            self.parts[0].data.fill_(float("nan"))

@segadmin.hookimpl
def register_tuners():
    return [Poison]
"""


def _poisoned(tmp_path: Path, trouble: str) -> FitContext:
    plugin = tmp_path / f"{trouble}.py"
    plugin.write_text(POISON % trouble)
    run = _run(tmp_path / "fit")
    return replace(run, settings=run.settings.model_copy(update={"plugin_files": (plugin,)}))


def test_a_loss_that_is_no_number_ends_training_with_the_best_weights(tmp_path: Path) -> None:
    fitted = replace(TINY, tuner="poison").fit(TRAIN, VALIDATION, _poisoned(tmp_path, "nan"))
    assert fitted.report["diverged_at_step"] == 22
    assert fitted.report["best_step"] <= 20
    assert np.isfinite(fitted.predict(TEST)).all()


def test_a_loss_that_is_no_number_from_the_start_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"before anything was learnt. Learn more slowly"):
        replace(TINY, learning_rate=1e25, features=False).fit(TRAIN, VALIDATION, _run(tmp_path))


def test_the_loss_is_looked_up_only_now_and_then_and_never_saved_if_not_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "POINTS_PER_EPOCH", 1)
    logged: list[int] = []

    def log(step: int, figures: Any) -> None:
        logged.extend(step for name in figures if name == "training_loss")

    fitted = replace(TINY, tuner="poison").fit(TRAIN, VALIDATION, replace(_poisoned(tmp_path, "nan"), log=log))
    assert fitted.report["diverged_at_step"] == 22
    assert fitted.report["steps"] == 24, "where it would have been logged next"
    assert logged == [8, 16]
    assert {path.name for path in (tmp_path / "fit" / "trainer").glob("checkpoint-*")} <= {
        f"checkpoint-{step}" for step in (4, 8, 12, 16, 20)
    }
    assert np.isfinite(fitted.predict(TEST)).all()


def _update(folder: Path, parent: Path, tiny: Tiny = TINY, train: Examples = TRAIN) -> Any:
    return tiny.fit(train, VALIDATION, replace(_run(folder), start=parent, update=True))


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a version that was fitted on the training rows."""
    folder = tmp_path_factory.mktemp("parent")
    TINY.fit(TRAIN, VALIDATION, _run(folder)).save(folder / "saved")
    return folder / "saved"


def test_an_update_is_shorter_and_begins_where_the_parent_ended(tmp_path: Path, parent: Path) -> None:
    before = TINY.load(parent, Settings(home=tmp_path))
    updated = _update(tmp_path, parent)
    assert updated.report["epochs"] == 1 < before.report["epochs"]
    own = log_loss(before.predict(VALIDATION), VALIDATION.targets)
    assert updated.report["start_log_loss"] == pytest.approx(own, abs=2e-4)
    assert updated.scaling.to_json() == before.scaling.to_json()


def test_an_update_that_finds_nothing_better_returns_what_it_began_with(tmp_path: Path, parent: Path) -> None:
    before = TINY.load(parent, Settings(home=tmp_path))
    wrong = replace(TRAIN, frame=TRAIN.frame.with_columns(target=(pl.col("target") + 1) % len(TRAIN.segments)))
    updated = _update(tmp_path, parent, train=wrong)
    assert updated.report["kept_start"]
    np.testing.assert_allclose(updated.predict(TEST), before.predict(TEST), atol=1e-5)
    started_anew = TINY.fit(wrong, VALIDATION, replace(_run(tmp_path / "anew"), start=parent))
    assert "kept_start" not in started_anew.report


def test_an_update_that_finds_something_better_returns_that(tmp_path: Path) -> None:
    short = replace(TINY, epochs=1, head_steps=0)
    short.fit(TRAIN, VALIDATION, _run(tmp_path)).save(tmp_path / "saved")
    before = log_loss(short.load(tmp_path / "saved", Settings(home=tmp_path)).predict(VALIDATION), VALIDATION.targets)
    updated = _update(tmp_path / "update", tmp_path / "saved", replace(TINY, update_epochs=1.0, update_rate=1.0))
    assert not updated.report["kept_start"]
    assert log_loss(updated.predict(VALIDATION), VALIDATION.targets) < before


def test_an_interrupted_update_resumes_and_still_knows_where_it_began(tmp_path: Path, parent: Path) -> None:
    longer = replace(TINY, update_epochs=1.0)
    with pytest.raises(Killed):
        run = _run(tmp_path / "cut", _killer(0.6, Killed()))
        longer.fit(TRAIN, VALIDATION, replace(run, start=parent, update=True))
    resumed = _update(tmp_path / "cut", parent, longer)
    whole = _update(tmp_path / "whole", parent, longer)
    assert resumed.report["resumed_at_step"] > 0
    assert resumed.report["start_log_loss"] == whole.report["start_log_loss"]
    np.testing.assert_allclose(resumed.predict(TEST), whole.predict(TEST), atol=1e-4)
