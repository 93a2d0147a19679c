"""A folder of pictures: each becomes a vector, and what cannot be used is named."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from bench.pictures import draw
from PIL import Image

from segadmin.errors import ConfigurationError, DataError
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.preview import preview
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from segadmin.storage.records import Import
from segadmin_plugins.sources.image_descriptor import LENGTH, SIDE, describe, lab
from segadmin_plugins.sources.images import Images


def picture(look: str, seed: int = 0) -> Image.Image:
    return draw(look, np.random.default_rng(seed))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "pictures"
    (path / "more").mkdir(parents=True)
    picture("warm-dots").save(path / "lamp.png")
    picture("cool-stripes").save(path / "more" / "mug.jpg")
    return path


def take(settings: Settings, folder: Path) -> tuple[Import, bool]:
    return import_file(settings, ImportRequest("items", str(folder), source="images"))


def quarantine(settings: Settings) -> dict[str, str]:
    rows = Lake.of(settings).scan("quarantine").collect()
    texts = rows["row"].str.json_path_match("$['segadmin:row']")
    return dict(zip(texts, rows["reason"], strict=True))


def test_pictures_become_vectors_of_items(settings: Settings, folder: Path) -> None:
    record, fresh = take(settings, folder)
    assert (fresh, record.rows_kept, record.rows_quarantined) == (True, 2, 0)
    vectors = Lake.of(settings).scan("item_vectors").sort("item").collect()
    assert vectors.select("item", "name").rows() == [("lamp", "image"), ("mug", "image")]
    assert set(vectors["vector"].list.len()) == {LENGTH}
    assert Lake.of(settings).scan("items").collect()["item"].to_list() == ["lamp", "mug"]


def test_the_same_pictures_are_imported_once(settings: Settings, folder: Path) -> None:
    take(settings, folder)
    assert take(settings, folder)[1] is False
    picture("warm-stripes").save(folder / "lamp.png")
    assert take(settings, folder)[1] is True
    assert Lake.of(settings).scan("item_vectors").collect().height == 2


def test_files_that_cannot_be_read_go_to_quarantine(settings: Settings, folder: Path) -> None:
    whole = (folder / "lamp.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").touch()
    (folder / "notes.txt").write_text("no picture at all")
    (folder / "more" / "lamp.webp").write_bytes(whole)
    (folder / ".DS_Store").write_text("hidden")
    (folder / "mug .png").write_bytes(whole)  # an import takes the space from the id
    (folder / os.fsdecode(b"\xff.png")).write_bytes(whole)
    record, _ = take(settings, folder)
    assert record.reasons == {"unreadable_image": 4, "second_image": 2}
    reasons = quarantine(settings)
    assert reasons["notes.txt: no picture"] == reasons["empty.png: no picture"] == "unreadable_image"
    assert reasons["more/lamp.webp: the item has lamp.png"] == "second_image"
    assert any(text.startswith("cut.png: ") for text in reasons)
    assert any(text.endswith(".png: the name is not UTF-8") for text in reasons)
    assert Lake.of(settings).scan("item_vectors").collect()["item"].sort().to_list() == ["lamp", "mug"]


def test_a_picture_of_too_many_pixels_is_not_decoded(
    settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 6_000)
    Image.new("RGB", (50, 50), "red").save(folder / "small.png")
    assert take(settings, folder)[0].reasons == {"unreadable_image": 2}
    assert all("exceeds limit" in text for text in quarantine(settings))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_permission_is_named(settings: Settings, folder: Path) -> None:
    (folder / "lamp.png").chmod(0)
    assert take(settings, folder)[0].reasons == {"unreadable_image": 1}
    assert "lamp.png: Permission denied" in quarantine(settings)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("empty", r"The folder .*empty has no pictures\. Check the path\."),
        ("notes.txt", r"notes.txt is a file\. The source 'images' reads a folder of pictures"),
        ("nowhere", r"nowhere does not exist\. The source 'images' reads a folder"),
    ],
)
def test_a_place_without_pictures_is_refused(settings: Settings, tmp_path: Path, place: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no folder")
    with pytest.raises(DataError, match=message):
        take(settings, tmp_path / place)


def test_a_folder_without_the_source_names_it(settings: Settings, folder: Path) -> None:
    with pytest.raises(DataError, match=r"is a folder\. .*a folder of pictures: --source images"):
        import_file(settings, ImportRequest("items", str(folder)))


def test_without_pillow_the_extra_is_named(settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'segadmin\[images\]'"):
        take(settings, folder)


def test_a_preview_describes_pictures_too(settings: Settings, folder: Path) -> None:
    shown = preview(settings, ImportRequest("items", str(folder), source="images"), 10)
    assert [(field.field, field.examples) for field in shown.fields] == [
        ("item", ["lamp", "mug"]),
        ("vector:image", ["200 numbers"]),
    ]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGBA", "CMYK", "I;16"])
def test_pictures_of_every_kind_are_read(tmp_path: Path, mode: str) -> None:
    image = picture("warm-dots").convert("L").convert("I").convert("I;16") if mode == "I;16" else picture("warm-dots")
    image = image if mode == "I;16" else image.convert(mode)
    image.save(tmp_path / ("a.tiff" if mode == "CMYK" else "a.png"))
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    [chunk] = Images().chunks(str(tmp_path), 100)
    assert chunk["item"].to_list() == ["a", "dot"]
    assert chunk["image"].list.len().to_list() == [LENGTH, LENGTH]
    assert chunk["image"].list.eval(pl.element().is_finite()).list.all().all()


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    image.save(tmp_path / "clear.png")
    Image.new("RGB", (20, 20), "white").save(tmp_path / "white.png")
    [chunk] = Images().chunks(str(tmp_path), 100)
    assert chunk["image"][0].to_list() == chunk["image"][1].to_list()


def test_colours_are_those_of_cielab() -> None:
    pixels = np.array([[[255, 255, 255], [0, 0, 0]], [[255, 0, 0], [0, 0, 255]]], np.uint8)
    known = [[[100, 0, 0], [0, 0, 0]], [[53.24, 80.09, 67.20], [32.30, 79.19, -107.86]]]
    assert np.allclose(lab(pixels), known, atol=0.1)


def test_pictures_that_look_alike_have_near_descriptors() -> None:
    def described(look: str, seed: int) -> np.ndarray:
        return describe(np.asarray(picture(look, seed).resize((SIDE, SIDE), Image.Resampling.BOX)))

    looks = ("warm-stripes", "warm-dots", "cool-stripes", "cool-dots")
    known = [(look, described(look, seed)) for look in looks for seed in range(40)]
    right = 0
    for look in looks:
        for seed in range(100, 110):
            vector = described(look, seed)
            nearest = min(known, key=lambda other: float(np.linalg.norm(other[1] - vector)))
            right += nearest[0] == look
    assert right >= 38  # of 40


def test_a_descriptor_is_of_two_halves_of_length_one() -> None:
    for image in (picture("cool-dots"), Image.new("RGB", (SIDE, SIDE), "grey")):
        vector = describe(np.asarray(image.resize((SIDE, SIDE))))
        assert vector.dtype == np.float32
        assert (vector[:100] ** 2).sum() == pytest.approx(1, abs=1e-3)
        assert (vector[100:] ** 2).sum() == pytest.approx(1, abs=1e-3)
