"""From pictures in a folder to segments: the real jobs on a shop whose items' looks decide them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from bench.pictures import LABELS, LOOKS, Shop, make_shop, take_in, train
from sqlmodel import select

from segadmin.events.cells import readable
from segadmin.events.mapping import Mapping
from segadmin.inference.live_items import LiveItems
from segadmin.inference.live_models import LiveModel, champion
from segadmin.inference.online import UserEvents, score_users
from segadmin.models.manifest import manifest_of
from segadmin.settings import Settings
from segadmin.snapshots.read import assignments, find_snapshot
from segadmin.snapshots.user import read_text
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import ModelVersion
from tests.conftest import Cli
from tests.planted import through_the_engine


@pytest.fixture
def shop(settings: Settings, tmp_path: Path) -> Shop:
    settings.root.mkdir(parents=True, exist_ok=True)
    # The same users are held out in every run: with so few of them the metrics depend on who they are.
    (settings.root / "user_key_secret").write_text("0123456789abcdef" * 4)
    made = make_shop(tmp_path, users=60, items_per_look=8, seasons=4, seed=1)
    take_in(settings.model_copy(update={"buckets": 2}), made)
    return made


def test_pictures_decide_the_segments(settings: Settings, shop: Shop, cli: Cli) -> None:
    with_pictures = train(settings, "tfidf", 17, pictures=True)
    without = train(settings, "tfidf", 17, pictures=False)
    assert with_pictures["macro_f1"] > 0.7
    assert without["macro_f1"] < 0.5
    with transaction(settings) as session:
        first, second = session.exec(select(ModelVersion).order_by(ModelVersion.id)).all()  # type: ignore[arg-type]
        manifest, plain = manifest_of(first), manifest_of(second)
    recipe = manifest.recipe
    assert recipe.modality is not None
    assert (recipe.modality.name, recipe.modality.vector, recipe.modality.length) == ("visual-words", "image", 200)
    assert plain.recipe.modality is None
    assert not plain.recipe.words
    assert {f"word:{word}" for word in recipe.words} <= set(manifest.features)
    assert "visual-words version 1 of the vectors image" in cli("models", "show", "1").stdout
    assert "vectors: image of 128 items" in cli("data", "list").stdout


def test_scores_texts_and_requests_have_the_same_words(settings: Settings, shop: Shop) -> None:
    train(settings, "tfidf", 17, pictures=True)
    through_the_engine(settings, "score", {})
    with transaction(settings) as session:
        snapshot = find_snapshot(session, "current", LABELS)
    hashes = [assignments(settings, n).sort("user_key").collect()["phrase_hash"] for n in (1, snapshot.id or 0)]
    assert hashes[0].equals(hashes[1])  # the same words, so the same texts
    stored = {row["user_key"]: row for row in assignments(settings, snapshot.id or 0).collect().iter_rows(named=True)}
    model = LiveModel.load(settings, champion(settings))
    items = LiveItems(settings)
    users = Lake.of(settings).scan("users").collect()
    for key, user in users.select("user_key", "user").head(20).iter_rows():
        events = Lake.of(settings).scan("events").filter(pl.col("user_key") == key).collect()
        posted = readable(events.select("kind", "item", "price", at=pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")))
        [scored] = score_users(settings, model, items, [UserEvents(user, posted, snapshot.as_of)], mapping=Mapping())
        assert list(scored.probabilities) == list(LOOKS)
        assert list(scored.probabilities.values()) == pytest.approx(stored[key]["probabilities"], abs=1e-6)
    words = manifest_of(model.version).recipe.words
    text = " ".join(read_text(settings, users["user_key"][0], model.version.id or 0))
    assert any(word in text for word in words)
    _redraw(settings)
    through_the_engine(settings, "refresh", {})
    with transaction(settings) as session:
        assert find_snapshot(session, "current", LABELS).rescored > 50  # other pictures, other words


def _redraw(settings: Settings) -> None:
    """Give every item the picture of another one."""
    lake = Lake.of(settings)
    vectors = lake.scan("item_vectors").sort("item").collect()
    others = pl.concat([vectors["vector"][1:], vectors["vector"][:1]])
    lake.overwrite("item_vectors", vectors.with_columns(vector=others))


def test_a_job_without_vectors_names_the_fix(settings: Settings, shop: Shop, cli: Cli) -> None:
    lake = Lake.of(settings)
    lake.overwrite("item_vectors", lake.scan("item_vectors").head(0).collect())
    job = through_the_engine(settings, "textualize", {"modality": "visual-words"})
    shown = cli("jobs", "show", str(job)).stdout
    assert "No item has a vector, which --modality visual-words reads." in " ".join(shown.split())
    slip = cli("enqueue", "retrain", "--modality", "visual-wrds", check=False).stderr
    assert "There is no modality 'visual-wrds'. Did you mean 'visual-words'?" in slip
    alone = cli("enqueue", "retrain", "--modality-vector", "image", check=False).stderr
    assert "--modality-vector image needs a modality. Add --modality visual-words" in alone
