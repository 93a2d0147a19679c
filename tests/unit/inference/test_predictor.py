"""One user text gives one answer: alone or among others, in evaluation, in the gate and in scoring."""

from __future__ import annotations

import shutil
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segadmin.contracts.plugins import load_plugins
from segadmin.inference import scoring
from segadmin.inference.predictor import Predictor, load_predictor
from segadmin.inference.scoring import scored_batches
from segadmin.models.manifest import Policy
from segadmin.settings import Settings
from segadmin.snapshots.read import assignments
from segadmin.storage import database
from segadmin.storage.database import transaction
from segadmin.storage.predictions import predictions_of
from segadmin.storage.records import ModelVersion
from tests.planted import Run, retrain

_EXAMPLES = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@lru_cache(maxsize=1)
def of_the_champion(home: Path) -> tuple[Predictor, pl.DataFrame]:
    """Return the champion, made unsure of some users, and the texts of all users; the home stays as it is."""
    with TemporaryDirectory() as folder:
        copy = shutil.copytree(home, Path(folder) / "home")
        return _champion(Settings(home=copy))


def _champion(settings: Settings) -> tuple[Predictor, pl.DataFrame]:
    with transaction(settings) as session:
        version = session.get_one(ModelVersion, 1)
    predictor = load_predictor(settings, load_plugins(settings), version)
    unsure = predictor.manifest.model_copy(update={"thresholds": (0.5, None, 0.6)})
    run = Run(settings, "score", {}).until("score")
    texts = pl.concat([run.read(step["scoring"]) for step in run.inputs["textualize"]]).sort("user_key")
    database.engine(settings).dispose()
    return Predictor(predictor.classifier, unsure), texts


@_EXAMPLES
@given(st.data())
def test_a_prediction_does_not_depend_on_other_users(trained_home: Path, data: st.DataObject) -> None:
    predictor, texts = of_the_champion(trained_home)
    rows = data.draw(st.lists(st.integers(0, texts.height - 1), min_size=1, max_size=60))
    whole = predictor.segment(texts)
    assert predictor.segment(texts[rows]).equals(whole[rows])


@_EXAMPLES
@given(size=st.integers(1, 300))
def test_the_size_of_batches_changes_nothing(trained_home: Path, size: int) -> None:
    predictor, texts = of_the_champion(trained_home)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scoring, "_BATCH", size)
        scores = pl.concat(scored_batches(texts, predictor, 1))
    columns = ["segment", "probability", "probabilities"]
    assert scores.select(columns).equals(predictor.segment(texts).select(columns))


def test_predictions_equal_those_of_evaluation_and_scoring(shop: Settings) -> None:
    with transaction(shop) as session:
        version = session.get_one(ModelVersion, 1)
    predictor = load_predictor(shop, load_plugins(shop), version)
    run = retrain(shop, seed=17).until("baselines")
    training = pl.concat([run.read(step["training"]) for step in run.inputs["textualize"]])
    kept = predictions_of(shop, version).rows
    tested = kept.select("user_key", "as_of").join(training, on=["user_key", "as_of"], maintain_order="left")
    predicted = predictor.segment(tested)["probabilities"]
    assert np.allclose(predicted.to_list(), kept["probabilities"].to_list(), atol=1e-6)

    rescored = Run(shop, "score", {}).until("publish")
    scores = pl.concat([rescored.read(step["scores"]) for step in rescored.inputs["score"]]).sort("user_key")
    before = assignments(shop, 1).sort("user_key").collect()
    assert scores["segment"].equals(before["segment"])
    assert np.allclose(scores["probabilities"].to_list(), before["probabilities"].to_list(), atol=1e-6)


def test_every_step_of_the_answer_counts(trained_home: Path) -> None:
    predictor, texts = of_the_champion(trained_home)
    given_now = predictor.segment(texts)
    assert given_now["segment"].null_count() > 0, "the thresholds leave some in no segment"
    common = Policy(prior=(0.2, 0.3, 0.5), answers=("prior",) * 8)
    cold = Predictor(predictor.classifier, predictor.manifest.model_copy(update={"policy": common}))
    assert np.allclose(cold.probabilities(cold.examples(texts)), [0.2, 0.3, 0.5])
    flat = predictor.manifest.model_copy(
        update={"calibration": predictor.manifest.calibration.model_copy(update={"temperature": 10.0})}
    )
    softened = Predictor(predictor.classifier, flat).segment(texts)["probability"]
    assert softened.mean() < given_now["probability"].mean()  # type: ignore[operator]
    low = tuple((0.0, 0.0) for _ in predictor.features)
    clipped = Predictor(
        predictor.classifier, predictor.manifest.model_copy(update={"feature_limits": low, "policy": None})
    )
    assert clipped.segment(texts)["probability"].n_unique() < given_now["probability"].n_unique()
