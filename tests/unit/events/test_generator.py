"""The made-up shop: the same bytes every time, exactly the dirt it tells of, and segments that can be learnt."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import f1_score

from segadmin.errors import DataError
from segadmin.events.generator import shop
from segadmin.events.generator.shop import Plan, catalogue, make
from segadmin.events.generator.write import write
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.settings import Settings

SMALL = Plan(users=300, days=40, locale="zh", seed=3, bot_share=0.01, duplicate_share=0.02, dirty_share=0.02)


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_the_same_plan_makes_the_same_bytes(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop, "BLOCK_USERS", 100)
    for name in ("a", "b"):
        write(SMALL, tmp_path / name, form)  # type: ignore[arg-type]
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert len(list((tmp_path / "a" / "events").glob("part-*"))) == 3
    write(SMALL.model_copy(update={"seed": 4}), tmp_path / "c", form)  # type: ignore[arg-type]
    assert digests(tmp_path / "a") != digests(tmp_path / "c")


def test_a_block_does_not_depend_on_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop, "BLOCK_USERS", 100)
    items = catalogue(SMALL)
    last = make(SMALL, 2, items)
    make(SMALL, 0, items)
    assert last.events.equals(make(SMALL, 2, items).events)


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_an_import_finds_exactly_what_was_planted(settings: Settings, tmp_path: Path, form: str) -> None:
    planted = write(SMALL, tmp_path / "shop", form)  # type: ignore[arg-type]
    done = [
        import_file(settings, ImportRequest("events", str(path)))[0] for path in (tmp_path / "shop/events").iterdir()
    ]
    reasons: dict[str, int] = {}
    for record in done:
        reasons |= record.reasons
    assert reasons == {reason: count for reason, count in planted["quarantine"].items() if count}
    assert min(planted["quarantine"].values()) > 0
    assert (sum(record.rows_read for record in done), sum(record.rows_kept for record in done)) == (
        planted["rows"],
        planted["usable"],
    )
    labels, _ = import_file(
        settings, ImportRequest("labels", str(tmp_path / "shop/labels.parquet"), label_set="planted")
    )
    assert labels.rows_kept == pl.read_parquet(tmp_path / "shop/truth.parquet").filter(~pl.col("is_bot")).height


def _numbers(events: pl.DataFrame, truth: pl.DataFrame) -> pl.DataFrame:
    kinds = {kind: (pl.col("kind") == kind).mean() for kind in ("view", "cart", "purchase", "rating", "review")}
    shares = {category: (pl.col("category") == category).mean() for category in events["category"].unique().sort()}
    per_user = events.group_by("user").agg(
        pl.len(),
        pl.col("price").mean(),
        pl.col("at").max().cast(pl.Int64),
        pl.col("at").dt.hour().mean().alias("hour"),
        **kinds,
        **shares,
    )
    return truth.join(per_user, on="user").sort("user")


def test_the_segments_can_be_learnt_and_drift_shows() -> None:
    plan = Plan(users=1_500, days=120, seed=1, drift_day=60, drift_share=0.3, bot_share=0, cold_share=0)
    items = catalogue(plan)
    block = make(plan, 0, items)
    events = block.events.join(items.select("item", "category"), on="item")
    drift = pl.col("at") >= plan.since + pl.duration(days=60)
    numbers = _numbers(events.filter(~drift), block.truth)
    names = [name for name in numbers.columns if name not in block.truth.columns]
    model = HistGradientBoostingClassifier(random_state=0, max_iter=60)
    half = numbers.height // 2
    model.fit(numbers[names][:half].to_numpy(), numbers["segment"][:half].to_list())
    guessed = model.predict(numbers[names][half:].to_numpy())
    assert f1_score(numbers["segment"][half:].to_list(), guessed, average="macro") > 0.8
    later = _numbers(events.filter(drift), block.truth).filter(pl.col("drift_day").is_not_null())
    purchases = later.group_by("segment_after_drift").agg(pl.col("purchase").mean())
    share = dict(purchases.iter_rows())
    assert share["window_shopper"] < 0.1 < share["loyal"]


def test_cold_users_and_bots_match_the_plan() -> None:
    plan = Plan(users=2_000, days=60, cold_share=0.3, bot_share=0.01)
    block = make(plan, 0, catalogue(plan))
    counts = block.events.unique("event_id").group_by("user").len().join(block.truth, on="user")
    assert counts.filter("is_cold")["len"].max() <= 3
    assert set(counts.filter("is_bot")["len"]) == {shop.BOT_EVENTS}
    assert np.isclose(block.truth["is_cold"].mean(), 0.3, atol=0.05)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(DataError, match="is not empty"):
            write(SMALL, tmp_path, overwrite=overwrite)
    assert (tmp_path / "mine.txt").read_text() == "precious"
    write(SMALL, tmp_path / "shop")
    with pytest.raises(DataError, match="or add --overwrite"):
        write(SMALL, tmp_path / "shop")
    write(SMALL, tmp_path / "shop", overwrite=True)
