"""Reading a folder of pictures as vectors of items."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import polars as pl

from segadmin.contracts.source import UNREADABLE, UNREADABLE_ROW, Source
from segadmin.errors import ConfigurationError, DataError
from segadmin.files import file_digest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: The column and the name of the vectors.
_IMAGE = "image"
_SCHEMA = pl.Schema(
    {"item": pl.String(), _IMAGE: pl.List(pl.Float32), UNREADABLE: pl.String(), UNREADABLE_ROW: pl.String()}
)
#: Pictures of a frame.
_FRAME = 1_000


@dataclass(frozen=True)
class Images(Source):
    """The pictures of a folder and its subfolders; ``shoes/lamp-7.jpg`` is of the item ``lamp-7``.

    Each becomes a vector of 200 numbers: its colours and its texture (a classical descriptor; no weights are needed).
    Hidden files are left out; other files that are no pictures go to quarantine, and so does the second picture of an
    item. Reads what Pillow reads (JPEG, PNG, WebP, GIF, BMP, TIFF, …); of an animation the first frame.
    """

    name: ClassVar[str] = "images"
    vectors: ClassVar[Mapping[str, str]] = {_IMAGE: _IMAGE}

    def identity(self, where: str) -> str:
        """Return a digest of the pictures' names and contents, and of the descriptor.

        Raises:
            ConfigurationError: Pillow is not installed.
            DataError: it is no folder, or has no files.
        """
        from segadmin_plugins.sources.image_descriptor import VERSION

        _need_pillow()
        digest = hashlib.sha256(f"descriptor {VERSION}".encode())
        for path in _files(where):
            digest.update(f"\0{path.relative_to(where)}\0{_content(path)}".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def chunks(self, where: str, rows: int) -> Iterator[pl.DataFrame]:
        """Yield ``item`` and ``image``; of a file that cannot be used, the reason."""
        _need_pillow()
        first: dict[str, Path] = {}
        files, size = _files(where), min(rows, _FRAME)
        for start in range(0, len(files), size):
            described = [_row(path, Path(where), first) for path in files[start : start + size]]
            yield pl.DataFrame(described, schema=_SCHEMA, orient="row")


def _row(path: Path, folder: Path, first: dict[str, Path]) -> tuple[str | list[float] | None, ...]:
    name = str(path.relative_to(folder)).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    item = path.stem.strip()
    try:
        item.encode()
    except UnicodeEncodeError:
        return None, None, "unreadable_image", f"{name}: the name is not UTF-8"
    if item in first:
        return None, None, "second_image", f"{name}: the item has {first[item].relative_to(folder)}"
    try:
        pixels = _pixels(path)
    except Exception as error:  # whatever a damaged file makes a decoder raise
        return None, None, "unreadable_image", f"{name}: {_problem(error)}"
    from segadmin_plugins.sources.image_descriptor import describe

    first[item] = path
    return item, describe(pixels).tolist(), None, None


def _pixels(path: Path) -> NDArray[np.uint8]:
    """Return the picture as ``(SIDE, SIDE, 3)`` in sRGB, upright, on white where it is transparent."""
    import numpy as np
    from PIL import Image, ImageOps

    from segadmin_plugins.sources.image_descriptor import SIDE

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path) as image:
            image.draft("RGB", (4 * SIDE, 4 * SIDE))  # JPEG is decoded at a fraction of its size
            upright = ImageOps.exif_transpose(image).convert("RGBA")
    white = Image.new("RGBA", upright.size, "white")
    flat = Image.alpha_composite(white, upright).convert("RGB")
    return np.asarray(flat.resize((SIDE, SIDE), Image.Resampling.BOX))


def _problem(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "no picture"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _files(where: str) -> list[Path]:
    """Return the files below a folder in a fixed order, without hidden ones.

    Raises:
        DataError: it is no folder, or has no files.
    """
    folder = Path(where)
    if not folder.is_dir():
        problem = "is a file" if folder.exists() else "does not exist"
        raise DataError(f"{where} {problem}. The source 'images' reads a folder of pictures: name the folder.")
    paths = (path for path in folder.rglob("*") if path.is_file())
    files = sorted(path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    if not files:
        raise DataError(f"The folder {where} has no pictures. Check the path.")
    return files


def _content(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:  # it goes to quarantine
        return f"unreadable: {error.strerror}"


def _need_pillow() -> None:
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise ConfigurationError(
            "The source 'images' needs Pillow, which is not installed: pip install 'segadmin[images]'"
        ) from None
