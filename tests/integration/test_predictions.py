"""What a version said of its test rows: kept once whatever dies, erased user by user, and told where it is gone."""

from __future__ import annotations

import base64
import json
import shutil
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from sqlmodel import select

from segadmin.errors import DataError, StorageError
from segadmin.events.erase import forget
from segadmin.models.card import card_of
from segadmin.models.registry import compare_versions
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.predictions import keep_predictions, predictions_of
from segadmin.storage.records import Job, JobState, ModelVersion
from segadmin_api.dashboard.model_card import page as card_page
from tests.conftest import Cli
from tests.planted import planted_users, retrain
from tests.servers import web_server


def version_of(settings: Settings, number: int = 1) -> ModelVersion:
    with transaction(settings) as session:
        return session.get_one(ModelVersion, number)


def kept(settings: Settings) -> pl.DataFrame:
    return Lake.of(settings).scan("predictions").collect()


def end_jobs(settings: Settings) -> None:
    with transaction(settings) as session:
        for job in session.exec(select(Job)).all():
            job.state = JobState.SUCCEEDED


def users_of_test_rows(settings: Settings) -> list[str]:
    """Return the shop's ids of the users of the test rows."""
    keys = predictions_of(settings, version_of(settings)).rows["user_key"].unique()
    return planted_users(settings).filter(pl.col("user_key").is_in(keys.implode()))["user"].sort().to_list()


def test_cards_and_comparisons_work_after_erasures(shop: Settings, cli: Cli, tmp_path: Path) -> None:
    retrain(shop, seed=5).all()
    end_jobs(shop)
    before = predictions_of(shop, version_of(shop))
    gone = users_of_test_rows(shop)[:3]
    keys = planted_users(shop).filter(pl.col("user").is_in(gone))["user_key"]
    rows = before.rows.filter(pl.col("user_key").is_in(keys.implode())).height
    erasures = forget(shop, gone)
    assert sum(erasure.rows["predictions"] for erasure in erasures) >= rows > 0
    assert not (shop.store_path / "work").exists()
    after = predictions_of(shop, version_of(shop))
    assert (before.erased, after.erased, after.rows.height) == (0, rows, before.rows.height - rows)
    page = card_page(card_of(shop, "1"))
    whole = f"{before.rows.height:,}"
    assert f"{rows:,} of {whole} test rows were erased with their users after the metrics above were computed" in page
    assert "Calibration" in page and "Limits" in page
    pair = compare_versions(shop, "1", "2")
    assert pair.erased >= rows
    assert "Erased with their users since the versions were tested" in cli("models", "compare", "1", "2").stdout
    assert json.loads(cli("models", "show", "1", "--json").stdout)["evaluations"]


def test_an_attempt_that_crashed_after_its_write_leaves_no_duplicates(shop: Settings) -> None:
    run = retrain(shop, seed=5).until("evaluate")
    [attempt] = run.attempts("evaluate")
    before = kept(shop).height
    run.call(attempt)  # it dies before it counts
    once = kept(shop).height
    assert once > before
    [second] = run.attempts("evaluate", number=2)
    run.inputs["evaluate"] = [run.finish(run.call(second))]
    run.call(replace(attempt))  # and one that was only thought dead comes last
    assert kept(shop).height == once
    version = version_of(shop, run.inputs["evaluate"][0]["model_version_id"])
    predictions = predictions_of(shop, version)
    assert (predictions.rows.height, predictions.erased) == (version.manifest["predictions"]["rows"], 0)
    assert predictions.rows.select("user_key", "as_of").is_unique().all()


def test_predictions_of_two_artifacts_of_a_job_are_kept_apart(shop: Settings) -> None:
    version = version_of(shop)
    rows = predictions_of(shop, version).rows
    keep_predictions(shop, version.job_id, "another artifact", rows.head(5))
    assert predictions_of(shop, version).rows.equals(rows)
    assert predictions_of(shop, version.model_copy(update={"sha256": "another artifact"})).rows.height == 5


def test_concurrent_jobs_lose_no_predictions(shop: Settings) -> None:
    rows = predictions_of(shop, version_of(shop)).rows
    before = kept(shop).height
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: keep_predictions(shop, 100 + n, "x", rows), range(6)))
    assert kept(shop).height == before + 6 * rows.height


def test_the_same_rows_written_concurrently_are_kept_once(shop: Settings) -> None:
    rows = predictions_of(shop, version_of(shop)).rows
    before = kept(shop).height

    def keep(_: int) -> bool:
        try:
            keep_predictions(shop, 100, "x", rows)
        except StorageError:  # another one was first; the step is tried again, and finds it
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(keep, range(8)))
    assert any(done)
    assert keep(0)
    assert kept(shop).height == before + rows.height


def made_before(settings: Settings) -> Path:
    """Make version 1 one of an older segadmin, whose predictions are in the work folder; return their path."""
    from segadmin.files import file_digest

    version = version_of(settings)
    rows = predictions_of(settings, version).rows
    path = settings.store_path / "work" / "job-1" / "evaluate-1" / "predictions-tabular-0.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(path)
    written = {"path": str(path.relative_to(settings.store_path)), "sha256": file_digest(path), "rows": rows.height}
    with transaction(settings) as session:
        old = session.get_one(ModelVersion, 1)
        old.manifest = old.manifest | {"predictions": written}
    shutil.rmtree(settings.store_path / "lake" / "predictions")
    return path


def test_an_older_version_keeps_its_card_when_users_are_erased(shop: Settings) -> None:
    end_jobs(shop)
    gone = users_of_test_rows(shop)[0]
    path = made_before(shop)
    whole = predictions_of(shop, version_of(shop)).rows
    assert kept(shop).is_empty()
    assert "Calibration" in card_page(card_of(shop, "1"))
    forget(shop, [gone])
    assert not path.exists()
    left = predictions_of(shop, version_of(shop))
    assert 0 < left.erased == whole.height - left.rows.height
    assert "Calibration" in card_page(card_of(shop, "1"))
    forget(shop, users_of_test_rows(shop)[:1])
    assert predictions_of(shop, version_of(shop)).erased > left.erased


def test_the_card_reports_missing_predictions(shop: Settings, cli: Cli, tmp_path: Path) -> None:
    end_jobs(shop)
    made_before(shop).unlink()
    with pytest.raises(
        DataError, match=r"The predictions of version 1 for its .* test rows no longer exist.*models show 1"
    ):
        compare_versions(shop, "1", "1")
    cli("models", "card", "1", "--out", str(tmp_path / "card.html"))
    page = (tmp_path / "card.html").read_text()
    assert "no longer exist" in page
    assert "Metrics on the test rows, with baselines" in page and "Training data and versions" in page
    assert "Calibration" not in page


def test_the_card_of_a_version_whose_test_users_are_all_erased(shop: Settings, cli: Cli) -> None:
    end_jobs(shop)
    forget(shop, users_of_test_rows(shop))
    key = cli("keys", "create", "people", "--pages").stdout.split()[0]
    login = base64.b64encode(f"anybody:{key}".encode()).decode()
    with web_server(shop) as url:
        request = urllib.request.Request(f"{url}/models/1", headers={"Authorization": f"Basic {login}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            page = answer.read().decode()
    assert "all of those users were erased" in page
    assert "Training data and versions" in page
