"""The models that answer requests: loaded beside the one that answers, which is replaced only by one that works."""

from __future__ import annotations

import re
import shutil
import threading
from pathlib import Path

import polars as pl
import pytest

from segadmin.errors import DataError, StorageError
from segadmin.events.items import OF_ITEMS
from segadmin.files import folder_digest
from segadmin.inference.live_items import LiveItems
from segadmin.inference.live_models import LiveModel, LiveModels, ModelIsLoading
from segadmin.models.registry import make_champion, promote_version
from segadmin.settings import Settings
from segadmin.storage import api_keys
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import ROLES, ModelVersion, Scope
from segadmin_api.http.segments import Scoring
from tests.servers import wait_until


def loaded(models: LiveModels) -> LiveModel | None:
    try:
        return models.find()
    except ModelIsLoading:
        return None


def another_version(settings: Settings, *, damaged: bool = False) -> int:
    """Register a copy of the champion, and promote it unless its files are damaged; return its number."""
    with transaction(settings) as session:
        champion = session.get_one(ModelVersion, 1)
        folder = f"{Path(champion.folder).parent}/another"
        shutil.copytree(settings.store_path / champion.folder, settings.store_path / folder)
        facts = champion.model_dump(exclude={"id", "folder"})
        version = ModelVersion(**facts, folder=folder)
        session.add(version)
        session.flush()
        number = version.id or 0
    if not damaged:
        promote_version(settings, str(number))
    for path in (settings.store_path / folder).rglob("*") if damaged else ():
        if path.is_file():
            path.write_bytes(b"damaged")
    return number


def test_a_champion_answers_as_soon_as_it_is_loaded(shop: Settings) -> None:
    models = LiveModels(shop)
    with pytest.raises(ModelIsLoading, match="Model version 1 is being loaded"):
        models.find()
    wait_until(lambda: loaded(models) is not None, 60, "the champion is loaded")
    assert models.find().version.id == 1


def test_the_champion_before_answers_while_the_new_one_is_loaded(shop: Settings) -> None:
    models = LiveModels(shop)
    wait_until(lambda: loaded(models) is not None, 60, "the champion is loaded")
    number = another_version(shop)
    assert models.find().version.id == 1
    wait_until(lambda: models.find().version.id == number, 60, "the new champion answers")


def test_a_champion_that_cannot_be_loaded_does_not_replace_the_one_before(
    shop: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    models = LiveModels(shop)
    wait_until(lambda: loaded(models) is not None, 60, "the champion is loaded")
    number = another_version(shop, damaged=True)
    with pytest.raises(StorageError, match="is damaged"):
        promote_version(shop, str(number))
    with transaction(shop) as session:  # its files were damaged afterwards
        make_champion(session, session.get_one(ModelVersion, number), expected=1)
    is_noticed = f"model {number} cannot be used"
    wait_until(lambda: models.find().version.id == 1 and is_noticed in caplog.text, 60, "the load fails")
    assert models.find().version.id == 1
    without_predecessor = LiveModels(shop)
    with pytest.raises(StorageError):
        wait_until(lambda: loaded(without_predecessor) is not None, 60, "the load fails")


def test_a_champion_that_answers_with_nan_does_not_replace_the_one_before(
    shop: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    models = LiveModels(shop)
    wait_until(lambda: loaded(models) is not None, 60, "the champion is loaded")
    with transaction(shop) as session:
        champion = session.get_one(ModelVersion, 1)
        folder = shop.store_path / champion.folder
    draft = folder.with_name("nan")
    shutil.copytree(folder, draft)
    trees = re.sub(r"(?m)^tree_sizes=.*\n", "", (draft / "trees.txt").read_text())
    leaves = re.sub(r"(?m)^leaf_value=.*$", lambda line: re.sub(r"[^ =]+(?= |$)", "nan", line[0]), trees)
    (draft / "trees.txt").write_text(leaves)
    with transaction(shop) as session:
        facts = champion.model_dump(exclude={"id", "folder", "sha256"})
        relative = str(draft.relative_to(shop.store_path))
        version = ModelVersion(**facts, folder=relative, sha256=folder_digest(draft))
        session.add(version)
        session.flush()
        number = version.id or 0
        make_champion(session, version, expected=1)
    is_noticed = f"model {number} cannot be used"
    wait_until(lambda: models.find().version.id == 1 and is_noticed in caplog.text, 60, "the load fails")
    assert models.find().version.id == 1


def test_only_keys_of_services_have_models_loaded_before_anybody_scores(
    shop: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    scoring = Scoring(shop, waiting=1)
    for role in ROLES:
        api_keys.create(shop, f"the {role}", role)
    scoring.warm_up()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("load-model")]
    api_keys.create(shop, "the shop", Scope.SEGMENTS)
    scoring.warm_up()
    wait_until(lambda: "model 1 is live" in caplog.text, 60, "the champion is loaded")


def test_without_a_champion_there_is_nothing_to_load(settings: Settings) -> None:
    models = LiveModels(settings)
    models.warm_up()
    with pytest.raises(DataError, match="There is no champion model yet"):
        models.find()


def test_items_are_found_and_an_import_is_noticed(shop: Settings) -> None:
    items = LiveItems(shop)
    table = Lake.of(shop).scan("items").collect()
    assert table.height > 3
    wanted = pl.Series(["nothing", table["item"][2], table["item"][0], table["item"][2], None])
    rows = items.of(wanted).sort("item")
    expected = table.filter(pl.col("item").is_in(wanted.drop_nulls().to_list())).sort("item")
    assert rows.select("item", *OF_ITEMS).equals(expected.select("item", *OF_ITEMS))
    assert items.of(pl.Series([None], dtype=pl.String)).is_empty()
    assert items.of(pl.Series(["nothing"])).is_empty()
    Lake.of(shop).append("items", table.head(1).with_columns(item=pl.lit("a new one")))
    assert items.of(pl.Series(["a new one"])).height == 1
