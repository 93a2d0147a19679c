"""Whether pictures of products reach the segments: a shop whose items' looks, and nothing else, decide them.

Every four weeks the shop has other items, each with a generated picture: of warm or cool colours, striped or dotted.
Titles, categories and prices are random. In each season every user prefers one of the four looks, another than
before. So neither a model without pictures nor one that knows single items can tell the segment of a later season.
The pictures are imported (``--source images``), and the jobs are the real ones, run in this process: ``retrain`` with
``--modality visual-words`` and without. Prints macro-F1 and AUROC on the test seasons. Last line: JSON.

    python -m bench.pictures [--users 400] [--items 30] [--backbones tfidf,tabular,tiny] [--seeds 1]
"""

from __future__ import annotations

import argparse
import colorsys
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image
from sqlmodel import select
from tests.planted import through_the_engine

from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.records import Evaluation

LOOKS = ("warm-stripes", "warm-dots", "cool-stripes", "cool-dots")
LABELS = "taste"
START = datetime(2025, 1, 6, tzinfo=UTC)
SEASON = timedelta(days=28)
#: How often a user takes an item of the preferred look; the other items are taken from all looks alike.
FAITHFUL = 0.6
_CATEGORIES = ("shirts", "mugs", "bags", "cushions", "posters")
_SYLLABLES = ("ma", "ri", "lo", "ten", "ka", "vi", "su", "no", "del", "fa")
#: Pixels of a side, and the hues (of a circle of 1) of each palette.
_SIDE, _HUES = 80, {"warm": (0.97, 1.13), "cool": (0.5, 0.68)}


@dataclass(frozen=True)
class Shop:
    """The files of a shop."""

    images: Path  #: a folder
    items: Path
    events: Path
    labels: Path


def draw(look: str, random: np.random.Generator) -> Image.Image:
    """Return a picture of a look: one of many colours, widths, angles, sizes and backgrounds."""
    palette, _, texture = look.partition("-")
    hue = random.uniform(*_HUES[palette]) % 1
    colour = _rgb(hue, random.uniform(0.55, 0.95), random.uniform(0.45, 0.95))
    background = _rgb(random.uniform(0, 1), random.uniform(0, 0.08), random.uniform(0.75, 1))
    mask = _stripes(random) if texture == "stripes" else _dots(random)
    pixels = np.where(mask[..., None], colour, background) + random.normal(0, 4, (_SIDE, _SIDE, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _rgb(hue: float, saturation: float, value: float) -> NDArray[np.float64]:
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value)) * 255


def _stripes(random: np.random.Generator) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    angle, width = random.uniform(0, np.pi), random.uniform(8, 20)
    across = rows * np.sin(angle) + columns * np.cos(angle) + random.uniform(0, width)
    return across % width < width * random.uniform(0.35, 0.6)


def _dots(random: np.random.Generator) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    step = random.uniform(10, 22)
    down, right = ((axis + random.uniform(0, step)) % step - step / 2 for axis in (rows, columns))
    return np.hypot(down, right) < step * random.uniform(0.28, 0.42)


def make_shop(folder: Path, users: int, items_per_look: int, seasons: int, seed: int) -> Shop:
    """Write a shop's pictures and tables below ``folder``."""
    random = np.random.default_rng(seed)
    shop = Shop(folder / "images", *(folder / f"{name}.parquet" for name in ("items", "events", "labels")))
    shop.images.mkdir(parents=True)
    items, events, labels = [], [], []
    for season in range(seasons):
        begin = START + season * SEASON
        names = {look: [f"s{season}-{n:04}" for n in _numbers(look, items_per_look)] for look in LOOKS}
        for look, of_look in names.items():
            for name in of_look:
                draw(look, random).save(shop.images / f"{name}.png")
                items.append({"item": name, "title": _title(random), "category": str(random.choice(_CATEGORIES))})
        for user in range(users):
            taste = str(random.choice(LOOKS))
            labels.append({"user": f"u{user}", "segment": taste, "observed_from": begin, "as_of": begin + SEASON})
            for _ in range(random.poisson(12) + 4):
                look = taste if random.random() < FAITHFUL else str(random.choice(LOOKS))
                events.append(
                    {
                        "user": f"u{user}",
                        "kind": str(random.choice(["view", "view", "cart", "purchase"])),
                        "item": str(random.choice(names[look])),
                        "at": begin + random.random() * SEASON,
                        "price": round(float(random.uniform(5, 50)), 2),
                    }
                )
    for rows, path in ((items, shop.items), (events, shop.events), (labels, shop.labels)):
        pl.DataFrame(rows).write_parquet(path)
    return shop


def _numbers(look: str, count: int) -> range:
    """Return the numbers of a look's items, which alternate with those of the others."""
    return range(LOOKS.index(look), count * len(LOOKS), len(LOOKS))


def _title(random: np.random.Generator) -> str:
    return "".join(random.choice(_SYLLABLES, size=3)).title()


def take_in(settings: Settings, shop: Shop) -> float:
    """Import the shop; return the seconds that its pictures took."""
    for table, path, more in (
        ("items", shop.items, {}),
        ("events", shop.events, {}),
        ("labels", shop.labels, {"label_set": LABELS, "segments": LOOKS}),
    ):
        import_file(settings, ImportRequest(table, str(path), **more))
    began = time.perf_counter()
    import_file(settings, ImportRequest("items", str(shop.images), source="images"))
    return time.perf_counter() - began


def train(settings: Settings, backbone: str, seed: int, *, pictures: bool, **more: Any) -> dict[str, float]:
    """Retrain and return the metrics on the test seasons."""
    options = {"modality": "visual-words"} if pictures else {}
    request = {"labels": LABELS, "backbone": backbone, "baselines": [], "window_days": SEASON.days, "seed": seed}
    job = through_the_engine(settings, "retrain", request | {"margin": -1} | options | more)
    with transaction(settings) as session:
        [row] = session.exec(
            select(Evaluation).where(
                Evaluation.job_id == job, Evaluation.split == "test", Evaluation.name != "majority"
            )
        ).all()
        return {name: row.metrics[name] for name in ("macro_f1", "auroc")}


def main() -> None:
    """Make a shop for each seed, train with and without its pictures, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=400)
    parser.add_argument("--items", type=int, default=30, help="items of each look in a season")
    parser.add_argument("--seasons", type=int, default=5)
    parser.add_argument("--backbones", default="tfidf,tabular,tiny")
    parser.add_argument("--seeds", type=int, default=1)
    wanted = parser.parse_args()
    results: dict[str, dict[str, list[dict[str, float]]]] = {}
    seconds = []
    for seed in range(wanted.seeds):
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(home=Path(folder) / "home", buckets=2)
            shop = make_shop(Path(folder), wanted.users, wanted.items, wanted.seasons, seed)
            seconds.append(take_in(settings, shop))
            for backbone in wanted.backbones.split(","):
                for pictures in (True, False):
                    metrics = train(settings, backbone, 17 + seed, pictures=pictures)
                    way = "with pictures" if pictures else "without"
                    results.setdefault(backbone, {}).setdefault(way, []).append(metrics)
                    print(seed, backbone, way, {name: round(value, 4) for name, value in metrics.items()}, flush=True)
    medians = {
        backbone: {
            way: {name: round(statistics.median(row[name] for row in rows), 4) for name in rows[0]}
            for way, rows in ways.items()
        }
        for backbone, ways in results.items()
    }
    images = wanted.items * len(LOOKS) * wanted.seasons
    print(
        json.dumps(
            {
                "bench": "pictures",
                "users": wanted.users,
                "images": images,
                "seeds": wanted.seeds,
                "images_per_second": round(images / statistics.median(seconds), 1),
                "results": medians,
            }
        )
    )


if __name__ == "__main__":
    main()
